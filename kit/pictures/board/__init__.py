"""The queue as a live picture: Python follows the tables, ``board.js`` draws any moment of that."""

from kit.pictures.board.widget import board

__all__ = ["board"]
