"""The consumer's panel: a place in the cell of ``kit.run`` that says how its consumer is doing.

It is repainted in place, from a thread that only wakes when something has changed, so it also lives while
the kernel is busy. It is plain HTML with the same words as plain text, so it remains in a saved notebook.
"""

from __future__ import annotations

import html
import threading
import time
from typing import TYPE_CHECKING, Any

from kit import notebook
from kit.consumer.console import Line

if TYPE_CHECKING:
    from kit.consumer import Consumer

LINES = 8  # shown at most, the newest
WIDTH = 200  # characters of a line
PAUSE = 0.2  # seconds between two repaints at least
SIGNS = {"starting": "○", "running": "●", "reconnecting": "◌", "stopping": "◑", "stopped": "■", "failed": "✗"}
COLOURS = {  # JupyterLab's own, which fit its light and its dark theme; and for pages without them
    "error": "var(--jp-error-color1, #b3261e)",
    "quiet": "var(--jp-ui-font-color2, #5f6368)",
    "line": "var(--jp-border-color2, #c4c7c5)",
}


def show(consumer: Consumer) -> None:
    """Show a panel in the running cell of a notebook, and keep it up to date until the consumer ends."""
    if not notebook.in_notebook():
        return
    from IPython.display import display

    handle: Any = display(picture(consumer), raw=True, display_id=True)  # type: ignore[no-untyped-call]
    changed = threading.Event()
    forget = consumer.subscribe(lambda: None if changed.is_set() else changed.set())  # twice a job: be cheap

    def repaint() -> None:
        shown = picture(consumer)
        alive = True
        while alive:
            changed.wait()
            changed.clear()
            alive = consumer.state not in ("stopped", "failed")
            now = picture(consumer)
            if now != shown:
                shown = now
                handle.update(shown, raw=True)
            if alive:
                # Many changes in a short time are one repaint.
                time.sleep(PAUSE)
        forget()

    threading.Thread(target=repaint, name=f"kit-panel-{consumer.name}", daemon=True).start()
    changed.set()


def picture(consumer: Consumer) -> dict[str, str]:
    """Return what the panel shows now: the same as ``text/html`` and as ``text/plain``."""
    lines = consumer.console.latest(LINES)
    names = ", ".join(consumer.entrypoints + consumer.schedules) or "none"
    facts = f"entrypoints: {names} · {consumer.done} done, {consumer.failed} failed"
    title = f"consumer {consumer.name!r}: {consumer.state}"
    why = f"\n{consumer.problem}" if consumer.problem else ""
    plain = "\n".join([f"{SIGNS[consumer.state]} {title} · {facts}{why}", *map(_plain, lines)])
    body = "".join(_row(line) for line in lines)
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
