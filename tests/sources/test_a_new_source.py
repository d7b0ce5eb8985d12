"""A source is added in two files: its own, and the registry."""

from __future__ import annotations

from pathlib import Path

from tests.copied import change, copy_of_kit, said

SOURCE = '''"""The embedded server, under another name."""

from __future__ import annotations

from kit.sources import files
from kit.sources.embedded import Embedded, find


class Another(Embedded):
    """A source of another kind."""

    source = "another"
    why = "it is here, too"

    @classmethod
    def find(cls) -> Another:
        """Return this user's server."""
        return cls(files.home() / "another", str(find().folder))
'''
TRY_SOURCE = """
import asyncio, asyncpg, kit
from kit.cli.app import app

kit.postgres("another")

async def main():
    connection = await asyncpg.connect()
    print("folder:", await connection.fetchval("SHOW data_directory"))
    await connection.close()

asyncio.run(main())
try:
    kit.postgres("a third")
except kit.KitError as error:
    print(error)
app(["stop", "--force"])
"""


def test_a_source_is_a_file_of_its_own_and_a_line_in_the_registry(tmp_path: Path, own_home: Path) -> None:
    sources = copy_of_kit(tmp_path) / "sources"
    (sources / "another.py").write_text(SOURCE, "utf-8")
    change(sources / "registry.py", "(Container, Embedded)}", "(Container, Embedded, Another)}")
    change(
        sources / "registry.py",
        "from kit.sources.container",
        "from kit.sources.another import Another\nfrom kit.sources.container",
    )
    told = said(TRY_SOURCE, tmp_path)
    assert f"folder: {own_home / 'another' / 'data'}" in told
    assert "Use one of: auto, docker, embedded, another, external." in told
