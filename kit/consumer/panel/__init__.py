"""The consumer's panel, in the cell of ``kit.run``."""

from kit.consumer.panel.panel import Panel

__all__ = ["Panel"]
