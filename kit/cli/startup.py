"""Run by each kernel before its first cell: in a notebook with the kit, mistakes have hints at once."""


def _startup() -> None:
    import os
    from importlib.util import find_spec
    from pathlib import Path

    try:
        notebook = Path(os.environ["JPY_SESSION_NAME"]).read_text("utf-8")
    except (KeyError, OSError, UnicodeDecodeError):
        return
    if "import kit" in notebook and find_spec("kit") is not None:  # a kernel may be another Python's
        __import__("kit")


_startup()
del _startup
