"""Where Postgres comes from."""
