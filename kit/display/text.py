"""Text for people: without commands for a terminal, and with invisible characters spelt out."""

from __future__ import annotations

import re

# Commands for a terminal: with parameters, up to a bell, or of two characters.
_COMMAND = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
# They join emoji or letters; Python counts them among the characters that cannot be seen.
_JOINERS = {"\u200c", "\u200d", *map(chr, range(0xE0020, 0xE0080))}
_SPELT_JOINER = re.compile(r"(?<!\\)((?:\\\\)*)\\u200d")


def without_commands(text: str) -> str:
    """Return a text without the commands for a terminal in it, such as those for colours."""
    return _COMMAND.sub("", text) if "\x1b" in text else text


def visible(text: str) -> str:
    """Return a text in which each character that cannot be seen is as Python writes it, such as ``\\x00``."""
    if text.isprintable():
        return text
    return "".join(
        mark if mark.isprintable() or mark in _JOINERS or mark in "\n\t" else repr(mark)[1:-1]
        for mark in text
    )


def joined(written: str) -> str:
    """Return the text that ``repr`` has written, with joined emoji in one piece again."""
    return _SPELT_JOINER.sub("\\1\u200d", written)


def number_of(count: int, thing: str) -> str:
    """Return how many there are: ``1 job``, ``1,200 jobs``."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def shortened(name: str, most: int) -> str:
    """Return a name of at most ``most`` characters. Its end stays, for there names often differ."""
    end = most // 3
    return name if len(name) <= most else f"{name[: most - 1 - end]}…{name[len(name) - end :]}"
