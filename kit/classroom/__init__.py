"""A class: each learner has a Postgres of their own, and only results are shared, with one teacher's board.

A learner's side is `sending`; the teacher's is `collector`, which keeps in `store` what `results` adds up.
This package knows no exercise: the command gives it the texts, and the record wakes the sender.
"""
