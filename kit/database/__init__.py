"""One database: what to connect to, PGQueuer's schema, making and emptying it, and who consumes."""

PLAYGROUND = "playground"  # the database of those who name none
