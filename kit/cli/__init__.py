"""The `kit` command: `app` has the commands, and a module each does their work."""
