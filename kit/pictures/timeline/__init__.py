"""What each job did, and when, as a plot."""

from kit.pictures.timeline.plot import timeline

__all__ = ["timeline"]
