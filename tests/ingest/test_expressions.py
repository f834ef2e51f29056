"""A mapping uses the columns of its file and functions of a stated list, or is refused."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from roilake.ingest.expressions import FUNCTIONS, check_query, parse

COLUMNS = ("user_id", "Item", "time", "user.id", "tags", "payload")


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("USER_ID", {"user_id"}),
        ("`user.id`", {"user.id"}),
        ("payload.inner.value", {"payload"}),
        ("concat(lower(trim(user_id)), '/', item)", {"user_id", "item"}),
        ("CASE WHEN item > 1 THEN CAST(time AS BIGINT) END", {"item", "time"}),
        ("filter(tags, tag -> tag != user_id)[0]", {"tags", "user_id"}),
        ("timestamp'2020-01-01' + INTERVAL 1 DAY", set()),
        ("substring(item FROM 2)", {"item"}),
    ],
)
def test_what_a_mapping_may_say(spark: SparkSession, sql: str, columns: set[str]) -> None:
    found = parse(spark, sql, COLUMNS)
    assert (found.sql, found.columns) == (sql, columns)


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("user", "there is no column `user`"),  # Spark has a function of that name
        ("current_date", "there is no column `current_date`"),
        ("transform(tags, tag -> concat(tag, session_user))", "there is no column `session_user`"),
        ("user.id", "there is no column `user.id`; write it in backticks"),
        ("concat(user_id, uuid())", r"uuid\(\) is not among the functions of a mapping"),
        ("now()", r"now\(\) is not among"),
        ("unix_timestamp()", r"unix_timestamp\(\) is not among"),
        ("upperr(item)", r"did you mean upper\?"),
        ("reflect('java.lang.System', 'getenv', 'HOME')", r"reflect\(\) is not among"),
        ("max(time)", r"max\(\) is not among"),
        ("row_number() OVER (ORDER BY time)", "looks at more than its row"),
        ("(SELECT max(x) FROM y)", "looks at more than its row"),
        ("*", "looks at more than its row"),
        ("timestamp 'now'", "asks the clock"),
        ("((time", "PARSE_SYNTAX_ERROR"),
        ("", "PARSE"),
    ],
)
def test_what_it_may_not_say(spark: SparkSession, sql: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse(spark, sql, COLUMNS)
    assert "\n" not in str(caught.value)


def test_the_functions_are_spark_s_own_and_none_tells_of_the_moment(spark: SparkSession) -> None:
    known = {row[0] for row in spark.sql("SHOW FUNCTIONS").collect()} | {"extract", "between"}
    assert FUNCTIONS - known == set()
    moment = "rand randn uuid now user current_user current_date current_timestamp input_file_name shuffle version"
    assert not FUNCTIONS & set(moment.split())


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("timestamp_seconds(1787000000)", "2026-08-17 20:53:20"),
        ("timestamp_seconds('1787000000.25')", "2026-08-17 20:53:20.25"),  # a column of a CSV file is text
        ("timestamp_seconds(CAST('1787000000' AS BIGINT))", "2026-08-17 20:53:20"),
        ("timestamp_seconds(1787000000000000)", None),  # Spark would end the night
        ("timestamp_millis('1787000000000')", "2026-08-17 20:53:20"),
        ("timestamp_millis(-9223372036854775807 - 1)", None),
        ("timestamp_micros('1787000000000000')", "2026-08-17 20:53:20"),
        ("coalesce(timestamp_seconds('x'), timestamp_seconds(concat('1', '0')))", "1970-01-01 00:00:10"),
    ],
)
def test_a_number_that_is_no_time_is_null(spark: SparkSession, sql: str, value: str | None) -> None:
    (row,) = spark.sql(f"SELECT CAST({parse(spark, sql, ()).sql} AS STRING) AS found").collect()
    assert row["found"] == value


@pytest.mark.parametrize("sql", ["SELECT user FROM (SELECT 1 AS id)", "SELECT uuid() AS u", "SELECT now() AS t"])
def test_a_query_that_may_differ_from_run_to_run_is_refused(spark: SparkSession, sql: str) -> None:
    with pytest.raises(ValueError, match="no column and not the same in two runs"):
        check_query(spark.sql(sql)._jdf.queryExecution())
    check_query(spark.sql("SELECT 1 AS user, row_number() OVER (ORDER BY 1) AS n")._jdf.queryExecution())
