"""What each job, or each staged run, did and when, as a plot."""

from kit.pictures.timeline.plot import timeline

__all__ = ["timeline"]
