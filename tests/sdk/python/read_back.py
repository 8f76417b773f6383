"""Reads the tables of a lake with engines that are not ours and prints what it found as one JSON line a table.

    python read_back.py LAKE_DIRECTORY

deltalake (delta-rs) lists the files of the newest version, DuckDB reads them; the partition column, which Delta keeps
in the log and not in the files, is checked against the column it was cut from. Polars reads the table by itself.
"""

import json
import pathlib
import sys

import duckdb
import polars
from deltalake import DeltaTable

lake = pathlib.Path(sys.argv[1])
duck = duckdb.connect()

AGGREGATES = {
    "events": """
        count(DISTINCT (source, event_id)) AS ids, count(DISTINCT (log_partition, log_offset)) AS positions,
        sum(value)::VARCHAR AS value, min(event_time_us) AS first_us, max(event_time_us) AS last_us,
        sum(len(properties)) AS properties_length, sum(len(exposures)) AS exposures""",
    "sessions": """
        count(DISTINCT session_id) AS ids, sum(event_count)::BIGINT AS events, min(start_time_us) AS first_us,
        max(end_time_us) AS last_us, sum(list_sum([v.value FOR v IN value_by_currency]))::VARCHAR AS value""",
    "identities": "count(DISTINCT (source, anonymous_id, user_id)) AS links",
    "dead_letters": "count(DISTINCT (log_topic, log_partition, log_offset)) AS positions, sum(payload_bytes)::BIGINT AS bytes",
}

ORDERS = {
    "events": "log_partition, log_offset",
    "sessions": "session_id, version",
    "identities": "log_partition, log_offset",
    "dead_letters": "log_topic, log_partition, log_offset",
}

for table, aggregates in AGGREGATES.items():
    delta = DeltaTable(lake / table)
    found = {
        "table": table,
        "version": delta.version(),
        "columns": [field.name for field in delta.schema().fields],
        "partition_columns": delta.metadata().partition_columns,
        "delta_rows": delta.count(),
    }
    polar = polars.scan_delta(str(lake / table))
    found["polars_rows"] = polar.select(polars.len()).collect().item()
    if table == "events":
        found["polars_first_us"] = polar.select(polars.col("event_time_us").min()).collect().item()
        found["polars_countries"] = polar.select(polars.col("country").count()).collect().item()
    files = delta.file_uris()
    found["files"] = len(files)
    if files:
        result = duck.execute(
            f"SELECT count(*) AS rows, {aggregates} FROM read_parquet(?, hive_partitioning = true, union_by_name = true)",
            [files],
        )
        names = [column[0] for column in result.description]
        found |= dict(zip(names, result.fetchone()))
        found["text_columns"] = [field.name for field in delta.schema().fields if field.type.type == "string"]
        texts = ", ".join(found["text_columns"])
        found["texts"] = duck.execute(
            f"SELECT {texts} FROM read_parquet(?, hive_partitioning = true, union_by_name = true) "
            f"ORDER BY {ORDERS[table]} LIMIT 200",
            [files],
        ).fetchall()
    print(json.dumps(found))
