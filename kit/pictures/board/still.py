"""The board as a still picture: an SVG that a saved, exported or published notebook keeps showing."""

from __future__ import annotations

from html import escape

from kit import live, palette, theme
from kit.pictures.board.state import COLUMNS, BoardState, Card

WIDTH = 860  # fits a page of an exported notebook, and GitHub
PAD = 14
LOOKS = tuple(palette.JOBS[statuses[0]] for statuses in COLUMNS)
CARD = (88, 24, 4)
SMALL = (22, 15, 2)
TALL = 6  # more rows of cards than this in one place are drawn small
ROWS = 12  # of small cards; the rest is a number
LANE_TOP = 26
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:var(--text)}.b{font-weight:600}.n{font-size:20px}"
    ".s{font-size:10px}.p{font-weight:600}.q{fill:var(--quiet);font-size:11px}.m{text-anchor:middle}"
    ".e{text-anchor:end}.g{fill:var(--ground)}.r{fill:var(--raised)}.l{stroke:var(--rule)}"
)
# What a page needs beside the picture: it or the live board is shown.
PAGE_STYLE = f"{live.STYLE}.kit-still{{margin:4px 0}}.kit-still figcaption{{font-size:12px}}"

Lane = tuple[str, list[list[Card]], list[int]]


def still(state: BoardState) -> str:
    """Draw ``state`` as an SVG of its own, light or dark as asked; no script, font or file from elsewhere."""
    with state.lock:
        lanes = _lanes(state)
        summary = state.summary()
        counting = state.counting
        now = state.now
        name = state.database
    edges = _edges(lanes)
    body, height = _body(lanes, edges, counting, now)
    words = summary + (" More than can be drawn: counted." if counting else "")
    parts = [
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="8" class="g l"/>',
        f'<text x="{PAD}" y="24"><tspan class="b">{escape(name)}</tspan>',
        f'<tspan dx="12">{escape(words)}</tspan></text>',
        *_heads(lanes, edges),
        *body,
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img" aria-label="{escape(words)}"><title>{escape(words)}</title>'
        + f"<style>{theme.svg_style()}{STYLE}</style>"
        + "".join(parts)
        + "</svg>"
    )


def in_page(picture: str, words: str, at: float) -> str:
    """Return ``picture`` as HTML for an output of a notebook.

    It follows the theme of the page, hides beside the live board, and says in words what it is, also where no
    picture is shown.

    Args:
        picture: what :func:`still` has drawn.
        words: the same in words.
        at: when it was so, in seconds since 1970.
    """
    return (
        f'<style>{PAGE_STYLE}</style><figure class="kit-still">'
        f"{theme.image(picture, words, 'kit-board-still')}"
        f"<figcaption>{live.as_it_was(at, 'board')}</figcaption></figure>"
    )


def _lanes(state: BoardState) -> list[Lane]:
    counts = state.counts()
    names = sorted(counts.keys() | {card.entrypoint for card in state.cards.values()})
    cells: dict[str, list[list[Card]]] = {name: [[] for _ in COLUMNS] for name in names}
    if not state.counting:
        column_of = {status: at for at, statuses in enumerate(COLUMNS) for status in statuses}
        for card in state.cards.values():
            cells[card.entrypoint][column_of[card.status]].append(card)
    lanes = []
    for name in names:
        cells[name][0].sort(key=lambda card: ((card.due or 0) > state.now, -card.priority, card.id))
        cells[name][1].sort(key=lambda card: (card.picked or 0, card.id))
        for cell in cells[name][2:]:
            cell.sort(key=lambda card: (-(card.ended or 0), -card.id))
        own = counts.get(name, {})
        lanes.append(
            (name, cells[name], [sum(own.get(status, 0) for status in statuses) for statuses in COLUMNS])
        )
    return lanes


def _edges(lanes: list[Lane]) -> list[float]:
    """Return where each column begins, and where the last one ends: wide where there is much to show."""
    weights = []
    for at in range(len(COLUMNS)):
        most = max((len(cells[at]) for _, cells, _ in lanes), default=0)
        weights.append(
            6 if most > 80 else 3 if most > 24 else 2 if most > 8 else 1 if most > 1 or at in (0, 2) else 0.25
        )
    least = 104
    spare = WIDTH - 2 * PAD - least * len(COLUMNS)
    edges = [float(PAD)]
    for weight in weights:
        edges.append(edges[-1] + least + spare * weight / sum(weights))
    return [round(edge) for edge in edges]


def _heads(lanes: list[Lane], edges: list[float]) -> list[str]:
    parts = []
    for at, look in enumerate(LOOKS):
        left, right = edges[at], edges[at + 1]
        total = sum(counts[at] for _, _, counts in lanes)
        parts.append(
            f'<text x="{left + 6}" y="52"><tspan fill="{look.light}">{look.sign}</tspan>'
            f'<tspan dx="5">{look.word}</tspan></text>'
            f'<text x="{right - 8}" y="52" class="b e">{total:,}</text>'
            f'<rect x="{left}" y="59" width="{right - left}" height="2" fill="{look.light}"/>'
        )
    return parts


def _body(lanes: list[Lane], edges: list[float], counting: bool, now: float) -> tuple[list[str], float]:
    parts: list[str] = []
    top = 61.0
    if not lanes:
        parts.append(f'<text x="{WIDTH / 2}" y="98" class="m">No job yet.</text>')
        return parts, 130
    for index, (name, cells, counts) in enumerate(lanes):
        height: float = CARD[1]
        for at, cell in enumerate(cells):
            left, width = edges[at] + 6, edges[at + 1] - edges[at] - 12
            if counting:
                parts.append(f'<text x="{left}" y="{top + 46}" class="n">{counts[at]:,}</text>')
                continue
            drawn, tall = _cell(cell, counts[at], left, top + LANE_TOP, width, LOOKS[at].light, now)
            parts += drawn
            height = max(height, tall)
        if index:
            parts.append(f'<path d="M{PAD} {top}H{WIDTH - PAD}" class="l"/>')
        parts.append(f'<text x="{PAD + 6}" y="{top + 17}" class="b">{escape(name)}</text>')
        top += LANE_TOP + height + 10
    lines = "".join(f"M{edge} 61V{top}" for edge in edges[1:-1])
    return [f'<path d="{lines}" class="l"/>', *parts], top + 8


def _cell(
    cell: list[Card], total: int, left: float, top: float, width: float, colour: str, now: float
) -> tuple[list[str], float]:
    wide, high, gap = CARD
    across = max(1, int((width + gap) // (wide + gap)))
    if len(cell) > TALL * across:
        wide, high, gap = SMALL
        across = max(1, int((width + gap) // (wide + gap)))
    shown = cell[: across * ROWS]
    parts = []
    for at, card in enumerate(shown):
        x, y = left + at % across * (wide + gap), top + at // across * (high + gap)
        draw = _small if high == SMALL[1] else _card
        parts.append(draw(card, x, y, colour, now))
    height = -(-len(shown) // across) * (high + gap) - gap if shown else 0
    if total > len(shown):
        height += 16
        parts.append(
            f'<text x="{left}" y="{top + height - 2}" class="q">and {total - len(shown):,} more</text>'
        )
    return parts, height


def _card(card: Card, x: float, y: float, colour: str, now: float) -> str:
    step = palette.step(card.priority)
    later = card.status == "queued" and (card.due or 0) > now
    dash = ' stroke-dasharray="3 2"' if later else ""
    # How long it was put off, not how long is left: a still picture has no clock.
    delay = f"◴{(card.due or 0) - (card.created or now):.0f}s"
    mark = f"{palette.RETRIED[0]}{card.attempts}" if card.attempts else delay if later else ""
    return (
        f"<g><title>{escape(_said(card))}</title>"
        f'<rect x="{x}" y="{y}" width="{CARD[0]}" height="{CARD[1]}" rx="5" class="r"'
        f' stroke="{colour}"{dash}/>'
        f'<path d="M{x + 5} {y}h17v24h-17a5 5 0 0 1-5-5v-14a5 5 0 0 1 5-5"'
        f' fill="{step.fill}"/>'
        f'<text x="{x + 11}" y="{y + 16}" class="p m" style="fill:{step.text}">{card.priority}</text>'
        f'<text x="{x + 27}" y="{y + 16}">#{card.id}</text>'
        f'<text x="{x + CARD[0] - 4}" y="{y + 16}" class="s e">{mark}</text></g>'
    )


def _small(card: Card, x: float, y: float, colour: str, _now: float) -> str:
    step = palette.step(card.priority)
    return (
        f'<rect x="{x}" y="{y}" width="{SMALL[0]}" height="{SMALL[1]}" rx="3" fill="{step.fill}"'
        f' stroke="{colour}"/><text x="{x + 11}" y="{y + 11}" class="p s m" style="fill:{step.text}">'
        f"{card.priority}</text>"
    )


def _said(card: Card) -> str:
    """Say one card: what a pointer or a screen reader finds on it."""
    words = f"Job {card.id}, {card.entrypoint}, priority {card.priority}, {palette.JOBS[card.status].word}"
    words += f", {palette.retries(card.attempts)}" if card.attempts else ""
    return words + (f", {card.error}" if card.error and card.status != "successful" else "")
