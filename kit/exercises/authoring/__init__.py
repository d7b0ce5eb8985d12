"""For those who write exercises: proofs of a check, mutants, and the cells in the notebooks."""
