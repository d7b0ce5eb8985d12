"""The consumer's panel: a place in the cell of ``kit.run`` that says how its consumer is doing.

It is a widget, which is right again after a reload of the page, and after it a still panel, which stays in a
saved notebook. Both are brought up to date by a thread that only wakes when something has changed, so the
panel also lives while the kernel is busy.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from kit import live, notebook
from kit.consumer.panel.page import Shown, page, plain, still
from kit.errors.text import one_line

if TYPE_CHECKING:
    import anywidget

PAUSE = 0.2  # seconds between two repaints at least
SETTLED = 2.0  # seconds without a change before the still panel is brought up to date
TO_END = 2.0  # seconds for a repaint that is under way


class Panel:
    """Shows a consumer in the cell that starts it, and keeps up with it until it has ended.

    A thread repaints it while cells run and between them. Every cell repaints it once more when it ends:
    what comes later would not be in the file of a notebook that is executed and saved.
    """

    def __init__(self, consumer: Shown) -> None:
        self._consumer = consumer
        self._display_id = uuid.uuid4().hex
        self._widget: anywidget.AnyWidget | None = None
        self._live = ""
        self._kept = ""
        self._painting = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        if notebook.in_notebook():
            self._start()
            consumer.when_changed = self._end_with_it

    def _end_with_it(self) -> None:
        if self._has_ended():
            self.stop()

    def _start(self) -> None:
        """Show it in the running cell."""
        self._live = self._kept = page(self._consumer)
        if find_spec("anywidget") is not None:  # it comes with the extra `lab`; the still panel does without
            self._widget = _widget(lambda: self._live)
            live.show(self._widget.model_id)
        self._publish(update=False)
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
        self._repaint(keep=True)

    def _follow(self) -> None:
        over = False
        while not over:
            happened = self._consumer.changed.wait(SETTLED if self._live != self._kept else None)
            self._consumer.changed.clear()
            over = self._stopping.is_set() or self._has_ended()  # before it is painted, so that this is seen
            self._repaint(keep=over or not happened)
            # Many changes in a short time are one repaint.
            over = over or self._stopping.wait(PAUSE)

    def _has_ended(self) -> bool:
        return self._consumer.state in ("stopped", "failed")

    def _after_a_cell(self, _result: object) -> None:
        ended = self._has_ended()
        self._repaint(keep=True)
        if ended:
            notebook.no_longer_after_cells(self._after_a_cell)

    def _repaint(self, *, keep: bool) -> None:
        """Bring the panel up to date, if anything has changed; with ``keep`` also the still one."""
        with self._painting:
            try:
                now = page(self._consumer)
                if now != self._live and self._widget is not None:
                    self._live = now
                    self._widget.send_state("page")
                if keep and now != self._kept:
                    self._publish(update=True)
                    self._kept = now
            except Exception as error:  # the next change tries again
                if not self._consumer.console.repeats("the panel"):
                    self._consumer.console.add("log", f"its panel could not be repainted: {one_line(error)}")

    def _publish(self, *, update: bool) -> None:
        bundle = {"text/html": still(self._consumer, time.time()), "text/plain": plain(self._consumer)}
        notebook.publish(bundle, self._display_id, update=update)


def _widget(html: Callable[[], str]) -> anywidget.AnyWidget:
    """Make the browser's side of a panel, which is told what ``html`` returns whenever it asks."""
    import anywidget
    import traitlets

    class PanelWidget(anywidget.AnyWidget):
        _esm = Path(__file__).with_name("panel.js").read_text("utf-8")
        # With the time, because what was saved with a notebook is not to be taken for what is live.
        page = traitlets.Any().tag(sync=True, to_json=lambda *_: {"html": html(), "at": time.time()})

    widget = PanelWidget()
    widget.on_msg(lambda *_: widget.send_state("page"))
    return widget
