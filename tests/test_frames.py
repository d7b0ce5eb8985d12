"""Rows to typed columns: each of Postgres' types, both ways in, and what a notebook draws."""

from __future__ import annotations

import importlib.util
import os
import pickle
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import numpy as np
import pandas as pd
import pytest

import kit
from kit.sources import Postgres
from kit.tables import frames, times
from kit.tables.frames import DataFrame, frame


@pytest.fixture(scope="module", autouse=True)
def database(queue_server: Postgres) -> Iterator[None]:
    """One database for all tests that only read; the others ask for `queue_database`."""
    with queue_server.database(f"pytest_frames_{os.getpid()}") as opened:
        yield
        opened.drop()


writes = pytest.mark.usefixtures("queue_database")


def copied(expression: str, where: bool = True) -> pd.DataFrame:
    return kit.sql(f"SELECT {expression} AS value WHERE {where}")


def fetched(expression: str, where: bool = True) -> pd.DataFrame:
    return kit.sql(f"SELECT {expression} AS value WHERE $1::bool", where)


# COPY takes a query without arguments; asyncpg takes every other.
both_ways = pytest.mark.parametrize("read", [copied, fetched])

TYPES: list[tuple[str, str, str, Any]] = [
    ("int2", "7", "Int64", 7),
    ("int4", "-7", "Int64", -7),
    ("int8", "9223372036854775807", "Int64", 9223372036854775807),
    ("oid", "4294967295", "Int64", 4294967295),
    ("float4", "0.5", "float64", 0.5),
    ("float8", "-1e300", "float64", -1e300),
    ("numeric", "12.25", "float64", 12.25),
    ("bool", "true", "boolean", True),
    ("text", "ø", "string", "ø"),
    ("varchar", "", "string", ""),
    ("name", "n", "string", "n"),
    ("uuid", "0137ad8f-5516-4042-b43d-893689298ac3", "string", "0137ad8f-5516-4042-b43d-893689298ac3"),
    ("pgqueuer_status", "canceled", "category", "canceled"),
    (
        "timestamptz",
        "2026-01-02 03:04:05.678901+01",
        "datetime64[us, UTC]",
        pd.Timestamp("2026-01-02 02:04:05.678901", tz="UTC"),
    ),
    ("timestamp", "2026-01-02 03:04:05.678901", "datetime64[us]", pd.Timestamp("2026-01-02 03:04:05.678901")),
    ("date", "2026-01-02", "datetime64[s]", pd.Timestamp("2026-01-02")),
    ("interval", "-1 day 00:00:00.5", "timedelta64[us]", pd.Timedelta(days=-1, milliseconds=500)),
    ("interval", "1 year 2 months", "timedelta64[us]", pd.Timedelta(days=365.25 + 60)),
    ("bytea", "\\x00ff", "object", b"\x00\xff"),
    ("jsonb", '{"a": [1, null, "ø"]}', "object", {"a": [1, None, "ø"]}),
    ("json", '[{"b": true}]', "object", [{"b": True}]),
    ("jsonb", '"a string"', "object", "a string"),
    ("int4[]", "{1,NULL}", "object", [1, None]),
    ("text[]", "{a,b}", "object", ["a", "b"]),
    ("pgqueuer_status[]", "{queued,picked}", "object", ["queued", "picked"]),
]
each_type = pytest.mark.parametrize(
    ("type_", "literal", "dtype", "value"), TYPES, ids=[f"{each[0]} {each[1]}" for each in TYPES]
)


@both_ways
@each_type
def test_a_value_has_the_dtype_of_its_type(
    read: Callable[..., pd.DataFrame], type_: str, literal: str, dtype: str, value: Any
) -> None:
    column = read(f"'{literal}'::{type_}")["value"]
    assert column.dtype == dtype
    assert column[0] == value
    assert type(column.tolist()[0]) is type(value)


@both_ways
@each_type
def test_null_is_missing_and_keeps_the_dtype(
    read: Callable[..., pd.DataFrame], type_: str, literal: str, dtype: str, value: Any
) -> None:
    column = read(f"NULL::{type_}")["value"]
    assert column.dtype == dtype
    assert column.isna().all()


@both_ways
@each_type
def test_no_rows_keep_the_dtype(
    read: Callable[..., pd.DataFrame], type_: str, literal: str, dtype: str, value: Any
) -> None:
    column = read(f"'{literal}'::{type_}", where=False)
    assert len(column) == 0
    assert column["value"].dtype == dtype


@pytest.mark.parametrize("args", [(), (0,)], ids=["copied", "fetched"])
def test_values_and_nulls_of_all_types_stay_in_their_rows(args: tuple[int, ...]) -> None:
    expressions = ", ".join(
        f"CASE WHEN n % {at + 2} = 0 THEN '{literal}'::{type_} END AS c{at}"
        for at, (type_, literal, _, _) in enumerate(TYPES)
        if "[]" not in type_
    )
    where = "WHERE n > $1" if args else ""
    table = kit.sql(f"SELECT n, {expressions} FROM generate_series(1, 400) AS n {where} ORDER BY n", *args)
    assert table["n"].tolist() == list(range(1, 401))
    for at, (type_, _, _, value) in enumerate(TYPES):
        if "[]" not in type_:
            there = table["n"] % (at + 2) == 0
            assert table[f"c{at}"].notna().tolist() == there.tolist(), type_
            assert all(each == value for each in table.loc[there, f"c{at}"]), type_


@both_ways
@pytest.mark.parametrize("type_", ["timestamptz", "timestamp", "date"])
@pytest.mark.parametrize("literal", ["infinity", "-infinity"])
def test_an_infinite_time_is_missing(read: Callable[..., pd.DataFrame], type_: str, literal: str) -> None:
    assert read(f"'{literal}'::{type_}")["value"][0] is pd.NaT


@both_ways
@pytest.mark.parametrize(
    "expression",
    [
        "'9999-12-31 23:59:59.999999+00'::timestamptz",
        "'9999-12-31'::date",
        "'20000-01-01 00:00:00+00'::timestamptz",
        "'20000-01-01 00:00:00'::timestamp",
        "'0044-03-15 00:00:00+00 BC'::timestamptz",
        "'4713-01-01 00:00:00+00 BC'::timestamptz",
        "'5874897-12-31'::date",
    ],
)
def test_a_time_beyond_python_is_exact(read: Callable[..., pd.DataFrame], expression: str) -> None:
    column = read(expression)["value"]
    per_second = 1 if "date" in expression else 1_000_000
    wanted = kit.sql(f"SELECT (extract(epoch FROM {expression}) * {per_second})::int8 AS epoch")["epoch"]
    assert column.astype("int64").tolist() == wanted.tolist()
    assert str(column)


def test_a_time_beyond_numpy_is_missing() -> None:
    assert copied("'294276-12-31 00:00:00+00'::timestamptz")["value"][0] is pd.NaT
    assert copied("'100000000 years'::interval")["value"][0] is pd.NaT


@both_ways
def test_nan_and_infinity_of_numbers_arrive(read: Callable[..., pd.DataFrame]) -> None:
    for type_ in ("numeric", "float8", "float4"):
        assert np.isnan(read(f"'NaN'::{type_}")["value"][0])
        assert read(f"'Infinity'::{type_}")["value"][0] == np.inf


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("ARRAY['2026-01-02Z', NULL]::timestamptz[]", [pd.Timestamp("2026-01-02", tz="UTC"), None]),
        ("ARRAY['infinity']::timestamptz[]", [pd.NaT]),
        ("ARRAY['2026-01-02']::timestamp[]", [pd.Timestamp("2026-01-02")]),
        ("ARRAY['2026-01-02']::date[]", [pd.Timestamp("2026-01-02")]),
        ("ROW(5, '2026-01-02 00:00:00+00'::timestamptz)", (5, pd.Timestamp("2026-01-02", tz="UTC"))),
        ("ARRAY[ARRAY[1, 2], ARRAY[3, 4]]", [[1, 2], [3, 4]]),
        ("'[2026-01-02 00:00:00+00,)'::tstzrange", asyncpg.Range(pd.Timestamp("2026-01-02", tz="UTC"), None)),
        ("'empty'::tstzrange", asyncpg.Range(empty=True)),
    ],
)  # fmt: skip
def test_a_time_inside_something_is_a_timestamp(expression: str, value: Any) -> None:
    assert copied(expression)["value"][0] == value


@writes
def test_a_whole_row_is_a_dict() -> None:
    kit.sql("CREATE TABLE orders (id int, placed timestamptz)")
    kit.sql("INSERT INTO orders VALUES (1, '2026-01-02 00:00:00+00')")
    table = kit.sql("SELECT orders FROM orders")
    assert table["orders"][0] == {"id": 1, "placed": pd.Timestamp("2026-01-02", tz="UTC")}


@writes
def test_a_category_has_all_labels_in_the_order_of_the_enum() -> None:
    kit.sql("CREATE TYPE mood AS ENUM ('sad', 'ok', 'joy', 'øh, ''so''')")
    kit.sql("ALTER TYPE mood ADD VALUE 'meh' BEFORE 'ok'")
    table = kit.sql("SELECT unnest('{joy,\"øh, ''so''\",sad,meh,NULL}'::mood[]) AS mood")
    assert table["mood"].cat.categories.tolist() == ["sad", "meh", "ok", "joy", "øh, 'so'"]
    assert table["mood"].tolist()[:4] == ["joy", "øh, 'so'", "sad", "meh"]
    assert table["mood"].isna().tolist() == [False, False, False, False, True]


def test_repeated_column_names_are_numbered() -> None:
    table = kit.sql('SELECT 1 AS a, 2 AS a, 3 AS "a.1", 4, 5')
    assert table.columns.tolist() == ["a", "a.1", "a.1.1", "?column?", "?column?.1"]
    assert table.iloc[0].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "query",
    ["SELECT 1 AS one;", "SELECT 1 AS one -- and that is all", "VALUES (1)", "WITH a AS (SELECT 1) TABLE a"],
)
def test_a_query_may_end_or_begin_as_people_write_it(query: str) -> None:
    assert kit.sql(query).iloc[0, 0] == 1


def test_rows_keep_the_order_of_the_query() -> None:
    table = kit.sql("SELECT n FROM generate_series(1, 50000) AS n ORDER BY n % 7, n DESC")
    assert table["n"].tolist() == sorted(range(1, 50001), key=lambda n: (n % 7, -n))


@writes
def test_a_statement_without_rows_says_what_postgres_did() -> None:
    assert kit.sql("CREATE TABLE notes (text text)")["command"].tolist() == ["CREATE TABLE"]
    assert kit.sql("INSERT INTO notes VALUES ('a'), ($1)", "b")["command"].tolist() == ["INSERT 0 2"]
    assert kit.sql("VACUUM notes")["command"].tolist() == ["VACUUM"]
    assert kit.sql("-- nothing")["command"].tolist() == []


@writes
def test_an_insert_can_return_rows_and_is_done_once() -> None:
    kit.sql("CREATE TABLE notes (id int GENERATED ALWAYS AS IDENTITY, status pgqueuer_status)")
    table = kit.sql("INSERT INTO notes (status) VALUES ('queued'), ('picked') RETURNING *")
    assert table["id"].tolist() == [1, 2]
    assert table["status"].tolist() == ["queued", "picked"]
    table = kit.sql("WITH gone AS (DELETE FROM notes WHERE id = 1 RETURNING id) SELECT id FROM gone")
    assert table["id"].tolist() == [1]
    assert kit.sql("SELECT id FROM notes")["id"].tolist() == [2]


def test_show_and_explain_are_tables_too() -> None:
    assert kit.sql("SHOW timezone").iloc[0, 0] == "UTC"
    assert "Result" in str(kit.sql("EXPLAIN SELECT 1").iloc[0, 0])


def test_a_value_that_python_cannot_hold_is_an_error_with_a_way_out() -> None:
    with pytest.raises(kit.KitError, match="::text"):
        kit.sql("SELECT '24:00'::time")
    assert kit.sql("SELECT '24:00'::time::text AS time")["time"][0] == "24:00:00"


@writes
async def test_many_blocks_of_rows_of_any_size_arrive_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "BLOCK", 10_000)
    dice = random.Random(7)
    rows = [
        (
            number,
            dice.choice([None, dice.randbytes(dice.choice([0, 1, 7, 8, 9, 300, 30_000]))]),
            dice.choice([None, "", "a", "ø" * dice.randrange(50)]),
        )
        for number in range(2_000)
    ]
    connection = await asyncpg.connect()
    await connection.execute("CREATE TABLE things (id int, payload bytea, text text)")
    await connection.copy_records_to_table("things", records=rows)
    await connection.close()
    table = kit.sql("SELECT * FROM things ORDER BY id")
    assert table["id"].tolist() == [row[0] for row in rows]
    assert table["payload"].tolist() == [row[1] for row in rows]
    assert [None if value is pd.NA else value for value in table["text"]] == [row[2] for row in rows]


@writes
async def test_a_payload_larger_than_a_block_arrives_whole() -> None:
    payload = random.Random(1).randbytes(frames.BLOCK + 17)
    connection = await asyncpg.connect()
    await connection.execute("CREATE TABLE things (payload bytea)")
    await connection.execute("INSERT INTO things VALUES ('small'), ($1), ('last')", payload)
    await connection.close()
    assert kit.sql("SELECT payload FROM things")["payload"].tolist() == [b"small", payload, b"last"]


@writes
async def test_an_open_connection_is_read_inside_its_transaction() -> None:
    connection = await asyncpg.connect()
    await times.set_codecs(connection)
    async with connection.transaction():
        await connection.execute("CREATE TABLE things (id int)")
        await connection.execute("INSERT INTO things VALUES (1)")
        assert (await frame(connection, "SELECT id FROM things"))["id"].tolist() == [1]
        assert (await frame(connection, "SELECT id FROM things WHERE id = $1", 2))["id"].tolist() == []
        assert len(await frame(connection, "EXPLAIN SELECT id FROM things")) > 0
        assert (await frame(connection, "UPDATE things SET id = 5 RETURNING id"))["id"].tolist() == [5]
    await connection.close()


@pytest.mark.parametrize(
    ("type_", "value", "shown"),
    [
        ("timestamptz", datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "2026-01-02 03:04:05.000006+00"),
        ("timestamptz", pd.Timestamp("2026-01-02 03:00", tz="Europe/Amsterdam"), "2026-01-02 02:00:00+00"),
        ("timestamp", datetime(1999, 12, 31, 23, 59, 59, 999999), "1999-12-31 23:59:59.999999"),
        ("timestamp", date(2026, 1, 2), "2026-01-02 00:00:00"),
        ("date", date(2026, 1, 2), "2026-01-02"),
        ("interval", timedelta(days=-1, microseconds=5), "-1 days +00:00:00.000005"),
        ("interval", None, None),
    ],
)
def test_times_are_sent_as_they_are(type_: str, value: Any, shown: str | None) -> None:
    sent = kit.sql(f"SELECT $1::{type_}::text AS value", value)["value"][0]
    assert (None if sent is pd.NA else sent) == shown


@pytest.mark.parametrize("type_", ["timestamptz", "timestamp", "date", "interval"])
def test_text_for_a_time_is_refused_in_plain_words(type_: str) -> None:
    with pytest.raises(kit.KitError, match=r"\$1: 'noon' \(expected a datetime\.\w+, got 'str'\)"):
        kit.sql(f"SELECT $1::{type_}", "noon")


def html(query: str, *args: Any) -> str:
    drawn = kit.sql(query, *args)._repr_html_()  # type: ignore[operator]
    assert isinstance(drawn, str)
    return drawn


@pytest.mark.parametrize(
    ("span", "shown"),
    [("8.626417 s", "8.626 s"), ("1 day 2 s", "1 d 2.000 s"), ("-3 s", "-3.000 s"), ("2 min", "120.000 s")],
)
def test_a_notebook_shows_spans_of_time_in_seconds(span: str, shown: str) -> None:
    assert f"<td>{shown}</td>" in html(f"SELECT '{span}'::interval AS took")


def test_a_notebook_shows_times_to_the_millisecond_and_the_frame_keeps_them() -> None:
    query = "SELECT '2026-01-02 03:04:05.678901+00'::timestamptz AS at"
    assert "<td>2026-01-02 03:04:05.678 UTC</td>" in html(query)
    assert kit.sql(query)["at"][0].microsecond == 678901


def test_a_notebook_shows_every_null_as_none() -> None:
    drawn = html(
        "SELECT NULL::int, NULL::text, NULL::timestamptz, NULL::bytea, NULL::bool, NULL::pgqueuer_status"
    )
    assert drawn.count("<td>None</td>") == 6


def test_a_notebook_shows_markup_as_it_is_written() -> None:
    drawn = html(
        "SELECT '<script>alert(1)</script>' AS text, '<b>'::bytea AS bytes, '{\"a\": \"<i>\"}'::jsonb AS doc"
    )
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in drawn
    assert "<script>" not in drawn
    assert "b'&lt;b&gt;'" in drawn
    assert "&lt;i&gt;" in drawn


def test_a_notebook_shows_the_beginning_of_a_long_value() -> None:
    drawn = html("SELECT repeat('to be or not ', 100000) AS text, repeat('x', 100000)::bytea AS bytes")
    assert "to be or not to be or not" in drawn
    assert len(drawn) < 4_000


def test_a_notebook_shows_two_hundred_characters_of_a_value_and_unfolds_a_thousand() -> None:
    drawn = html("SELECT repeat('x', 199) || 'y' AS shown, repeat('x', 200) || 'y' AS cut, 'short' AS short")
    assert f'<div class="long">{"x" * 199}y</div>' in drawn
    assert f'<summary>{"x" * 199}<span class="cut">…</span></summary>xy</details></td>' in drawn
    assert "<td>short</td>" in drawn
    assert ".long { white-space: normal;" in drawn
    assert f"</summary>{'x' * 801}…</details>" in html("SELECT repeat('x', 5000)")


def test_a_notebook_shows_joined_emoji_in_one_piece_and_no_commands_for_a_terminal() -> None:
    family = "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}"
    red = r"E'\x1b[31mred\x1b[0m'"
    drawn = html(f"SELECT $1::text AS text, jsonb_build_object('who', $1::text) AS doc, {red} AS red", family)
    assert f"<td>{family}</td>" in drawn
    assert f"<td>{{'who': '{family}'}}</td>" in drawn
    assert "<td>red</td>" in drawn
    assert r"{'who': '\\u200d'}" in html(r"""SELECT '{"who": "\\u200d"}'::jsonb""")


def test_neither_a_long_value_nor_a_label_can_add_markup() -> None:
    drawn = html("SELECT repeat('<b>', 30) AS one, repeat('<i>', 300) AS two, 1 AS \"<u>\"")
    grouped = DataFrame({"<s>": ["<b>"], "count": [1]}).set_index("<s>")
    tuples = DataFrame([[1]], columns=pd.Index([("<i>", 2)], tupleize_cols=False))
    for page in (drawn, grouped._repr_html_(), tuples._repr_html_()):
        assert not re.search("<[bius]>", str(page))
    assert drawn.count("<td") == drawn.count("</td>") == 3


ASKED = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError("No module named 'pyarrow'", name=name)

if sys.argv[1] == "without":
    sys.meta_path.insert(0, NotInstalled())
import pandas as pd
from kit.tables import columns
from kit.tables.frames import DataFrame

table = DataFrame({"entrypoint": columns.text(["greet", None, "ship", "greet"]), "id": [1, 2, 3, 4]})
print(table.query("entrypoint == 'greet'").id.tolist())
print(table.query("entrypoint in ['greet', 'ship']").id.tolist())
print(table[table.entrypoint.isin(["ship", "nowhere"])].id.tolist())
print(table[table.entrypoint == "ship"].id.tolist())
print(table[table.entrypoint.str.startswith("gr", na=False)].id.tolist())
print(table.groupby("entrypoint").id.sum().to_dict())
print(table.merge(pd.DataFrame({"entrypoint": ["ship"], "price": [5]}), on="entrypoint").price.tolist())
print(table.entrypoint.fillna("none").value_counts().to_dict())
print(table.sort_values("entrypoint").id.tolist(), table.entrypoint.dtype)
print(pd.concat([table, table]).entrypoint.dtype, table.entrypoint.replace("ship", "sent").tolist()[2])
"""


@pytest.mark.parametrize("pyarrow", ["with", "without"])
def test_a_column_of_text_answers_whatever_is_asked_of_it_with_and_without_pyarrow(pyarrow: str) -> None:
    if pyarrow == "with" and importlib.util.find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed: pip install 'pgqueuer-kit[benchmark]'")
    done = subprocess.run([sys.executable, "-c", ASKED, pyarrow], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "[1, 4]",
        "[1, 3, 4]",
        "[3]",
        "[3]",
        "[1, 4]",
        "{'greet': 5, 'ship': 3}",
        "[5]",
        "{'greet': 2, 'none': 1, 'ship': 1}",
        "[1, 4, 3, 2] string",
        "string sent",
    ], done.stderr


def test_a_notebook_shows_no_row_numbers_beside_the_ids() -> None:
    assert "<th>0</th>" not in html("SELECT 7 AS id")
    by_name = kit.sql("SELECT 'a' AS name, 7 AS id").set_index("name")
    assert "<th>a</th>" in str(by_name._repr_html_())  # type: ignore[operator]


def test_a_notebook_says_how_many_rows_there_are_when_it_shows_none_or_a_few() -> None:
    assert "0 rows × 1 columns" in html("SELECT 1 WHERE false")
    drawn = html("SELECT n FROM generate_series(1, 5000) AS n")
    assert "5000 rows × 1 columns" in drawn
    assert "<td>1</td>" in drawn
    assert "<td>5000</td>" in drawn
    assert "<td>2500</td>" not in drawn


def test_a_frame_is_a_pandas_frame_in_every_other_way() -> None:
    table = kit.sql("SELECT n, n % 3 AS rest, 'text' AS word FROM generate_series(1, 9) AS n")
    assert repr(table.iloc[:0]).startswith("Empty DataFrame")
    assert isinstance(table, pd.DataFrame)
    assert table[table["rest"] == 0]["n"].tolist() == [3, 6, 9]
    assert table.groupby("rest")["n"].sum().tolist() == [18, 12, 15]
    assert len(pd.concat([table, table])) == 18
    assert len(table.merge(pd.DataFrame({"n": [1, 2]}), on="n")) == 2
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(table)), table)
    table["more"] = 1
    assert table["more"].sum() == 9
