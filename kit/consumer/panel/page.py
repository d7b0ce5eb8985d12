"""What the panel shows: the same as ``text/html``, live or still, and as ``text/plain``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from html import escape
from typing import Protocol

from kit import live, palette, theme
from kit.consumer.console import Console, Line
from kit.text import visible

LINES = 8  # shown at most, the newest
WIDTH = 200  # characters of a line as plain text
BEGINNING = 120  # characters of a line of which the rest is folded away
OPENED = 1_000  # characters of a line that is unfolded
SIGNS = {"starting": "○", "running": "●", "reconnecting": "◌", "stopping": "◑", "stopped": "■", "failed": "✗"}
# JupyterLab's own colours, or VS Code's, which fit their themes; where there are none, the palette's.
STYLE = (
    f".kit-panel{{{theme.neutral(0, '--n-')}}}:is({theme.DARK}) .kit-panel{{{theme.neutral(1, '--n-')}}}"
    ".kit-panel{--text:var(--jp-ui-font-color1,var(--vscode-foreground,var(--n-text)));"
    "--quiet:var(--jp-ui-font-color2,var(--vscode-descriptionForeground,var(--n-quiet)));"
    "--rule:var(--jp-border-color1,var(--vscode-editorWidget-border,var(--n-rule)));"
    "margin:4px 0;padding:2px 10px;border-left:3px solid var(--rule);color:var(--text);"
    "font:13px/1.5 var(--jp-ui-font-family,system-ui,sans-serif);overflow-wrap:anywhere}"
    ".kit-panel .kp-line{display:flex;flex-wrap:wrap;gap:0 12px}.kit-panel .kp-quiet{color:var(--quiet)}"
    ".kit-panel summary{cursor:pointer;min-height:24px}.kit-panel .kp-fold[open]{flex-basis:100%}"
    f".kit-panel .kp-bad::before{{content:'✗ ';color:{palette.JOBS['exception'].light}}}"
    ".kit-panel .kp-lines{font-family:var(--jp-code-font-family,monospace);font-size:.92em;"
    "white-space:pre-wrap}.kit-panel .kp-long[open] .kp-cut{display:none}"
    ".kit-panel .kp-long summary{list-style:none}"
)


class Shown(Protocol):
    """What a panel needs to know of its consumer; ``changed`` is set whenever any of it has changed."""

    name: str
    since: float
    problem: str | None
    entrypoints: tuple[str, ...]
    schedules: tuple[str, ...]
    changed: threading.Event
    when_changed: Callable[[], None]
    console: Console
    done: int
    failed: int
    held: int
    retried: int

    @property
    def state(self) -> str: ...  # noqa: D102


def state_of(consumer: Shown) -> str:
    """Say how a consumer is doing, and since when."""
    when = "at" if consumer.state in ("stopped", "failed") else "since"
    return f"consumer {consumer.name!r}: {consumer.state} {when} {live.clock(consumer.since)}"


def facts_of(consumer: Shown) -> str:
    """Say what a consumer has, and what became of its jobs."""
    names = ", ".join(consumer.entrypoints + consumer.schedules) or "none"
    kinds = {"exception": consumer.failed - consumer.held, palette.JOBS["failed"].word: consumer.held}
    failures = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    retried = f", {palette.retries(consumer.retried)}" if consumer.retried else ""
    failed = f"{consumer.failed} failed" + (f" ({failures})" if failures else "")
    return f"entrypoints: {names} · {consumer.done} done, {failed}{retried}"


def plain(consumer: Shown) -> str:
    """Return the panel as plain text."""
    why = f"\n{consumer.problem}" if consumer.problem else ""
    head = f"{SIGNS[consumer.state]} {state_of(consumer)} · {facts_of(consumer)}{why}"
    return "\n".join([head, *map(_plain, consumer.console.latest(LINES))])


def page(consumer: Shown) -> str:
    """Return the panel as HTML, in which each part that can change is marked."""
    why = f'<div class="kp-bad">{escape(consumer.problem)}</div>' if consumer.problem else ""
    # Folded, because what handlers print is shown where it is awaited; here it would stand a second time.
    lines = "".join(map(_row, consumer.console.latest(LINES))) or "none yet"
    return (
        f'<style>{STYLE}</style><div class="kit-panel kit-live"><div class="kp-line">'
        f'<div role="status" data-part="state"><span aria-hidden="true">{SIGNS[consumer.state]}</span> '
        f"<b>{escape(state_of(consumer))}</b>{why}</div>"
        f'<div class="kp-quiet" data-part="facts">{escape(facts_of(consumer))}</div>'
        f'<details class="kp-fold"><summary>the last lines</summary>'
        f'<div class="kp-lines" data-part="lines">{lines}</div></details></div></div>'
    )


def still(consumer: Shown, at: float) -> str:
    """Return the panel as it was at a time, in seconds since 1970, and saying so."""
    picture = (
        page(consumer).replace("kit-panel kit-live", "kit-panel kit-still").replace(' role="status"', "")
    )
    note = f'<div class="kp-quiet">{live.as_it_was(at, "panel")}</div></div>'
    return f"<style>{live.STYLE}</style>{picture.removesuffix('</div>')}{note}"


def _plain(line: Line) -> str:
    text = str(line)
    text = text if len(text) <= WIDTH else f"{text[:WIDTH]} …"
    return f"✗ {text}" if line.kind == "error" else text


def _row(line: Line) -> str:
    text = visible(str(line))
    look = ' class="kp-bad"' if line.kind == "error" else ""
    if len(text) <= BEGINNING:
        return f"<div{look}>{escape(text)}</div>"
    at = text.rfind(" ", BEGINNING // 2, BEGINNING) + 1 or BEGINNING
    begin, rest = text[:at], text[at:OPENED]
    more = f" … {len(text) - OPENED:,} more characters are in the consumer's .output" if text[OPENED:] else ""
    return (
        f'<details class="kp-long"><summary><span{look}>{escape(begin)}</span>'
        f'<span class="kp-cut">…</span></summary>{escape(rest)}{more}</details>'
    )
