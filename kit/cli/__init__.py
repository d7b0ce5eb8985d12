"""The `kit` command: `app` has the commands, and one module for each does the work."""
