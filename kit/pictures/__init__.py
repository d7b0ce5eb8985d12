"""Pictures of the queue: ``board``, live, and ``timeline``, a plot."""
