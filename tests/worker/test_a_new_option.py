"""An option of a consumer is added in one file."""

from __future__ import annotations

from pathlib import Path

from tests.copied import change, copy_of_kit, said

TRY_OPTION = """
import inspect, kit

for call in kit.run, kit.spawn:
    parameter = inspect.signature(call).parameters["patience"]
    documented = "how long it is patient" in call.__doc__
    print(f"in the signature: {parameter.default}; in the docstring: {documented}")
kit.postgres("embedded")
consumer = kit.spawn("consumer:main", patience=2)
print("it is", consumer.state)
consumer.stop()
try:
    kit.spawn("consumer:main", patience="long")
except kit.KitError as error:
    print(error)
"""
CONSUMER = """
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer

@asynccontextmanager
async def main():
    yield PgQueuer(AsyncpgDriver(await asyncpg.connect()))
"""


def test_an_option_of_a_consumer_is_written_down_in_one_file(tmp_path: Path) -> None:
    options = copy_of_kit(tmp_path) / "consumer" / "options.py"
    change(options, "    start_timeout: Duration\n", "    start_timeout: Duration\n    patience: Duration\n")
    change(
        options,
        "    start_timeout: float = 30.0\n",
        "    start_timeout: float = 30.0\n    patience: float = 1.0\n",
    )
    change(
        options,
        "come to its ``yield``.\n",
        "come to its ``yield``.\n        patience: how long it is patient.\n",
    )
    change(options, '.endswith("_timeout")', '.endswith(("_timeout", "patience"))')
    (tmp_path / "consumer.py").write_text(CONSUMER, "utf-8")
    told = said(TRY_OPTION, tmp_path)
    assert told.count("in the signature: 1.0; in the docstring: True") == 2
    assert "it is running" in told
    assert "patience='long'" in told
