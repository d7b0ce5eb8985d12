"""What each kernel of `kit lab` runs before its first cell: after a restart a mistake has its hint, too."""

from importlib.util import find_spec

if find_spec("kit") is not None:  # not another Python's, in one of the lab's terminals
    __import__("kit")  # without a name for it: the lesson's first cell imports it

del find_spec
