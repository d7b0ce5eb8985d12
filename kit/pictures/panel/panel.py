"""The panel: a place in the cell of ``kit.run`` or ``kit.spawn`` that says how its consumers are doing."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Sequence
from html import escape
from pathlib import Path

from kit import notebook
from kit.consumer.console import Line
from kit.display import palette, theme
from kit.display.text import visible
from kit.errors.text import one_line
from kit.pictures import live
from kit.pictures.live import Live, Shown
from kit.session import RunningConsumer

SCRIPT, STYLE = Path(__file__).with_name("panel.js"), Path(__file__).with_name("panel.css")
LINES = 8  # shown at most, the newest
LONGEST = 300  # characters of a line; all of it is in the consumer's `.output`
OVER = ("stopped", "failed", "killed")
SIGNS = {
    "starting": "○",
    "running": "●",
    "reconnecting": "◌",
    "stopping": "◑",
    "paused": "❚❚",
    "stopped": "■",
}


class Panel(Shown):
    """Shows consumers in the cell that starts them, and keeps up with them until the last has ended.

    Of one that was stopped a quiet line stays: the board and the next panel say more.
    """

    def __init__(self, consumers: Sequence[RunningConsumer]) -> None:
        self._consumers = consumers
        self._since = {each.name: (each.state, time.time()) for each in consumers}
        self._live = Live(f"kit-panel-{consumers[0].name}", self, SCRIPT, STYLE, {}, self._failed)

    def show(self) -> None:
        """Show it in the running cell of a notebook; elsewhere nothing happens."""
        if notebook.in_notebook():
            for consumer in self._consumers:
                consumer.when_changed = self._changed
            self._live.show()

    def _changed(self) -> None:
        if all(consumer.state in OVER for consumer in self._consumers):
            self._live.end(wait=False)
        self._live.changed()

    def _failed(self, error: Exception) -> None:
        console = self._consumers[0].console
        if not console.repeats("the panel"):
            console.add("log", f"its panel could not be repainted: {one_line(error)}")

    # What a live picture is asked

    def news(self, since: int) -> tuple[str, int]:
        """Return the panel as HTML in which each part that can change is marked, and its check sum."""
        news = json.dumps({"html": self._html("kit-live")})
        return news, zlib.crc32(news.encode())

    def kept(self) -> dict[str, str]:
        """Return the panel as it is, as HTML and as text."""
        style = f"<style>{live.STYLE}{STYLE.read_text('utf-8')}</style>"
        return {
            "text/html": style + self._html("kit-still").replace(' role="status"', ""),
            "text/plain": "\n".join(map(self._plain, self._consumers)),
        }

    # What it says

    def _state(self, consumer: RunningConsumer) -> str:
        state = consumer.state
        if state != self._since[consumer.name][0]:
            self._since[consumer.name] = (state, time.time())
        when = live.clock(self._since[consumer.name][1])
        return f"{state} {'at' if state in OVER else 'since'} {when}"

    def _plain(self, consumer: RunningConsumer) -> str:
        why = f"\n{consumer.problem}" if consumer.problem else ""
        sign = SIGNS.get(consumer.state, palette.JOBS["exception"].sign)
        head = f"{sign} {consumer.name}: {self._state(consumer)} · {_names(consumer)}{_facts(consumer)}{why}"
        bad = palette.JOBS["exception"].sign
        lines = [
            (f"{bad} " if line.kind == "error" else "") + _line(line)
            for line in consumer.console.latest(LINES)
        ]
        return "\n".join([head, *lines])

    def _html(self, kind: str) -> str:
        look = palette.JOBS["exception"]
        bad = f"--bad:{look.colour};--sign:'{look.sign} ';{theme.both()}"
        rows = "".join(self._row(number, consumer) for number, consumer in enumerate(self._consumers))
        return f'<div class="kit-panel {kind}" style="{bad}">{rows}</div>'

    def _row(self, number: int, consumer: RunningConsumer) -> str:
        state, sign = consumer.state, SIGNS.get(consumer.state, palette.JOBS["exception"].sign)
        why = f'<div class="kp-bad">{escape(consumer.problem)}</div>' if consumer.problem else ""
        said = (
            f'<div role="status" data-part="state {number}"><span aria-hidden="true">{sign}</span> '
            f"<b>{escape(consumer.name)}</b>: {escape(self._state(consumer))}{why}</div>"
        )
        facts = _facts(consumer) if state == "stopped" else _names(consumer) + _facts(consumer)
        said += f'<div class="kp-quiet" data-part="facts {number}">{escape(facts)}</div>'
        if state == "stopped":
            return f'<div class="kp-line">{said}</div>'
        # Folded, because what handlers print is shown where it is awaited; here it would stand a second time.
        lines = "".join(
            f"<div{' class=kp-bad' * (line.kind == 'error')}>{escape(_line(line))}</div>"
            for line in consumer.console.latest(LINES)
        )
        return (
            f'<div class="kp-line">{said}'
            f'<details class="kp-fold"><summary>the last lines</summary>'
            f'<div class="kp-lines" data-part="lines {number}">{lines or "none yet"}</div></details></div>'
        )


def _names(consumer: RunningConsumer) -> str:
    return f"entrypoints: {', '.join(consumer.entrypoints + consumer.schedules) or 'none'} · "


def _facts(consumer: RunningConsumer) -> str:
    """Say what became of a consumer's jobs."""
    done, failed, held = (palette.JOBS[status].word for status in ("successful", "exception", "failed"))
    parts = [f"{consumer.done} {done}", f"{consumer.failed - consumer.held} {failed}"]
    parts += [f"{consumer.held} {held}"] if consumer.held else []
    return ", ".join(parts + ([palette.retries(consumer.retried)] if consumer.retried else []))


def _line(line: Line) -> str:
    text = visible(str(line))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
