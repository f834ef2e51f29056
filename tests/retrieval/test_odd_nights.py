"""Nights on odd input, whole ones: they work, or one line says why."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from roilake.cli import app
from roilake.errors import AuditError, SourceError
from roilake.lake import Lake
from roilake.pipelines.retrieval.config import EvaluationConfig, RetrievalConfig, RoiConfig
from roilake.pipelines.retrieval.explain import (
    draw_request,
    explain_request,
    first_lists,
    leading_events,
    recommended,
    shared_nodes,
)
from roilake.pipelines.retrieval.models import kinds
from roilake.pipelines.retrieval.roi import REQUEST_ROOTS, RoiLayout
from roilake.reading import read
from roilake.runtime.night import run_night
from roilake.runtime.registry import load_config

DS = date(2020, 1, 10)
MODELS = {name: {"kind": name} for name in ("zoomer", "popularity", "interest_dot")}
SHORT = {"lightgcn": {"epochs": 2}, "bpr_mf": {"epochs": 2}}


def lonely_events() -> str:
    """One user, two events a day, some without a query. The last day brings a query and an item never seen before."""
    lines = ["user,item,query,time"]
    for day in range(1, 11):
        lines += [f"ann,tea{day % 3},{'hot' if day % 2 else ''},2020-01-{day:02d} 09:00:00"]
        lines += [f"ann,milk{day % 4},cold,2020-01-{day:02d} 21:30:00"]
    return "\n".join([*lines, "ann,novelty,unheard,2020-01-10 22:00:00"]) + "\n"


@pytest.fixture(scope="module")
def lonely(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, dict[str, Any], str]:
    """A night with one user by ``roilake night``, in this process and Spark session: lake, last line, all of stdout."""
    folder = tmp_path_factory.mktemp("lonely")
    (folder / "events.csv").write_text(lonely_events())
    columns = {name: name for name in ("user", "item", "query", "time")}
    events = {"path": str(folder / "events.csv"), "format": "csv", "columns": columns}
    tree = {
        "pipeline": "retrieval",
        "name": "lonely",
        "source": {"events": events},
        "windows": {"length": "1d", "train": 4},
        "models": MODELS,
        "training": {"workers": 1, "epochs": 1},
    }
    (folder / "night.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    arguments = ["--ds", str(DS), "--conf", f"{folder}/night.yaml", "--lake", f"{folder}/lake"]
    done = CliRunner().invoke(app, ["night", *arguments])
    assert done.exit_code == 0, (done.stderr, done.exception)
    return (Lake.open(spark, folder / "lake", create=False), json.loads(done.stdout.splitlines()[-1]), done.stdout)


def test_a_night_with_one_user_is_published_and_summed_up(lonely: tuple[Lake, dict[str, Any], str]) -> None:
    lake, summary, out = lonely
    assert list(summary) == ["pipeline", "ds", "published", "run_id", "seconds", "report", "tables", "metrics"]
    assert (summary["ds"], summary["published"]) == (str(DS), True)
    assert summary["metrics"].keys() == MODELS.keys()
    assert summary["metrics"]["zoomer"].keys() == set(EvaluationConfig().metrics)
    published = lake.publication("retrieval")
    assert published is not None and published.versions == summary["tables"]
    assert Path(summary["report"]).exists()
    assert "Night of 2020-01-10: published" in out


def test_an_item_and_a_query_never_seen_in_training_are_ranked(lonely: tuple[Lake, dict[str, Any], str]) -> None:
    """Of the last day's requests all eight items get a place, the new query's too."""
    lake = lonely[0]
    rows = lake.to_arrow("recommendations", lake.version("recommendations")).to_pylist()
    lists = {row["query"] for row in rows}
    assert lists == {None, "cold", "unheard"}
    for query in lists:
        mine = [row for row in rows if row["query"] == query]
        assert {row["item"] for row in mine} == {
            *(f"tea{n}" for n in range(3)),
            *(f"milk{n}" for n in range(4)),
            "novelty",
        }
        assert all(math.isfinite(row["score"]) for row in mine)
    tests = lake.to_arrow("requests", lake.version("requests"), filters={"split": "test"}).to_pylist()
    keys = {
        (r["node_type"], r["key"]): r["id"] for r in lake.to_arrow("node_ids", lake.version("node_ids")).to_pylist()
    }
    assert (keys["query", "unheard"], keys["item", "novelty"]) in {(r["query"], r["item"]) for r in tests}


def test_a_query_with_no_edges_has_nothing_below_it_in_the_tree(lonely: tuple[Lake, dict[str, Any], str]) -> None:
    lake = lonely[0]
    ids = lake.to_arrow("node_ids", lake.version("node_ids"), filters={"key": "unheard"}).to_pylist()
    rows = lake.to_arrow("rois", lake.version("rois"), filters={"query": ids[0]["id"], "split": "test"}).to_pylist()
    layout = RoiLayout.of(RoiConfig().request_hops, REQUEST_ROOTS)
    assert len(rows) == 1
    for slot in layout.slots:
        below = rows[0]["neighbours"][slot.start : slot.start + slot.size]
        assert (max(below) == -1) == slot.name.startswith("query/"), slot.name


@pytest.mark.parametrize(("text", "later"), [("", 0.5), ("ann,tea,hot,2020-03-01 09:00:00\n", 1.0)])
def test_no_event_up_to_the_night_is_one_clear_error(
    lake: Lake, make_night: Callable[..., RetrievalConfig], text: str, later: float
) -> None:
    config = make_night(f"user,item,query,time\n{text}", source={"later_budget": later})
    with pytest.raises(SourceError, match=r"events\.csv: has no event up to 2020-01-10; choose a later --ds") as caught:
        run_night(lake, config, DS)
    assert "\n" not in str(caught.value)
    assert lake.publication("retrieval") is None


def test_a_later_night_without_new_events_says_why(lonely: tuple[Lake, dict[str, Any], str]) -> None:
    """Nobody came, and with windows of a day there is nothing to judge by: the night before stays published."""
    lake, config = lonely[0], load_config(Path(lonely[0].path).parent / "night.yaml")
    with pytest.raises(AuditError, match="test metrics, at least 1 is needed") as caught:
        run_night(lake, config, DS + timedelta(days=1))
    assert "\n" not in str(caught.value)
    published = lake.publication("retrieval")
    assert published is not None and published.ds == DS


def test_a_night_without_the_table_of_edges_is_published(
    lake: Lake, make_night: Callable[..., RetrievalConfig]
) -> None:
    models = {name: {"kind": name} for name in ("zoomer", "popularity", "interest_dot")}
    config = make_night(lonely_events(), graph={"edges": False}, models=models, training={"workers": 1, "epochs": 1})
    config.check()
    run_night(lake, config, DS)
    published = lake.publication("retrieval")
    assert published is not None and "recommendations" in published.versions
    assert not lake.exists("edges")


def test_every_kind_of_model_works_without_queries_and_on_the_night_that_brings_them(
    lake: Lake, make_night: Callable[..., RetrievalConfig]
) -> None:
    """No column is mapped to a query, no node is described. The next night maps one and builds on what was learnt."""
    models = {kind: {"kind": kind, "options": SHORT.get(kind, {})} for kind in kinds()}
    sections = {"models": models, "training": {"workers": 1, "epochs": 1}, "evaluation": {"bootstrap": 10}}
    config = make_night(lonely_events().replace("ann", "bob", 9), **sections)

    def with_query(query: str | None) -> RetrievalConfig:
        # An id that stays when a query is mapped: by itself an event is known by its query too.
        columns = {"query": query, "event_id": "concat_ws('/', user, item, time)"}
        mapped = config.source.events.columns.model_copy(update=columns)
        events = config.source.events.model_copy(update={"columns": mapped})
        return config.model_copy(update={"source": config.source.model_copy(update={"events": events})})

    bare = with_query(None)
    bare.check()
    with_queries = with_query("query").model_copy(update={"models": {"zoomer": config.models["zoomer"]}})
    for night, ds, queries in ((bare, DS - timedelta(days=1), set()), (with_queries, DS, {"cold", "unheard"})):
        results = {result.step: result for result in run_night(lake, night, ds)}
        rows = lake.to_arrow("recommendations", lake.version("recommendations"), filters={"ds": ds}).to_pylist()
        assert {row["query"] for row in rows} - {None} == queries
        assert rows and all(math.isfinite(row["score"]) for row in rows)
        metrics = lake.to_arrow("metrics", lake.version("metrics"), filters={"ds": ds}).to_pylist()
        assert {row["model"] for row in metrics} == night.models.keys()
        check_explained(lake, ds)
    assert results["embed_interests"].details["source"] == f"zoomer@{DS - timedelta(days=1)}"


def check_explained(lake: Lake, ds: date) -> None:
    """A request without a query is drawn, and all that led to it is of its user."""
    found = explain_request("ann", lake=lake.folder, ds=ds)
    items = recommended(found)
    shared = shared_nodes(found, items)
    assert "region of interest of user ann" in draw_request(found, items, shared)
    events = leading_events(found, shared)
    assert len(items) and len(events) and {*events["edge_type"]} <= {"user_item", "user_item_recent"}
    best = read("recommendations", lake=lake.folder, ds=ds)
    shown = first_lists(best[best["query"].isna()], found.names)
    assert [*shown["user"]] == [*sorted(best["user"].unique())]
