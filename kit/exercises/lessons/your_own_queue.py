"""Exercises of the lesson *A queue of your own*."""

from __future__ import annotations

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, NotYet, Wrong

TASKS = """
CREATE TABLE tasks (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, kind text DEFAULT 'mail',
                    status text DEFAULT 'queued', attempts int DEFAULT 0, heartbeat timestamptz, priority int DEFAULT 0);
"""


async def _taken_by_two(answer: Answer, name: str) -> list[str]:
    """Return what two workers take that ask at the same time, again and again, each in a transaction."""
    taken: list[str] = []
    async with answer.another() as ann, answer.another() as bob:
        await bob.execute("SET lock_timeout = '300ms'")
        for _ in range(3):
            async with ann.transaction(), bob.transaction():
                for who in (ann, bob):
                    try:
                        rows = await answer.ask(name, on=who)
                    except NotYet as error:
                        raise NotYet("waits") if "lock timeout" in str(error.words) else error from None
                    if len(rows) > 1:
                        raise NotYet("several", actual=rows)
                    if rows:
                        number = rows[0][0]
                        task = (await answer.sql("SELECT name FROM tasks WHERE id = $1", number))[0][0]
                        if task in taken:
                            raise NotYet("same", name=task)
                        taken.append(task)
                        done = "UPDATE tasks SET status = 'done', heartbeat = now() WHERE id = $1"
                        await who.execute(done, number)
    return taken


async def each_once_by_priority(answer: Answer) -> None:
    await answer.sql(TASKS)
    await answer.sql(
        "INSERT INTO tasks (name, priority) VALUES ('red', 0), ('silver', 10), ('gold', 10), ('green', 0), ('late', -5);"
        # Their places in the table are no longer those of their ids.
        "UPDATE tasks SET attempts = 0 WHERE name = 'silver'; UPDATE tasks SET attempts = 0 WHERE name = 'red';"
    )
    taken = await _taken_by_two(answer, "my_next")
    want, columns = ["silver", "gold", "red", "green", "late"], ("taken",)
    if taken[:1] in (["late"], ["red"]):
        answer.same(taken, want, "not-the-highest", columns=columns)
    answer.same(taken, want, "tie", columns=columns)


def _next(order: str, lock: str = "FOR UPDATE SKIP LOCKED", limit: str = "LIMIT 1 ") -> str:
    return f"""my_next = \"\"\"SELECT id, name FROM tasks WHERE status = 'queued'
             ORDER BY {order} {limit}{lock}\"\"\""""


PRIORITY = Exercise(
    id="priority",
    kind="query",
    title="The most important task",
    minutes=4,
    processes=0,
    cell="my-take",
    task="Give tasks a priority: change the statement so that the highest `priority` comes first, and of equal ones the "
    "oldest. Two workers ask at the same time; each task is taken once, and nobody waits.",
    names=("my_next",),
    stub=_next("id"),
    solution=_next("priority DESC, id"),
    also=(_next("priority DESC, id ASC", "FOR NO KEY UPDATE SKIP LOCKED"), _next("-priority, id", "FOR UPDATE OF tasks SKIP LOCKED")),
    check=each_once_by_priority,
    hints=(
        "The order is in one place: `ORDER BY`.",
        "Highest first is `DESC`, and it takes a second column for the tie.",
        "`ORDER BY priority DESC, id`.",
    ),
    why="The order is a list of columns, and the lock and the skipping stay as they are. It is the rule of lesson 03: "
    "`ORDER BY priority DESC, id ASC`.",
    wrong=(
        Wrong("the lowest first", _next("priority, id"), "not-the-highest"),
        Wrong("no second column", _next("priority DESC"), "tie"),
        Wrong("the newest of equal ones", _next("priority DESC, id DESC"), "tie"),
        Wrong("nobody skips", _next("priority DESC, id", "FOR UPDATE"), "waits"),
        Wrong("no lock", _next("priority DESC, id", ""), "same"),
        Wrong("all of them", _next("priority DESC, id", limit=""), "several"),
    ),
    messages={
        "not-the-highest": "A task with a lower priority was taken first.",
        "tie": "Among tasks of the same priority the oldest comes first, whatever order they have in the table.",
        "waits": "The second worker waits for the lock of the first one. Two words let it take the next task instead.",
        "same": "Both workers have taken {name!r}: nothing keeps the second from reading the same row.",
        "several": "One task at a time is asked for.",
    },
)  # fmt: skip


async def from_the_dead_only(answer: Answer) -> None:
    await answer.sql(TASKS)
    await answer.sql(
        "INSERT INTO tasks (name, status, heartbeat, kind) VALUES"
        " ('young', 'picked', now() - interval '5 seconds', 'mail'), ('old', 'picked', now() - interval '1 minute', 'mail'),"
        " ('new', 'queued', NULL, 'mail'), ('done', 'done', now() - interval '1 hour', 'mail'),"
        " ('silent', 'picked', NULL, 'mail'), ('fax', 'picked', now() - interval '1 minute', 'fax'),"
        " ('another fax', 'queued', NULL, 'fax');"
    )
    taken = await _taken_by_two(answer, "my_take")
    want, columns = ["old", "new", "silent"], ("taken",)
    for name, key in (
        ("young", "stolen"),
        ("fax", "another-kind"),
        ("another fax", "another-kind"),
        ("done", "finished"),
    ):
        if name in taken:
            answer.same(taken, want, key, columns=columns)
    if "silent" not in taken and "old" in taken:
        answer.same(taken, want, "never-beat", columns=columns)
    answer.same(taken, want, "order" if set(taken) == set(want) else "left", columns=columns)


def _take(condition: str, order: str = "id") -> str:
    return f'my_take = """SELECT id, name FROM tasks\n    WHERE {condition}\n    ORDER BY {order} LIMIT 1 FOR UPDATE SKIP LOCKED"""'


_OLD = "(heartbeat IS NULL OR heartbeat < now() - interval '30 s')"

STALE = Exercise(
    id="stale",
    kind="query",
    title="What the dead have left",
    minutes=5,
    processes=0,
    task="This worker takes tasks of the kind `mail`. Let it also take those whose worker is dead: picked, and the heartbeat "
    "is older than 30 seconds, or there never was one (NULL). It must not take from the living, nor another kind.",
    names=("my_take",),
    stub=_take("kind = 'mail' AND status = 'queued'"),
    solution=_take(f"kind = 'mail' AND (status = 'queued' OR status = 'picked' AND {_OLD})"),
    also=(
        _take("kind = 'mail' AND (status = 'queued' OR (status = 'picked' AND coalesce(heartbeat, '-infinity') < now() - interval '30 s'))"),
        _take("kind = 'mail' AND status IN ('queued', 'picked') AND (status = 'queued' OR (now() - heartbeat < interval '30 s') IS NOT TRUE)"),
    ),
    check=from_the_dead_only,
    hints=(
        "Two kinds of tasks: those that wait, *or* those that are picked and old. And both of the kind `mail`.",
        "`AND` binds more tightly than `OR`: put the two into parentheses.",
        f"`kind = 'mail' AND (status = 'queued' OR status = 'picked' AND {_OLD})`.",
    ),
    why="The heartbeat is all that tells the dead from the slow. What has none at all is neither older nor younger than "
    "anything: NULL needs its own words.",
    wrong=(
        Wrong("OR without parentheses", _take(f"kind = 'mail' AND status = 'queued' OR status = 'picked' AND {_OLD}"), "another-kind"),
        Wrong("NULL is forgotten", _take("kind = 'mail' AND (status = 'queued' OR status = 'picked' AND heartbeat < now() - interval '30 s')"), "never-beat"),
        Wrong("all that are picked", _take("kind = 'mail' AND status IN ('queued', 'picked')"), "stolen"),
        Wrong("the other way round", _take("kind = 'mail' AND (status = 'queued' OR status = 'picked' AND heartbeat > now() - interval '30 s')"), "stolen"),
        Wrong("old after a second", _take(f"kind = 'mail' AND (status = 'queued' OR status = 'picked' AND {_OLD})".replace("30 s", "1 s")), "stolen"),
        Wrong("whatever is old", _take(f"kind = 'mail' AND (status = 'queued' OR {_OLD})"), "finished"),
        Wrong("the newest first", _take(f"kind = 'mail' AND (status = 'queued' OR status = 'picked' AND {_OLD})", "id DESC"), "order"),
        Wrong("nobody skips", _take(f"kind = 'mail' AND (status = 'queued' OR status = 'picked' AND {_OLD})").replace("SKIP LOCKED", ""), "waits"),
        Wrong("no lock", _take(f"kind = 'mail' AND (status = 'queued' OR status = 'picked' AND {_OLD})").replace("FOR UPDATE SKIP LOCKED", ""), "same"),
        Wrong("all at once", _take(f"kind = 'mail' AND (status = 'queued' OR status = 'picked' AND {_OLD})").replace("LIMIT 1", ""), "several"),
        Wrong("old enough for a day", _take("kind = 'mail' AND status = 'queued' AND id > 0"), "left"),
    ),
    messages={
        "stolen": "The task `young` was taken from a worker that gave a sign of life 5 seconds ago. Now two work on it.",
        "another-kind": "A task of the kind `fax` was taken: without parentheses, what stands behind the `OR` does not "
        "ask for the kind.",
        "never-beat": "`silent` was picked, and never had a heartbeat. NULL is not older than anything.",
        "finished": "A task was taken that is done.",
        "order": "Those are the right ones. The oldest comes first.",
        "left": "A task is left that this worker should take.",
        "waits": "A second worker, which asked at the same time, had to wait for the first one's lock.",
        "same": "Two workers that asked at the same time have both taken {name!r}.",
        "several": "One task at a time is asked for.",
    },

)  # fmt: skip


async def only_who_has_it(answer: Answer) -> None:
    await answer.sql(TASKS)
    await answer.sql(
        "INSERT INTO tasks (name, status, attempts) VALUES ('red', 'picked', 2), ('green', 'picked', 1), ('blue', 'queued', 1);"
    )

    async def rows() -> list[tuple[str, str, int]]:
        found = await answer.sql("SELECT name, status, attempts FROM tasks ORDER BY id")
        return [(row[0], row[1], row[2]) for row in found]

    columns = ("task", "status", "attempts")
    untouched = [("red", "picked", 2), ("green", "picked", 1), ("blue", "queued", 1)]
    await answer.ask("finish", 1, 1)
    after_late = await rows()
    if len(after_late) < 3:
        answer.same(after_late, untouched, "deleted", columns=columns)
    answer.same(after_late, untouched, "late-worker", columns=columns)
    await answer.ask("finish", 1, 2)
    done = await rows()
    want = [("red", "done", 2), *untouched[1:]]
    if len(done) < 3:
        answer.same(done, want, "deleted", columns=columns)
    if done[1:] != untouched[1:]:
        answer.same(done, want, "another-task", columns=columns)
    answer.same(done, want, "not-done", columns=columns)


def _finish(condition: str, what: str = "UPDATE tasks SET status = 'done'") -> str:
    return f'finish = "{what} WHERE {condition}"'


FINISH = Exercise(
    id="finish",
    kind="mend",
    title="Done, by whom?",
    minutes=3,
    processes=0,
    task="A worker was frozen, and another has taken its task by now: `attempts` has gone up. When the first one wakes, it "
    "must not mark as done what the other still works on. `finish` is run with two values: `$1`, the task's id, and `$2`, "
    "the attempts that the worker was given when it took it.",
    names=("finish",),
    stub=_finish("id = $1"),
    solution=_finish("id = $1 AND attempts = $2"),
    also=(_finish("(id, attempts) = ($1, $2) AND status = 'picked'"),),
    check=only_who_has_it,
    hints=(
        "How could the statement know that somebody else has it now?",
        "Each time that a task is taken, `attempts` goes up.",
        "`WHERE id = $1 AND attempts = $2`.",
    ),
    why="The number of the attempt says whose task it is: what does not fit changes nothing. PGQueuer's staged jobs and many "
    "locks use such a number, often called a fencing token.",
    wrong=(
        Wrong("by its status", _finish("id = $1 AND status = 'picked'"), "late-worker"),
        Wrong("takes it back", _finish("id = $1 AND attempts >= $2"), "late-worker"),
        Wrong("deletes it", _finish("id = $1 AND attempts = $2", "DELETE FROM tasks"), "deleted"),
        Wrong("every one of that attempt", _finish("attempts = $2 AND id <= $1 + 1 AND id <> 2 OR id = 2 AND $2 = 2"), "another-task"),
        Wrong("the other way round", _finish("id = $1 AND attempts = $2 + 1"), "late-worker"),
        Wrong("never", _finish("id = $1 AND attempts = $2 AND status = 'queued'"), "not-done"),
    ),
    messages={
        "late-worker": "The worker that was frozen, with attempt 1, has changed a task that another one works on, with "
        "attempt 2.",
        "deleted": "The row is gone, and with it the only trace that the task was done.",
        "another-task": "Another task has changed as well.",
        "not-done": "The worker that has the task said that it is done, and nothing changed.",
    },
)  # fmt: skip

CASES = """
- `a`: five mails a second, each for an order that is written in Postgres at the same moment; none may be lost.
- `b`: fifty thousand measurements a second, read by four teams, and again next week.
- `c`: an order waits for days for somebody's signature, and when it is refused, what was done is undone.
- `d`: videos of two gigabytes are converted, one a minute; the files are in an object store.
- `e`: twenty images a minute are made smaller, for a web shop that has its data in Postgres."""


async def the_right_tool(answer: Answer) -> None:
    named = answer["tools"]
    if not isinstance(named, dict) or set(named) != set("abcde"):
        raise NotYet("five-cases")
    words = {case: str(tool).strip().lower() for case, tool in named.items()}
    if not set(words.values()) <= {"queue", "broker", "workflow"}:
        raise NotYet("five-cases")
    if words["b"] != "broker":
        raise NotYet("too-much")
    if words["c"] != "workflow":
        raise NotYet("people")
    if words["a"] != "queue":
        raise NotYet("together")
    if words["d"] != "queue":
        raise NotYet("only-the-address")
    if words["e"] != "queue":
        raise NotYet("too-large-a-tool")


def _tools(**other: str) -> str:
    tools = {"a": "queue", "b": "broker", "c": "workflow", "d": "queue", "e": "queue"}
    return f"tools = {tools | other}"


WHICH = Exercise(
    id="which",
    kind="read",
    title="Which tool?",
    minutes=3,
    processes=0,
    task='For each of these: a `"queue"` in Postgres, a `"broker"` (RabbitMQ, Kafka) or a `"workflow"` engine?\n' + CASES,
    names=("tools",),
    stub="""# each is "queue", "broker" or "workflow"
tools = {"a": "", "b": "", "c": "", "d": "", "e": ""}""",
    solution=_tools(),
    also=('tools = dict(e="queue", d="Queue", c="workflow", b="broker", a="queue")',),
    check=the_right_tool,
    hints=(
        "What can a queue in Postgres do that no broker can? Where is it too slow?",
        "Count: five a second is little, fifty thousand is not. And a payload may be an address.",
        "One of the five is for a broker, one for a workflow engine.",
    ),
    why="A queue in your own database is enough for most work, and the only one that can be written in one transaction with "
    "your data. A broker is for more messages and many readers, a workflow engine for days, people and undoing.",
    wrong=(
        Wrong("always Postgres", _tools(b="queue", c="queue"), "too-much"),
        Wrong("a broker for the mails", _tools(a="broker"), "together"),
        Wrong("a queue for the signature", _tools(c="queue"), "people"),
        Wrong("a broker for the videos", _tools(d="broker"), "only-the-address"),
        Wrong("Kafka for twenty a minute", _tools(e="broker"), "too-large-a-tool"),
        Wrong("a product", _tools(b="Kafka"), "five-cases"),
        Wrong("a list", 'tools = ["queue"] * 5', "five-cases"),
    ),
    messages={
        "five-cases": "`tools` is a dictionary with one of the three words for each of the five cases.",
        "too-much": "`b` is more than a table can take all day long, and each message has many readers.",
        "people": "`c` waits for days, and undoes earlier steps: that is what workflow engines are for.",
        "together": "`a` has to be written with its order or not at all. A broker is outside of that transaction.",
        "only-the-address": "`d` is one job a minute. The payload is an address; the file stays where it is.",
        "too-large-a-tool": "`e` is one job in three seconds. A server more would be work without a gain.",
    },
)  # fmt: skip

EXERCISES = (STALE, FINISH, PRIORITY, WHICH)
