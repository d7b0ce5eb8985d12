"""The consumer's panel, in the cell of ``kit.run``: to import it is to have one for each consumer."""

from kit.consumer.panel.panel import Panel
from kit.session import session

session.show = lambda consumers: [Panel(each) for each in consumers]

__all__ = ["Panel"]
