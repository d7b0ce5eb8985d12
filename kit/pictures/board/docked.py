"""The board that JupyterLab docks beside the text, where it has the extension ``kit-docked-board``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kit import notebook
from kit.display import palette
from kit.session import session

NAME = "kit-docked-board"


class Docked:
    """This kernel's side: a channel, once there is a database, which is followed when a page asks for it."""

    def __init__(self) -> None:
        self._send: Callable[[dict[str, Any]], None] | None = None
        self._asked = False
        self._board: Any = None

    def after_a_cell(self, _result: object) -> None:
        """Open the channel, or follow the database that the cell has turned to."""
        if session.database is None:
            return
        if self._send is None:
            self._send = notebook.channel(NAME, self._heard)
        elif self._asked:
            self._follow()

    def _heard(self, question: dict[str, Any]) -> None:
        from kit.pictures.board.widget import SCRIPT, STYLE

        if question.get("kind") == "hello":
            self._asked = True
            code = {"script": SCRIPT.read_text("utf-8"), "style": STYLE.read_text("utf-8")}
            self._tell({**code, "palette": palette.for_pages()})
            if not self._follow():
                self._board.live.again()
        elif self._board is not None:
            self._board.live.heard(question)

    def _follow(self) -> bool:
        """Follow this process's database; return whether that is another one than before."""
        from kit.pictures.board.widget import board_of

        board = board_of(session.target())
        if board is self._board:
            return False
        if self._board is not None:
            self._board.live.pages.remove(self._tell_text)
        self._board = board
        board.live.add_page(self._tell_text)
        board.live.again()
        return True

    def _tell_text(self, text: str) -> None:
        self._tell({"text": text})

    def _tell(self, data: dict[str, Any]) -> None:
        if self._send is not None:
            self._send(data)
