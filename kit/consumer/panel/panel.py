"""The consumer's panel: a place in the cell of ``kit.run`` that says how its consumer is doing.

It is repainted in place, from a thread that only wakes when something has changed, so it also lives while
the kernel is busy. It is plain HTML with the same words as plain text, so it remains in a saved notebook.
"""

from __future__ import annotations

import html
import threading
import uuid
from typing import Protocol

from kit import notebook
from kit.consumer.console import Console, Line
from kit.consumer.handlers import Handlers
from kit.faults import one_line

LINES = 8  # shown at most, the newest
WIDTH = 200  # characters of a line
PAUSE = 0.2  # seconds between two repaints at least
TO_END = 2.0  # seconds for a repaint that is under way
SIGNS = {"starting": "○", "running": "●", "reconnecting": "◌", "stopping": "◑", "stopped": "■", "failed": "✗"}
COLOURS = {  # JupyterLab's own, which fit its light and its dark theme; and for pages without them
    "error": "var(--jp-error-color1, #b3261e)",
    "quiet": "var(--jp-ui-font-color2, #5f6368)",
    "line": "var(--jp-border-color2, #c4c7c5)",
}


class Shown(Protocol):
    """What a panel needs to know of its consumer; ``changed`` is set whenever any of it has changed."""

    name: str
    problem: str | None
    entrypoints: tuple[str, ...]
    schedules: tuple[str, ...]
    changed: threading.Event
    console: Console
    handlers: Handlers

    @property
    def state(self) -> str: ...  # noqa: D102


class Panel:
    """Shows a consumer in the cell that starts it, and keeps up with it until it has ended.

    A thread repaints it while cells run and between them. Every cell repaints it once more when it ends:
    what comes later would not be in the file of a notebook that is executed and saved.
    """

    def __init__(self, consumer: Shown) -> None:
        self._consumer = consumer
        self._display_id = uuid.uuid4().hex
        self._painted: dict[str, str] = {}
        self._painting = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Show it in the running cell of a notebook; a second call changes nothing."""
        if self._thread is not None or not notebook.in_notebook():
            return
        self._painted = picture(self._consumer)
        notebook.publish(self._painted, self._display_id)
        notebook.after_each_cell(self._after_a_cell)
        name = f"kit-panel-{self._consumer.name}"
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Show the last state, and end the thread; a second call does nothing."""
        if self._thread is None or self._stopping.is_set():
            return
        self._stopping.set()
        self._consumer.changed.set()
        self._thread.join(TO_END)
        self._repaint()

    def _follow(self) -> None:
        over = False
        while not over:
            self._consumer.changed.wait()
            self._consumer.changed.clear()
            over = self._stopping.is_set() or self._has_ended()  # before it is painted, so that this is seen
            self._repaint()
            # Many changes in a short time are one repaint.
            over = over or self._stopping.wait(PAUSE)

    def _has_ended(self) -> bool:
        return self._consumer.state in ("stopped", "failed")

    def _after_a_cell(self, _result: object) -> None:
        ended = self._has_ended()
        self._repaint()
        if ended:
            notebook.no_longer_after_cells(self._after_a_cell)

    def _repaint(self) -> None:
        with self._painting:
            try:
                now = picture(self._consumer)
                if now == self._painted:
                    return
                notebook.publish(now, self._display_id, update=True)
            except Exception as error:  # the next change tries again
                if not self._consumer.console.repeats("the panel"):
                    self._consumer.console.add("log", f"its panel could not be repainted: {one_line(error)}")
            else:
                self._painted = now


def picture(consumer: Shown) -> dict[str, str]:
    """Return what the panel shows now: the same as ``text/html`` and as ``text/plain``."""
    lines = consumer.console.latest(LINES)
    names = ", ".join(consumer.entrypoints + consumer.schedules) or "none"
    facts = f"entrypoints: {names} · {consumer.handlers.done} done, {consumer.handlers.failed} failed"
    title = f"consumer {consumer.name!r}: {consumer.state}"
    why = f"\n{consumer.problem}" if consumer.problem else ""
    plain = "\n".join([f"{SIGNS[consumer.state]} {title} · {facts}{why}", *map(_plain, lines)])
    rows = "".join(_row(line) for line in lines)
    # Folded, because what handlers print is shown where it is awaited; here it would stand a second time.
    body = f"<details><summary>the last lines</summary>{rows}</details>" if rows else ""
    return {
        "text/plain": plain,
        "text/html": (
            f'<div class="kit-panel" style="border-left:3px solid {COLOURS["line"]};padding:2px 10px">'
            f"<div><span aria-hidden='true'>{SIGNS[consumer.state]}</span> <b>{html.escape(title)}</b> "
            f'<span style="color:{COLOURS["quiet"]}">· {html.escape(facts)}</span>'
            f"{_problem(consumer.problem)}</div>"
            f'<div style="font-family:var(--jp-code-font-family, monospace);font-size:0.9em;'
            f'white-space:pre-wrap;overflow-wrap:anywhere">{body}</div></div>'
        ),
    }


def _plain(line: Line) -> str:
    text = str(line)
    text = text if len(text) <= WIDTH else f"{text[:WIDTH]} …"
    return f"✗ {text}" if line.kind == "error" else text


def _row(line: Line) -> str:
    style = f' style="color:{COLOURS["error"]}"' if line.kind == "error" else ""
    return f"<div{style}>{html.escape(_plain(line))}</div>"


def _problem(problem: str | None) -> str:
    return f'<div style="color:{COLOURS["error"]}">✗ {html.escape(problem)}</div>' if problem else ""
