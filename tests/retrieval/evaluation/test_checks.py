"""What stops a night of recommendations: leaks in its tables, and requests without their lists."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from roilake.lake import TABLES, Lake, Run
from roilake.metrics.gates import GateResult, Measured
from roilake.metrics.leakage import check_shuffled
from roilake.metrics.night_tables import NightTables
from roilake.pipelines.retrieval.evaluation.checks import check_histories, count_faults
from roilake.pipelines.retrieval.evaluation.leaks import check_leaks
from roilake.pipelines.retrieval.evaluation.outcomes import shuffled_rows
from tests.retrieval.scoring.small_night import DS, own, small_config, write_small_night

AGAIN = "run build_graph of that night again"


def outcomes() -> pa.Table:
    rng = np.random.default_rng(3)
    return pa.table(
        {
            "model": ["a", "b"] * 30,
            "split": ["test"] * 60,
            "request": np.repeat(np.arange(30), 2),
            "positives": [rng.normal(9, 1, 1 + k % 3).astype(np.float32) for k in range(60)],
            "uniform": [rng.normal(0, 1, 8).astype(np.float32) for _ in range(60)],
        }
    )


def test_shuffling_does_not_depend_on_the_order_of_rows() -> None:
    table = outcomes()
    rows = list(shuffled_rows(table, 7))
    assert rows == list(shuffled_rows(table.take(np.arange(60)[::-1]), 7))
    assert rows != list(shuffled_rows(table, 8))
    assert [(r["model"], r["slice"], r["metric"]) for r in rows] == [(m, "leakage_check", "auc_shuffled") for m in "ab"]
    assert all(result.passed for result in check_shuffled(Measured.of(DS, rows), "evaluate_models"))


def doctored(lake: Lake, run: Run, table: str, change: Callable[[list[dict]], None]) -> dict[str, int]:
    """The table's version with the night's rows changed in place; the one before is there again after."""
    where = {"ds": DS}
    rows = lake.to_arrow(table, lake.version(table))
    changed = rows.to_pylist()
    change(changed)
    found = lake.write(table, pa.Table.from_pylist(changed, schema=rows.schema), where=where, run=run)
    lake.write(table, rows, where=where, run=run)
    return {table: found}


def test_what_is_from_after_its_request_is_found_in_every_table(lake: Lake, make_run: Callable[..., Run]) -> None:
    config = small_config()
    write_small_night(lake, make_run, config)
    names = ("events", "edges", "adjacency", "interest_vectors", "requests", "models")
    versions = {name: lake.version(name) for name in names}

    def check(changed: dict[str, int]) -> list[GateResult]:
        return list(check_leaks(NightTables(lake, "retrieval", DS, versions | changed), config))

    good = check({})
    assert len(good) == 7 and all(result.passed for result in good), [r.line for r in good if not r.passed]

    def shared_with_train(rows: list[dict]) -> None:
        test = next(row for row in rows if row["split"] == "test")
        rows.append({**test, "split": "train", "as_of": DS - timedelta(days=2), "request_id": 1})

    def shared_under_another_id(rows: list[dict]) -> None:
        test = next(row for row in rows if row["split"] == "test")
        rows.append(
            {**test, "split": "validation", "as_of": DS - timedelta(days=1), "event_id": "new", "request_id": 1}
        )

    def change(**columns: Any) -> Callable[[list[dict]], None]:
        return lambda rows: rows[0].update(columns)

    late = datetime(2020, 1, 11)
    cases: list[tuple[str, Callable[[list[dict]], None], dict[str, str]]] = [
        ("requests", shared_with_train, {
            "no_shared_events": "1 event ids both in test and in train",
            "requests_in_their_windows": "train as of 2020-01-08",
        }),
        ("requests", shared_under_another_id, {
            "no_shared_events": "1 events by content both in test and in validation",
            "requests_in_their_windows": "must be within 2020-01-09 to 2020-01-10",
        }),
        ("edges", change(last_time=late), {"edges_before_requests": "last_time 2020-01-11 00:00:00, must be before"}),
        ("events", change(time=late), {
            "events_before_end": "ds 2020-01-10 holds time 2020-01-11 00:00:00, must be before 2020-01-11",
            "vectors_before_requests": "rest on 380 events, must be the 379 before it",
        }),
        ("interest_vectors", change(degree=0), {"vectors_before_requests": "must be the 380 before it"}),
        ("adjacency", change(neighbours=[0, 19]), {"lists_before_requests": "names item 19, must be at most 18"}),
        ("adjacency", change(edge_type="item_item_known", src=19, neighbours=[0, 18]), {}),
        ("models", change(train_end=DS), {"models_before_requests": "was trained until 2020-01-10"}),
    ]  # fmt: skip
    for table, fault, expected in cases:
        found = check(doctored(lake, own(make_run(DS)), table, fault))
        failed = {result.gate: result.detail for result in found if not result.passed}
        assert failed.keys() == expected.keys(), (table, failed)
        assert all(text in failed[gate] for gate, text in expected.items()), failed


def test_histories_are_held_against_the_events(lake: Lake, make_run: Callable[..., Run]) -> None:
    write_small_night(lake, make_run, small_config())
    before = DS - timedelta(days=1)
    event = lake.to_arrow("events", lake.version("events")).slice(0, 1).to_pylist()[0]
    early = pa.Table.from_pylist([{**event, "ds": before}], schema=TABLES["events"].arrow_schema)

    def check(changed: dict[str, int]) -> list[str]:
        versions = {name: lake.version(name) for name in ("events", "histories")} | changed
        return list(check_histories(NightTables(lake, "retrieval", DS, versions)))

    assert check({}) == []
    run = own(make_run(DS))
    assert check(doctored(lake, run, "events", lambda rows: rows.append({**rows[0], "event_id": "x"}))) == []
    missing = doctored(lake, run, "histories", lambda rows: rows.pop())
    assert check(missing) == ["histories: 169 rows of 2020-01-10, must be its 170 distinct events; " + AGAIN]
    late = doctored(lake, run, "histories", lambda rows: rows[0].update(time=datetime(2020, 1, 3)))
    assert check(late) == [
        "histories: times 2020-01-01 00:00:00 to 2020-01-03 00:00:00 on 2020-01-10, must be times 2020-01-01 00:00:00 "
        "to 2020-01-01 00:00:00 as its events; " + AGAIN
    ]
    lake.write("events", early, where={"ds": before}, run=own(make_run(before)))
    assert check({}) == [f"histories: 0 rows of {before}, must be some of its 1 events; {AGAIN}"]


def test_recommendations_are_held_against_what_was_requested(lake: Lake) -> None:
    pairs = [("a", "q"), ("a", None), ("b", "q"), ("c", "q")]
    rows = [
        ("a", "q", 1, "x", 1.0), ("a", "q", 2, "y", 0.5),
        ("a", None, 1, "x", 1.0), ("a", None, 3, "y", float("nan")),
        ("b", "q", 1, "x", 1.0), ("b", "q", 2, "x", 1.0),
        ("d", "q", 1, "x", 1.0), ("d", "q", 2, "y", 1.0),
    ]  # fmt: skip
    requested = lake.spark.createDataFrame(pairs, "user string, query string")
    found = lake.spark.createDataFrame(rows, "user string, query string, rank int, item string, score double")
    assert count_faults(requested, found, 2, 2) == {
        "requests without a row": 1,
        "lists without a request": 1,
        "requests with fewer than 2 or more than 2 rows": 0,
        "requests with gaps or doubles in their ranks": 1,
        "requests with an item twice": 1,
        "scores that are no number": 1,
    }
    assert not any(count_faults(requested.limit(0), found.limit(0), 2, 2).values())
