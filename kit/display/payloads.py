"""A payload as text: PGQueuer keeps bytes, and people read words."""

from __future__ import annotations

import codecs
import re

from kit.display.text import visible

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")  # what text never holds, though UTF-8 can spell it


def text(payload: bytes) -> str:
    """Return a payload as text; if it is no text, a note with its size."""
    decoded = _decoded(payload)
    if decoded is None or _CONTROL.search(decoded):
        return f"({len(payload)} bytes, not text)"
    return decoded


def beginning(payload: bytes | None, size: int | None) -> str | None:
    """Return the first bytes of a payload of ``size`` bytes as text that fits in a picture.

    Bytes that are no text, and each character that cannot be seen, are written as Python writes them.
    """
    if payload is None:
        return None
    cut = size is not None and size > len(payload)
    decoded = _decoded(payload, cut=cut)
    shown = repr(payload) if decoded is None else decoded
    return visible(shown) + " …" if cut else visible(shown)


def _decoded(payload: bytes, *, cut: bool = False) -> str | None:
    """Return the text that the bytes spell; None where they spell none."""
    try:
        # A cut may split a character: its incomplete bytes are left out, and are no error.
        return codecs.getincrementaldecoder("utf-8")().decode(payload) if cut else payload.decode()
    except UnicodeDecodeError:
        return None
