"""What is live in a notebook while its kernel is there, and beside it what a saved notebook keeps.

A widget comes back after a reload of the page; without its kernel it is blank, or an error. So the output
after it, which a saved or published notebook keeps, shows the same as it was, and hides beside what is live.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kit import notebook

if TYPE_CHECKING:
    import anywidget

WIDGET = "application/vnd.jupyter.widget-view+json"
# What stands in the place of a widget where the page cannot show one.
WORDS = (
    "Not live on this page. Where a kernel runs, `pip install anywidget` in the environment of Jupyter "
    "itself mends that; then reload the page."
)
# The widget's own element has the class `kit-live`, what stands for it `kit-still`. One of the two is shown,
# and no line says that a widget was not found.
STYLE = (
    ":has(.kit-live):not(:has(.kit-still))+:has(.kit-still):not(:has(.kit-live)){display:none}"
    ".jp-OutputArea-child:has(+.jp-OutputArea-child .kit-still)"
    " :is(.jupyter-widgets,.jupyter-widgets-disconnected):not(:has(*)){display:none}"
)
PAUSE = 0.1  # seconds between two messages to the page, at least
SETTLED = 2.0  # seconds without a change before what is kept is brought up to date
TO_END = 2.0  # seconds for a message that is under way


class Shown(Protocol):
    """What is shown live."""

    def news(self, since: int) -> tuple[str, int]:
        """Return, as JSON, what is new since the state of that number (-1: all), and the number of it now."""

    def kept(self) -> dict[str, str]:
        """Return what a saved notebook keeps, by MIME type."""

    def asked(self, question: dict[str, Any]) -> None:
        """Answer a page, if it asks for more than all that there is. A panel's does not."""
        return

    def catch_up(self) -> None:
        """Return when the state is as new as can be; a cell has just run. A panel's always is."""
        return


class Live:
    """One live picture, in every cell and page that shows it, and what is kept of it.

    A thread brings them up to date, so it also lives while the kernel is busy; it only wakes when something
    has changed. Every cell does so once more when it ends: what comes later would not be in the file of a
    notebook that is executed and saved.

    Args:
        name: what its thread is called.
        shown: what is shown.
        script, style: the files of the browser's side.
        palette: what that side is told of colours and words.
        failed: told of an error, after which the next change is tried.

    Attributes:
        pages: what sends a message to each page that shows it.
    """

    def __init__(
        self,
        name: str,
        shown: Shown,
        script: Path,
        style: Path,
        palette: dict[str, Any],
        failed: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self._shown = shown
        self._files = script, style
        self._palette = palette
        self._failed = failed
        self._widget: anywidget.AnyWidget | None = None
        self.pages: list[Callable[[str], None]] = []
        self._displays: list[str] = []
        self._sent = self._kept = -2
        self._painting = threading.Lock()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)

    def show(self) -> None:
        """Show it below the running cell of a notebook."""
        if self._widget is None:
            self._widget = _widget(*self._files, self._palette, self.heard)
            self.add_page(self._send_to_widget)
        view = {"version_major": 2, "version_minor": 0, "model_id": self._widget.model_id}
        notebook.publish({WIDGET: view, "text/plain": WORDS})
        self._displays.append(uuid.uuid4().hex)
        notebook.publish(self._shown.kept(), self._displays[-1])
        self._kept = self._sent

    def add_page(self, send: Callable[[str], None]) -> None:
        """Send also there what is new, from now on."""
        self.pages.append(send)
        if self._thread.ident is None:
            notebook.after_each_cell(self._cell_has_run)
            self._thread.start()

    def changed(self) -> None:
        """Bring the pages up to date soon; from any thread."""
        if not self._changed.is_set():  # this may be called twice a job: setting it again takes a lock
            self._changed.set()

    def again(self) -> None:
        """Send everything once more."""
        with self._painting:
            self._sent = -1
        self.changed()

    def say(self, text: str) -> None:
        """Send something else than the state to every page."""
        for send in self.pages:
            send(text)

    def keep(self) -> None:
        """Bring what is kept up to date, though the state is the same."""
        self._kept = -2
        self._paint(keep=True)

    def end(self, *, wait: bool = True) -> None:
        """Show the last state, and end the thread; with ``wait`` return when it has ended."""
        self._stopping.set()
        self._changed.set()
        if wait and self._thread.is_alive():
            self._thread.join(TO_END)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            happened = self._changed.wait(SETTLED if self._kept != self._sent else None)
            self._changed.clear()
            self._paint(keep=not happened)
            self._stopping.wait(PAUSE)
        self._paint(keep=True)
        notebook.no_longer_after_cells(self._cell_has_run)

    def _cell_has_run(self, _result: object) -> None:
        self._shown.catch_up()
        self._paint(keep=True)

    def _paint(self, *, keep: bool) -> None:
        with self._painting:
            try:
                news, state = self._shown.news(self._sent)
                if state != self._sent:
                    self.say(news)
                    self._sent = state
                if keep and self._kept != state:
                    for display in self._displays:
                        notebook.publish(self._shown.kept(), display, update=True)
                    self._kept = state
            except Exception as error:
                self._failed(error)

    def heard(self, question: dict[str, Any]) -> None:
        """Answer a page."""
        if question.get("kind") == "again":
            self.again()
        else:
            self._shown.asked(question)

    def _send_to_widget(self, text: str) -> None:
        if self._widget is not None:
            self._widget.send({}, [text.encode()])


def clock(at: float) -> str:
    """Return a time in seconds since 1970 as a clock here shows it."""
    return datetime.fromtimestamp(at).strftime("%H:%M:%S")


def _widget(
    script: Path, style: Path, palette: dict[str, Any], heard: Callable[[dict[str, Any]], None]
) -> anywidget.AnyWidget:
    """Make the browser's side. It asks for everything when a page begins to show it."""
    import anywidget
    import traitlets

    class KitWidget(anywidget.AnyWidget):
        _esm = script
        _css = style
        palette = traitlets.Dict().tag(sync=True)

    widget = KitWidget(palette=palette)
    widget.on_msg(lambda _widget, question, _buffers: heard(question))
    return widget
