"""One database: its address, PGQueuer's schema in it, making and emptying it, and its consumers."""

PLAYGROUND = "playground"  # the default database
