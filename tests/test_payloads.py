"""A payload as text: whole in a table, its beginning on the board."""

from __future__ import annotations

import pytest

from kit.display import payloads


@pytest.mark.parametrize(
    ("payload", "whole", "beginning"),
    [
        (b"", "", ""),
        ("Zoë\n".encode(), "Zoë\n", "Zoë\n"),
        (b"\xff\xfe", "(2 bytes, not text)", r"b'\xff\xfe'"),
        (b"\x00a", "(2 bytes, not text)", r"\x00a"),
        ("👨\u200d👩\u200d👧 \u202e".encode(), "👨\u200d👩\u200d👧 \u202e", "👨\u200d👩\u200d👧 \\u202e"),
    ],
)
def test_text_is_shown_as_it_is_and_bytes_that_are_none_are_told_from_it(
    payload: bytes, whole: str, beginning: str
) -> None:
    assert payloads.text(payload) == whole
    assert payloads.beginning(payload, len(payload)) == beginning


def test_a_beginning_may_end_amid_a_character_and_says_that_there_is_more() -> None:
    assert payloads.beginning("Zoë".encode()[:3], 4) == "Zo …"
    assert payloads.beginning(b"Zo\xff", 4) == r"b'Zo\xff' …"


def test_a_job_without_a_payload_has_no_text() -> None:
    assert payloads.beginning(None, None) is None
