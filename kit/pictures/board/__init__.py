"""The queue as a live picture: Python reads the tables, JavaScript and CSS draw them in the browser."""

from kit.pictures.board.widget import board

__all__ = ["board"]
