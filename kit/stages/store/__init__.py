"""All SQL of staged jobs: tables ``kit_runs`` and ``kit_run_history``, and every statement about them.

Each function works in the transaction that is open on its connection. Two rules keep the rows right. First, a
row that is to move has one job in the queue, enqueued in the transaction that wrote the row. Second, only
that job may move it, and only the row that it was read from. The row has the job's id, and a token that no
other row ever has, not even one that gets the same id after the tables were emptied.
"""
