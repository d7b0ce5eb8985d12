"""A home for the ``kit`` commands that are run here."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import SCRIPTS
from tests.sources.processes import processes
from tests.waiting import wait_until


@pytest.fixture(scope="module", autouse=True)
def own_home() -> Iterator[Path]:
    """A home of this module's own, because `kit stop` stops every server of a home."""
    folder = Path(tempfile.mkdtemp(prefix="kit-cli-"))
    folder.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_HOME", str(folder))
        patch.setenv("KIT_POSTGRES", "embedded")
        patch.delenv("KIT_DSN", raising=False)
        patch.setenv("PATH", SCRIPTS + os.pathsep + os.environ["PATH"])
        patch.setenv("COLUMNS", "200")
        yield folder
        wait_until("the last server of this module and its keeper to end", lambda: not processes(folder))
    shutil.rmtree(folder)
