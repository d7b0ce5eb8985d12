"""Progress: kept over restarts, nothing lost by two writers, a damaged line left out and told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import kit
from kit.exercises import record
from kit.session import session

WRITER = """
import sys
from pathlib import Path
from kit.exercises import record
from kit.session import session
record.path = lambda: Path(sys.argv[1])
for number in range(int(sys.argv[3])):
    record.write(sys.argv[2], "hint", number=number)
    print(number, flush=True)
"""


def writer(file: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), name, str(count)], stdout=subprocess.PIPE, text=True
    )


def test_three_kernels_at_once_lose_nothing(no_record: Path) -> None:
    writers = [writer(no_record, f"of-{letter}", 60) for letter in "abc"]
    for one in writers:
        one.communicate(timeout=120)
    read = record.read()
    assert [read.of(f"of-{letter}").hints for letter in "abc"] == [60, 60, 60]
    assert read.damaged == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_was_written_survives_a_kill(no_record: Path) -> None:
    told = 0
    with writer(no_record, "killed", 100_000) as one:
        assert one.stdout is not None
        while told < 30:
            told = int(one.stdout.readline()) + 1
        os.kill(one.pid, signal.SIGKILL)
    assert record.read().of("killed").hints >= told
    record.write("after", "hint")
    assert record.read().of("after").hints == 1


@pytest.mark.parametrize("damage", [b"{half a li", b"\x00\xff\xfe", b'"a word"\n', b"[1, 2]\n", b"{}\n"])
def test_a_damaged_line_is_left_out_and_counted_and_takes_no_other_with_it(
    damage: bytes, no_record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record.write("before", "hint")
    with open(no_record, "ab") as file:
        file.write(damage)
    record.write("after", "check", outcome="passed")
    read = record.read()
    assert (read.of("before").hints, read.of("after").status, read.damaged) == (1, "done", 1)
    kit.progress()
    assert "Left out, because damaged: 1 line" in capsys.readouterr().out


def test_where_the_file_cannot_be_written_it_is_kept_in_the_kernel_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a-file").write_text("no folder")
    monkeypatch.setattr(record, "path", lambda: tmp_path / "a-file" / "progress.jsonl")
    monkeypatch.setattr(session, "unwritten", [])
    record.write("thank", "check", outcome="passed")
    assert record.read().of("thank").status == "done"
    kit.progress()
    assert "cannot be" in capsys.readouterr().out


def test_the_file_lies_in_the_kits_folder() -> None:
    assert record.path().parent == Path(os.environ["KIT_HOME"]).resolve()
