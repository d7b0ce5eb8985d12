"""The panel in the cell that starts consumers: how they are doing."""

from kit.pictures.panel.panel import Panel

__all__ = ["Panel"]
