"""Asks a server by Arrow Flight SQL with ADBC, as its users do, and says what it found.

    flight.py PORT TOKEN

What is wrong ends it with a word; a line of JSON is printed for each part that held.
"""

import json
import sys
import threading
import time

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as flight_sql
import adbc_driver_manager
import pyarrow
import pyarrow.flight

PORT, TOKEN = sys.argv[1:3]
URI = f"grpc://127.0.0.1:{PORT}"
HEADER = adbc_driver_flightsql.DatabaseOptions.AUTHORIZATION_HEADER.value


def holds(name, **more):
    print(json.dumps({"holds": name} | more), flush=True)


def connect(token=TOKEN):
    return flight_sql.connect(URI, db_kwargs={HEADER: f"Bearer {token}"}, autocommit=True)


def refused(ask):
    try:
        ask()
    except Exception as error:
        return str(error)
    raise AssertionError("it was not refused")


def tokens():
    def ask(token):
        with connect(token) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()

    told = refused(lambda: ask("no-such-token-0123456789"))
    assert "no such token" in told.lower() or "unauthenticated" in told.lower(), told
    # By name and password: a handshake gives the token to go on with.
    with flight_sql.connect(URI, db_kwargs={"username": "anyone", "password": TOKEN}, autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 AS one")
            assert cursor.fetchall() == [(1,)]
    # So does Arrow's own client.
    client = pyarrow.flight.connect(f"grpc+tcp://127.0.0.1:{PORT}")
    name, value = client.authenticate_basic_token("anyone", TOKEN)
    assert (name, value) == (b"authorization", f"Bearer {TOKEN}".encode()), (name, value)
    told = refused(lambda: client.authenticate_basic_token("anyone", "wrong-token-0123456789"))
    assert "no such token" in told.lower() or "unauthenticated" in told.lower(), told
    holds("tokens")


def types():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT true AS a, CAST(7 AS INT) AS b, CAST(9007199254740993 AS BIGINT) AS c, CAST('0.1' AS DOUBLE) AS d, "
            "CAST('123456789012.000001' AS DECIMAL(18, 6)) AS e, 'it''s é' AS f, DATE '2026-01-05' AS g, "
            "CAST('2026-01-05T01:02:03.000004' AS TIMESTAMP) AS h, X'00ff' AS i, make_array('a', NULL) AS j, "
            "named_struct('x', 1) AS k, CAST(NULL AS BIGINT) AS l"
        )
        table = cursor.fetch_arrow_table()
    row = table.to_pylist()[0]
    assert [row[name] for name in "abcd"] == [True, 7, 9007199254740993, 0.1], row
    assert str(row["e"]) == "123456789012.000001" and row["f"] == "it's é", row
    assert str(row["g"]) == "2026-01-05" and str(row["h"]).startswith("2026-01-05 01:02:03.000004"), row
    assert (row["i"], row["j"], row["k"], row["l"]) == (b"\x00\xff", ["a", None], {"x": 1}, None), row
    # What is described before and what comes agree, whatever the planner finds out between.
    assert all(table.schema.field(name).nullable for name in table.schema.names), table.schema
    assert table.schema.field("e").type == pyarrow.decimal128(18, 6), table.schema
    holds("types")


def parameters():
    with connect() as connection, connection.cursor() as cursor:
        for sql, values, expected in [
            ("SELECT event_id FROM events WHERE event_id = ? AND event_time_us > ?", ("e1", 0), [("e1",)]),
            ("SELECT event_id FROM events WHERE event_id <> $1 ORDER BY 1 LIMIT $2", ("e1", 1), [("e0",)]),
            ("SELECT ? AS a", ("it's '; DROP TABLE events",), [("it's '; DROP TABLE events",)]),
            ("SELECT position FROM funnel(steps => [event_kind = 'page'], window => ?)", ("7 days",), [(1,)]),
        ]:
            cursor.execute(sql, values)
            found = cursor.fetchall()
            assert found == expected, (sql, found)
        # Prepared once, asked often.
        cursor.adbc_prepare("SELECT event_id FROM events WHERE event_id = ?")
        for name in ["e0", "e2", "e0"]:
            cursor.execute("SELECT event_id FROM events WHERE event_id = ?", (name,))
            assert cursor.fetchall() == [(name,)]
    holds("parameters")


def catalog():
    with connect() as connection:
        objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
        assert [catalog["catalog_name"] for catalog in objects] == ["tributary"], objects
        (schema,) = objects[0]["catalog_db_schemas"]
        assert schema["db_schema_name"] == "public"
        tables = {table["table_name"]: table for table in schema["db_schema_tables"]}
        assert tables["events"]["table_type"] == "TABLE" and tables["sessions"]["table_type"] == "VIEW"
        columns = [column["column_name"] for column in tables["events"]["table_columns"]]
        assert "event_id" in columns and "value" in columns, columns
        assert set(connection.adbc_get_table_types()) == {"TABLE", "VIEW"}
        info = connection.adbc_get_info()
        assert info["vendor_name"] == "Tributary", info
        schema = connection.adbc_get_table_schema("events")
        assert schema.field("value").type == pyarrow.decimal128(18, 6), schema
    holds("catalog")


LONG = "SELECT count(*) FROM generate_series(1, 10000000) AS a, generate_series(1, 10000000) AS b WHERE a.value * b.value = 17"


def faults():
    with connect() as connection, connection.cursor() as cursor:
        for sql, word in [
            ("SELECT * FROM evnts", "events"),
            ("SELECT FROM WHERE", ""),
            ("DELETE FROM events", "read"),
            ("INSERT INTO events (event_id) VALUES ('x')", "read"),
        ]:
            told = refused(lambda: (cursor.execute(sql), cursor.fetchall()))
            assert word in told, (sql, told)
        told = refused(lambda: cursor.executemany("INSERT INTO events VALUES (?)", [("x",)]))
        assert told
        begun = time.monotonic()
        threading.Timer(0.5, cursor.adbc_cancel).start()
        refused(lambda: (cursor.execute(LONG), cursor.fetchall()))
        assert time.monotonic() - begun < 10
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS one")
        assert cursor.fetchall() == [(1,)]
    holds("faults")


def big(rows):
    with connect() as connection, connection.cursor() as cursor:
        begun = time.monotonic()
        cursor.execute(f"SELECT value, '{'x' * 100}' AS text FROM generate_series(1, {rows})")
        count, total = 0, 0
        reader = cursor.fetch_record_batch()
        for batch in reader:
            count += batch.num_rows
            total += pyarrow.compute.sum(batch.column(0)).as_py()
        assert (count, total) == (rows, rows * (rows + 1) // 2), (count, total)
        # What is not read to its end is not waited for.
        cursor.execute("SELECT value FROM generate_series(1, 1000000000)")
        assert next(iter(cursor.fetch_record_batch())).num_rows > 0
    holds("big", rows=count, seconds=round(time.monotonic() - begun, 2))


import pyarrow.compute  # noqa: E402

PARTS = {
    "tokens": tokens,
    "types": types,
    "parameters": parameters,
    "catalog": catalog,
    "faults": faults,
    "big": lambda: big(1_000_000),
}

for part in sys.argv[3:] or PARTS:
    PARTS[part]()
