"""The exercises of this course: a module for each lesson, named as its notebook is, without the number."""

ORDER = (
    "start_here",
    "entrypoints",
    "payloads",
    "priorities",
    "staged_jobs",
    "failures",
    "crashes",
    "pipelines",
    "time",
    "concurrency",
    "transactions",
    "from_your_application",
    "watching",
    "to_production",
    "your_own_queue",
    "capstone",
    "on_call",
)
