"""Asks a server by PostgreSQL's protocol with psycopg, as its users do, and says what it found.

    postgres.py HOST PORT TOKEN

What is wrong ends it with a word; a line of JSON is printed for each part that held.
"""

import datetime
import decimal
import json
import sys
import threading
import time

import psycopg
from psycopg import errors

HOST, PORT, TOKEN = sys.argv[1:4]


def connect(password=TOKEN, **more):
    return psycopg.connect(host=HOST, port=PORT, user="anyone", password=password, dbname="tributary", **more)


def holds(name):
    print(json.dumps({"holds": name}), flush=True)


def refused(kind, ask):
    try:
        ask()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}")


def wrong_password():
    error = refused(psycopg.OperationalError, lambda: connect(password="no-such-token-0123456789"))
    assert "password authentication failed" in str(error), error
    holds("wrong password")


# SQL, the value psycopg makes of it in text, its type's number.
TYPES = [
    ("true", True, 16),
    ("CAST(7 AS SMALLINT)", 7, 21),
    ("CAST(-7 AS INT)", -7, 23),
    ("CAST(9007199254740993 AS BIGINT)", 9007199254740993, 20),
    ("CAST(1.5 AS REAL)", 1.5, 700),
    ("CAST('0.1' AS DOUBLE PRECISION)", 0.1, 701),
    ("CAST('1e300' AS DOUBLE PRECISION)", 1e300, 701),
    ("CAST('123456789012.000001' AS DECIMAL(18, 6))", decimal.Decimal("123456789012.000001"), 1700),
    ("CAST('-0.3' AS DECIMAL(18, 6))", decimal.Decimal("-0.300000"), 1700),
    ("'it''s é'", "it's é", 25),
    ("CAST(NULL AS VARCHAR)", None, 25),
    ("X'00ff'", b"\x00\xff", 17),
    ("DATE '2026-01-05'", datetime.date(2026, 1, 5), 1082),
    ("CAST('2026-01-05T01:02:03.000004' AS TIMESTAMP)", datetime.datetime(2026, 1, 5, 1, 2, 3, 4), 1114),
    (
        "CAST('2026-01-05T01:02:03' AS TIMESTAMP) AT TIME ZONE 'UTC'",
        datetime.datetime(2026, 1, 5, 1, 2, 3, tzinfo=datetime.timezone.utc),
        1184,
    ),
    ("TIME '01:02:03'", datetime.time(1, 2, 3), 1083),
    ("INTERVAL '2 days 3 hours'", datetime.timedelta(days=2, hours=3), 1186),
    ("make_array(1, NULL, 3)", [1, None, 3], 1016),
    ("make_array('a', 'b c', NULL)", ["a", "b c", None], 1009),
    ("named_struct('a', 1, 'b', 'x')", {"a": 1, "b": "x"}, 114),
]


def types():
    with connect() as connection:
        for binary in (False, True):
            for sql, value, oid in TYPES:
                with connection.cursor(binary=binary) as cursor:
                    cursor.execute(f"SELECT {sql} AS value", prepare=True)
                    (found,) = cursor.fetchone()
                    assert found == value and type(found) is type(value), (sql, binary, found)
                    assert cursor.description[0].type_code == oid, (sql, cursor.description[0])
    holds("types")


PARAMETERS = [
    ("%s + 1", 41, 42),
    ("%s", "it's $1; DROP TABLE events --", "it's $1; DROP TABLE events --"),
    ("%s", b"\x00\xff", b"\x00\xff"),
    ("%s", decimal.Decimal("12.50"), decimal.Decimal("12.50")),
    ("%s", 0.1, 0.1),
    ("NOT %s", True, False),
    ("%s", datetime.date(2026, 1, 5), datetime.date(2026, 1, 5)),
    ("%s", datetime.datetime(2026, 1, 5, 1, 2, 3, 4), datetime.datetime(2026, 1, 5, 1, 2, 3, 4)),
    ("array_length(%s::text[])", ["a", "b c", None], 3),
    ("upper(%s)", "a", "A"),
]


def parameters():
    with connect() as connection:
        for form in ("%t", "%b"):
            for sql, value, expected in PARAMETERS:
                found = connection.execute(f"SELECT {sql.replace('%s', form)} AS value", [value]).fetchone()[0]
                assert found == expected, (sql, form, value, found)
        rows = connection.execute("SELECT event_id FROM events WHERE event_id = ANY(%s) ORDER BY 1", [["e0", "e2"]])
        assert rows.fetchall() == [("e0",), ("e2",)]
        one = connection.execute("SELECT count(*) FROM events WHERE event_id = %s AND event_time_us > %s", ["e1", 0])
        assert one.fetchone() == (1,)
        limited = connection.execute("SELECT event_id FROM events ORDER BY event_id LIMIT %s", [2]).fetchall()
        assert limited == [("e0",), ("e1",)], limited
        # A value inside a call of a table function.
        steps = "steps => [event_kind = 'page', event_kind = 'conversion'], window => %s"
        funnel = connection.execute(f"SELECT position, units_reached FROM funnel({steps}) ORDER BY 1", ["7 days"])
        found = funnel.fetchall()
        assert len(found) == 2, found
        described = connection.pgconn.prepare(b"s1", b"SELECT value, $2 + 1 FROM events WHERE event_time_us > $1", [0, 20])
        assert described.status == psycopg.pq.ExecStatus.COMMAND_OK, described.error_message
        told = connection.pgconn.describe_prepared(b"s1")
        assert told.status == psycopg.pq.ExecStatus.COMMAND_OK, told.error_message
        assert [told.param_type(index) for index in range(told.nparams)] == [20, 20], told.param_type(0)
        assert [told.ftype(index) for index in range(told.nfields)] == [1700, 20]
        assert told.fmod(0) == ((18 << 16) | 6) + 4
    holds("parameters")


def names():
    with connect() as connection:
        cursor = connection.execute("SELECT count(*), 1, 2, max(event_id), event_id FROM events GROUP BY event_id LIMIT 1")
        told = [column.name for column in cursor.description]
        assert told == ["count", "?column?", "?column?", "max", "event_id"], told
    holds("names")


def session():
    with connect(application_name="the test", options="-c statement_timeout=60000") as connection:
        assert connection.info.parameter_status("server_encoding") == "UTF8"
        assert connection.info.parameter_status("application_name") == "the test"
        assert connection.info.parameter_status("TimeZone") == "UTC"
        assert connection.execute("SHOW statement_timeout").fetchone() == ("60000",)
        assert connection.execute("SHOW server_version_num").fetchone() == ("160006",)
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        refused(errors.UndefinedTable, lambda: connection.execute("SELECT * FROM evnts"))
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        refused(errors.InFailedSqlTransaction, lambda: connection.execute("SELECT 1"))
        connection.rollback()
        assert connection.execute("SELECT 1").fetchone() == (1,)
        connection.commit()
        connection.execute("SET search_path TO public")
        connection.execute("DEALLOCATE ALL")
        with connection.transaction():
            with connection.transaction():
                connection.execute("SELECT 2")
        connection.commit()
        connection.autocommit = True
        connection.execute("DISCARD ALL")
        for kind, sql in [
            (errors.ReadOnlySqlTransaction, "INSERT INTO events (event_id) VALUES ('x')"),
            (errors.ReadOnlySqlTransaction, "DROP TABLE events"),
            (errors.ReadOnlySqlTransaction, "WITH a AS (SELECT 1) DELETE FROM events"),
            (errors.UndefinedColumn, "SELECT no_such FROM events"),
            (errors.SyntaxError, "SELEC 1"),
            (errors.DivisionByZero, "SELECT 1 / (position - position) FROM (SELECT 1 AS position)"),
            (errors.FeatureNotSupported, "COPY events TO STDOUT"),
            (errors.UndefinedFunction, "SELECT * FROM funel(1)"),
        ]:
            error = refused(kind, lambda: connection.execute(sql))
            assert error.diag.message_primary and error.diag.severity == "ERROR", sql
        assert connection.execute("SELECT 1").fetchone() == (1,)
        # Several at once, by the simple protocol.
        many = connection.pgconn.exec_(b"SELECT 1; SELECT 2 AS b; SHOW TimeZone")
        assert many.get_value(0, 0) == b"UTC", many.error_message
    holds("session")


def big(rows):
    """A big answer, row by row: the server sends as fast as it is read, and no faster."""
    with connect() as connection:
        with connection.cursor() as cursor:
            begun = time.monotonic()
            count, last = 0, 0
            for (value, _) in cursor.stream(f"SELECT value, repeat_text FROM (SELECT value, '{'x' * 100}' AS repeat_text FROM generate_series(1, {rows}))"):
                count, last = count + 1, max(last, value)
            assert (count, last) == (rows, rows), (count, last)
    print(json.dumps({"holds": "big", "rows": count, "seconds": round(time.monotonic() - begun, 2)}), flush=True)


LONG = "SELECT count(*) FROM generate_series(1, 10000000) AS a, generate_series(1, 10000000) AS b WHERE a.value * b.value = 17"


def cancel():
    with connect(autocommit=True) as connection:
        begun = time.monotonic()
        threading.Timer(0.5, connection.cancel).start()
        refused(errors.QueryCanceled, lambda: connection.execute(LONG))
        assert time.monotonic() - begun < 10
        assert connection.execute("SELECT 1").fetchone() == (1,)
        connection.execute("SET statement_timeout = 300")
        begun = time.monotonic()
        refused(errors.QueryCanceled, lambda: connection.execute(LONG))
        assert time.monotonic() - begun < 10
    holds("cancel")


def grafana():
    """What Grafana's data source asks (public/app/plugins/datasource/grafana-postgresql-datasource/postgresMetaQuery.ts)."""
    search_path = """quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          )"""
    with connect(autocommit=True) as connection:
        version = connection.execute("SELECT current_setting('server_version_num')::int/100 as version").fetchone()
        assert version == (1600,), version
        none = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'").fetchall()
        assert none == [], none
        tables = connection.execute(
            f"""select quote_ident(table_name) as "table" from information_schema.tables
    where quote_ident(table_schema) not in ('information_schema',
                             'pg_catalog',
                             '_timescaledb_cache',
                             '_timescaledb_catalog',
                             '_timescaledb_internal',
                             '_timescaledb_config',
                             'timescaledb_information',
                             'timescaledb_experimental')
      and {search_path}"""
        ).fetchall()
        assert ("events",) in tables and ("person_events",) in tables, tables
        columns = connection.execute(
            f"""select quote_ident(column_name) as "column", data_type as "type"
    from information_schema.columns
    where quote_ident(table_name) = 'person_events' and {search_path}"""
        ).fetchall()
        kinds = dict(columns)
        assert kinds["event_time_us"] == "bigint" and kinds["event_time"].startswith("timestamp"), kinds
        assert kinds["value"] == "numeric" and kinds["event_date"] == "date", kinds
        # A panel, its macros written out ($__timeGroup, $__timeFilter).
        points = connection.execute(
            """SELECT floor(extract(epoch from event_time)/300)*300 AS "time", event_name AS metric, count(*) AS value
               FROM person_events WHERE event_time BETWEEN '2020-01-01T00:00:00Z' AND '2100-01-01T00:00:00Z'
               GROUP BY 1, 2 ORDER BY 1, 2"""
        ).fetchall()
        assert sum(point[2] for point in points) == 3, points
    holds("grafana")


def portals():
    """Rows as they are asked for: psycopg has no such call, its stream in chunks is the nearest. Left early, it cancels."""
    with connect(autocommit=True) as connection:
        with connection.cursor() as cursor:
            rows = cursor.stream("SELECT value FROM generate_series(1, 100000)", size=1000)
            assert next(rows) == (1,)
            rows.close()
        assert connection.execute("SELECT 1").fetchone() == (1,)
    holds("portals")


PARTS = {
    "wrong_password": wrong_password,
    "types": types,
    "parameters": parameters,
    "names": names,
    "session": session,
    "cancel": cancel,
    "grafana": grafana,
    "portals": portals,
    "big": lambda: big(1_000_000),
}

for part in sys.argv[4:] or PARTS:
    PARTS[part]()
