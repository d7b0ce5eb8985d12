"""An outcome as a quiet card in a notebook, and as text elsewhere: a sign and a word, never colour alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import Any

from kit import notebook
from kit.display import palette, theme
from kit.display.text import number_of, visible
from kit.exercises.exercise import Exercise
from kit.exercises.judging import Outcome

ROWS = 10  # rows of a table that are shown

# The sign and the word of each outcome, and the status that has its colour.
LOOKS = {
    "passed": ("✓", "Passed", "successful"),
    "not yet": ("↻", "Not yet", "failed"),
    "not attempted": ("○", "Not attempted", "queued"),
    "broke": ("!", "The check broke", "exception"),
}
QUIET = "canceled"  # of what is no outcome: a hint, a solution, a prediction

STYLE = (
    f".kit-card{{{theme.neutral(0)}color:var(--text);"
    "border:1px solid var(--rule);border-left:4px solid var(--mark);"
    "border-radius:4px;padding:.5em .8em;margin:.3em 0;max-width:60em;font-size:.95em;line-height:1.45}"
    f":is({theme.DARK}) .kit-card{{{theme.neutral(1)}}}"
    ".kit-card p{margin:.3em 0}.kit-card small{color:var(--quiet);margin-left:.6em}"
    ".kit-card .bar{height:.7em;line-height:0;background:var(--rule)}"
    ".kit-card .bar i{display:inline-block;height:100%}"
    ".kit-card .side{display:flex;flex-wrap:wrap;gap:0 2em}"
    ".kit-card table{border-collapse:collapse;margin:.3em 0}"
    ".kit-card caption{text-align:left;color:var(--quiet)}"
    ".kit-card :is(td,th){border-top:1px solid var(--rule);padding:.1em .6em;text-align:left;"
    "color:var(--text);background:none}"
    ".kit-card pre{white-space:pre-wrap;background:var(--tint);color:var(--text);padding:.5em}"
)


def show(html: str, text: str) -> None:
    """Show a card below the running cell; outside a notebook print its text."""
    if notebook.in_notebook():
        notebook.publish({"text/html": f"<style>{STYLE}</style>{html}", "text/plain": text})
    else:
        print(text)


def card(heading: str, body: Iterable[str], status: str, label: str) -> str:
    """Return a card: its heading, its paragraphs (HTML), and the status that has its colour."""
    look = palette.JOBS[status]
    return (
        f'<div class="kit-card" role="group" aria-label="{escape(label)}" style="--mark:{look.colour}">'
        f"<p>{heading}</p>{''.join(body)}</div>"
    )


def outcome(exercise: Exercise, result: Outcome, *, after: str = "") -> tuple[str, str]:
    """Return an outcome as HTML and as text; ``after`` is said below it, such as what to try next."""
    sign, word, status = LOOKS[result.state]
    when = datetime.now().strftime("%Y-%m-%d %H:%M")
    heading = f"<b>{sign} {word}</b> · {escape(exercise.title)}<small>checked {when}</small>"
    left, right = ("you said", "it was") if exercise.kind == "predict" else ("yours", "expected")
    body = [f"<p>{rich(result.text)}</p>"]
    lines = [f"{sign} {word} · {exercise.title} (checked {when})", result.text]
    if result.expected or result.actual:
        mine, wanted = (
            _table(left, result.actual, result.columns),
            _table(right, result.expected, result.columns),
        )
        body.append(f'<div class="side">{mine}{wanted}</div>')
        lines += _lines(left, result.actual, result.columns) + _lines(right, result.expected, result.columns)
    if result.trace:
        tell = "To tell us, copy what follows, with the id of the exercise."
        body.append(f"<details><summary>{tell}</summary><pre>{escape(result.trace)}</pre></details>")
        lines += [tell, result.trace.rstrip()]
    if after:
        body.append(f"<p>{rich(after)}</p>")
        lines.append(after)
    return card(heading, body, status, f"{word}: {exercise.title}"), "\n".join(lines)


def said(heading: str, text: str, *, code: str = "") -> tuple[str, str]:
    """Return a few words, and code below them, as a card and as text."""
    body = [f"<p>{rich(text)}</p>"] if text else []
    if code:
        body.append(f"<pre>{escape(code)}</pre>")
    lines = [heading, *filter(None, (text, code))]
    return card(f"<b>{escape(heading)}</b>", body, QUIET, heading), "\n".join(lines)


def rich(text: str) -> str:
    """Return a sentence as HTML, with what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))


def _cells(row: Sequence[Any]) -> list[str]:
    plain = [str(value) if isinstance(value, str | datetime) else repr(value) for value in row]
    return [visible(value)[:120] for value in plain]


def _table(caption: str, rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> str:
    width = max(map(len, rows), default=0)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns[:width])
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _cells(row))}</tr>" for row in rows[:ROWS]
    )
    if len(rows) > ROWS:
        body += f"<tr><td>… and {number_of(len(rows) - ROWS, 'more row')}</td></tr>"
    body = body or "<tr><td>no rows</td></tr>"
    return f"<table><caption>{caption}</caption>{f'<tr>{head}</tr>' if head else ''}{body}</table>"


def _lines(caption: str, rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> list[str]:
    more = [f"  … and {number_of(len(rows) - ROWS, 'more row')}"] if len(rows) > ROWS else []
    head = [f"  {' | '.join(columns)}"] if columns else []
    return [
        f"{caption}:",
        *head,
        *(f"  {' | '.join(_cells(row))}" for row in rows[:ROWS] or [["no rows"]]),
        *more,
    ]


def progress(lessons: Sequence[Any], kept: Any) -> tuple[str, str]:
    """Return what is done, tried and left as a bar and a table, and as text."""
    rows = []
    for lesson in lessons:
        states = [(kept.of(one.id).status, one.minutes) for one in lesson.exercises]
        done, tried = (sum(status == what for status, _ in states) for what in ("done", "tried"))
        left = sum(minutes for status, minutes in states if status != "done")
        rows.append((lesson.name.replace("_", " "), done, tried, len(states) - done - tried, left))
    done, tried, left, minutes = (sum(row[place] for row in rows) for place in range(1, 5))
    whole = max(1, done + tried + left)
    summary = f"{done} done, {tried} tried, {left} left; about {number_of(minutes, 'minute')} to go"
    notes = []
    if kept.damaged:
        notes.append(f"Left out, because damaged: {number_of(kept.damaged, 'line')} of the file.")
    if kept.problem:
        notes.append(f"{kept.problem}.")
    sizes = ((done, palette.JOBS["successful"].colour), (tried, palette.JOBS["failed"].colour))
    bar = "".join(
        f'<i style="width:{100 * count / whole:.1f}%;background:{colour}"></i>' for count, colour in sizes
    )
    columns = ("lesson", "done", "tried", "left", "minutes left")
    table = "".join(f'<th scope="col">{name}</th>' for name in columns) + "".join(
        f"<tr>{''.join(f'<td>{escape(str(value))}</td>' for value in row)}</tr>" for row in rows
    )
    body = [
        f'<div class="bar" role="img" aria-label="{summary}">{bar}</div>',
        *(f"<p>{escape(note)}</p>" for note in notes),
        f"<table>{table}</table>",
    ]
    width = max((len(row[0]) for row in rows), default=0)
    filled = "#" * round(30 * done / whole) + "~" * round(30 * tried / whole)
    lines = [f"[{filled[:30]:-<30}] {summary}", *notes]
    lines += [
        f"{row[0]:<{width}}  {row[1]} done, {row[2]} tried, {row[3]} left, {row[4]} min" for row in rows
    ]
    return card(f"<b>{summary}</b>", body, QUIET, f"Progress: {summary}"), "\n".join(lines)
