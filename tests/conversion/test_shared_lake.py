"""Two pipelines in one lake: one table of ids; conversions reach recommendations."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from jobs.conversion import build_impressions
from jobs.retrieval import build_graph, build_requests, ingest_events, score_requests
from roilake.errors import LakeError
from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.runtime.night import run_night
from tests.conversion.conftest import Night
from tests.conversion.small import DS, night_of, table
from tests.ingest.test_ids import ids

NEXT = DS + timedelta(days=1)
RETRIEVAL = ("nodes", "edges", "adjacency")
GRAPH: dict[str, Any] = {"graph": {"similarity": None}, "windows": {"length": "1d", "train": 1}}
KINDS = ("user", "query", "item")
Make = Callable[..., RetrievalConfig]


def events(days: int = 10) -> str:
    """Eight users and nine items of MovieLens by their keys; the last days bring new ones, and a user and an item that
    MovieLens has not."""
    lines = ["user,item,query,time"]
    for day in range(days):
        for n in range(6):
            user, item = ((3 * day + n * n) % 8 + 1, [1, 50, 56, 98, 100, 127, 172, 181, 258][(day + 2 * n) % 9])
            lines.append(f"{user},{item},q{n % 2},{DS - timedelta(days=days - 1 - day)} 10:{n:02d}:00")
    late = [f"zoe,novel,q0,{DS} 11:00:00", f"zoe,50,q1,{DS} 12:00:00", f"900,novel,q1,{DS} 13:00:00"]
    return "\n".join([*lines, *late, f"800,1000,q0,{NEXT} 10:00:00"]) + "\n"


def shown(rows: int = 12) -> pa.Table:
    """Impressions of users 1 to 3 and 800, and of items 50 and 1000."""
    return pa.table(
        {
            "id": [f"i{n}" for n in range(rows)],
            "time": [f"{DS - timedelta(days=n)} 09:00:00" for n in range(rows)],
            "user": [("1", "2", "3", "800")[n % 4] for n in range(rows)],
            "item": [("50", "1000")[n % 2] for n in range(rows)],
            "click": [1] * rows,
            "bought": [n % 2 for n in range(rows)],
        }
    )


def build(lake: Lake, config: RetrievalConfig, *nights: Any) -> None:
    for ds in nights or (DS,):
        for step in (ingest_events, build_graph):
            step.run(lake, config, ds)


def by_key(lake: Lake, name: str, **where: object) -> list[tuple[Any, ...]]:
    """Rows of a table of the graph with keys in place of ids."""
    keys = {(kind, number): key for (kind, key), number in ids(lake).items()}

    def named(row: dict[str, Any]) -> tuple[Any, ...]:
        if name == "nodes":
            return row["node_type"], row["key"], *row["terms"]
        if name == "requests":
            nodes = (keys.get((kind, row[kind])) for kind in KINDS)
            return row["split"], row["as_of"], row["time"], row["event_id"], *nodes
        source, target = row["edge_type"].split("_")[:2]
        ends = keys[source, row["src"]], keys[target, row["dst"]]
        return row["as_of"], row["edge_type"], *ends, row["weight"], row["first_time"], row["last_time"]

    return sorted((named(row) for row in table(lake, name, **where).to_pylist()), key=repr)


def test_a_graph_is_the_same_among_ids_of_another_pipeline(
    lake: Lake, spark: SparkSession, make_night: Make, tmp_path: Path
) -> None:
    """A conversion night comes first, and names users and items that the graph does not know yet."""
    graph, log = make_night(events(), **GRAPH), night_of(tmp_path, shown())
    alone = Lake.open(spark, tmp_path / "alone", create=True)
    build(alone, graph)
    before = DS - timedelta(days=1)
    build_impressions.run(lake, log, before)
    first = ids(lake)
    build(lake, graph)
    for each in (lake, alone):
        build_requests.run(each, graph, DS)
    given = ids(lake)
    assert first.items() < given.items() and ("user", "800") in first
    for name in ("nodes", "edges", "requests"):
        assert by_key(lake, name, ds=DS) == by_key(alone, name, ds=DS), name
    impressions = table(lake, "impressions")
    for row in impressions.to_pylist():
        assert row["categories"] == [given["user", row["user"]], given["item", row["item"]]]
    # Both again: nothing changes.
    tables = {name: table(lake, name) for name in RETRIEVAL}
    build_impressions.run(lake, log, before)
    build(lake, graph)
    assert ids(lake) == given and table(lake, "impressions").equals(impressions)
    assert {name: table(lake, name) for name in RETRIEVAL} == tables
    # The next night finds a user and an item that the other pipeline has named.
    build(lake, graph, NEXT)
    nodes = {(row["node_type"], row["key"]): row["id"] for row in table(lake, "nodes", ds=NEXT).to_pylist()}
    assert nodes == ids(lake) == given


@pytest.fixture
def with_conversions(night: Night, spark: SparkSession, tmp_path: Path) -> Lake:
    """A copy of a lake in which a conversion night of all users and items of MovieLens is published."""
    shutil.copytree(night.lake.folder, tmp_path / "lake", ignore=shutil.ignore_patterns("_scratch"))
    return Lake.open(spark, tmp_path / "lake", create=False)


def recommending(make_night: Make, **scoring: Any) -> RetrievalConfig:
    """A whole night that trains nothing."""
    kinds = {name: {"kind": name} for name in ("popularity", "interest_dot", "ease")}
    sections: dict[str, Any] = {
        "models": kinds,
        "default_model": "popularity",
        "training": {"workers": 1, "epochs": 1},
        "scoring": {"top_k": 6, **scoring},
        "evaluation": {"bootstrap": 5},
    }
    return make_night(events(), **sections)


@pytest.mark.slow
def test_recommendations_carry_the_probability_of_a_conversion(with_conversions: Lake, make_night: Make) -> None:
    lake, known = with_conversions, ids(with_conversions)
    pairs = {(row["user"], row["item"]): row for row in table(lake, "pair_scores").to_pylist()}
    by_score = recommending(make_night)
    results = {result.step: result for result in run_night(lake, by_score, DS)}
    published = lake.publication("retrieval")
    assert published is not None and published.upstreams["conversion"]["tables"].keys() == {"pair_scores"}
    assert results["score_requests"].upstreams["conversion"]["ds"] == str(DS)
    given = ids(lake)
    assert known.items() < given.items()
    rows = table(lake, "recommendations").to_pylist()
    assert len({row["item"] for row in rows}) > 5 and ("item", "novel") not in known
    for row in rows:
        pair = pairs.get((given["user", row["user"]], given["item", row["item"]]))
        assert row["pcvr"] == (pair["pcvr"] if pair else None)
    assert any(row["pcvr"] is None for row in rows) and any(row["pcvr"] for row in rows)
    own = {row["key"] for row in table(lake, "nodes", node_type="item").to_pylist()}
    assert {row["item"] for row in rows} <= own and len(own) == 10
    coverage = table(lake, "metrics", pipeline="retrieval", metric="coverage@20", split="test", slice="all")
    assert set(coverage["value"].to_pylist()) == {1.0}  # lists of 20 hold all ten items

    score_requests.run(lake, recommending(make_night, rank_by="pctcvr"), DS)
    ranked = table(lake, "recommendations").to_pylist()
    lists: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in ranked:
        lists.setdefault((row["user"], row["query"]), []).append(row)
    before = {(row["user"], row["query"], row["item"]): row for row in rows}
    moved = 0
    for (user, query), own_rows in lists.items():
        assert [row["rank"] for row in own_rows] == list(range(1, 7))

        def expected(row: dict[str, Any]) -> tuple[float, int]:
            pair = pairs.get((given["user", user], given["item", row["item"]]))  # noqa: B023
            worth = float(pair["pctr"]) * float(pair["pcvr"]) if pair else -math.inf
            return -worth, before[user, query, row["item"]]["rank"]  # noqa: B023

        assert own_rows == sorted(own_rows, key=expected)
        moved += [before[user, query, row["item"]]["rank"] for row in own_rows] != list(range(1, 7))
        assert {row["item"]: row["score"] for row in own_rows} == {
            row["item"]: row["score"] for row in rows if (row["user"], row["query"]) == (user, query)
        }
    assert moved > 1


def test_a_night_that_needs_another_pipeline_says_which_command_makes_it(lake: Lake, make_night: Make) -> None:
    config = recommending(make_night, rank_by="pctcvr")
    assert config.upstreams == {"conversion": True} and recommending(make_night).upstreams == {"conversion": False}
    message = "needs a night of 'conversion' up to 1998-03-28, .*run one first: roilake night --conf conf/nights/conv"
    with pytest.raises(LakeError, match=message):
        run_night(lake, config, DS)
    assert not lake.exists("events")
