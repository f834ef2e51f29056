"""The graph that a night of retrieval published, in a copy of its lake."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.node_labels import build_label_graph
from roilake.errors import LakeError
from roilake.lake import Lake
from roilake.pipelines.node_labels.config import NodeLabelsConfig
from roilake.runtime.registry import load_config
from tests.retrieval.two_nights import FIRST, SECOND, Nights

CONF = Path(__file__).parents[2] / "conf" / "nights" / "node_labels" / "movielens.yaml"


@pytest.fixture
def copied(spark: SparkSession, nights: Nights, tmp_path: Path) -> Lake:
    shutil.copytree(nights.lake.folder, tmp_path / "lake", symlinks=True)
    return Lake.open(spark, tmp_path / "lake", create=False)


def night(**retrieval: Any) -> NodeLabelsConfig:
    config = load_config(CONF, "node_labels")
    assert isinstance(config, NodeLabelsConfig) and config.graph.retrieval
    given = config.graph.retrieval.model_copy(update=retrieval)
    return config.model_copy(update={"graph": config.graph.model_copy(update={"retrieval": given})})


def test_it_is_that_of_the_last_night_and_its_end(copied: Lake, nights: Nights) -> None:
    result = build_label_graph.run(copied, night(), SECOND)
    assert result.upstreams["retrieval"]["ds"] == str(SECOND)
    rows = copied.to_arrow("graph_nodes", copied.version("graph_nodes")).to_pylist()
    known = nights.table("nodes", 2, ds=SECOND).to_pylist()
    assert {(row["node_type"], row["key"]) for row in rows} == {(row["node_type"], row["key"]) for row in known}
    assert all((row["label"] is not None) == (row["node_type"] == "user") for row in rows)
    assert all((row["split"] == "other") == (row["node_type"] != "user") for row in rows)
    names = [row["name"] for row in copied.to_arrow("graph_features", copied.version("graph_features")).to_pylist()]
    assert not [name for name in names if name.startswith("age=")] and "type=user" in names and "gender=F" in names
    of = {row["node"]: (row["node_type"], row["key"]) for row in rows}
    pairs = copied.to_arrow("graph_edges", copied.version("graph_edges")).to_pylist()
    keys = nights.keys(2)
    lists = nights.table("adjacency", 2, ds=SECOND).to_pylist()
    newest = max(row["as_of"] for row in lists)
    expected = set()
    for row in lists:
        if row["as_of"] == newest and row["edge_type"] in ("user_item", "item_user"):
            own, other = row["edge_type"].split("_")
            for neighbour in row["neighbours"]:
                expected.add(frozenset({(own, keys[own, row["src"]]), (other, keys[other, neighbour])}))
    assert {frozenset({of[row["src"]], of[row["dst"]]}) for row in pairs} == expected and len(pairs) == len(expected)


def test_labels_that_were_fed_back_are_no_features(copied: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the night had them as field gender."""
    published = copied.publication("retrieval", ds=SECOND)
    assert published is not None
    config = json.loads(published.config)
    config["graph"]["labels"] = {"field": "gender", "least": 0.5}
    changed = replace(published, config=json.dumps(config))
    monkeypatch.setattr(Lake, "publication", lambda self, *arguments, **named: changed)
    build_label_graph.run(copied, night(), SECOND)
    names = [row["name"] for row in copied.to_arrow("graph_features", copied.version("graph_features")).to_pylist()]
    assert not [name for name in names if name.startswith("gender=")] and "type=user" in names


def test_a_night_before_reads_the_night_before(copied: Lake) -> None:
    assert build_label_graph.run(copied, night(), FIRST).upstreams["retrieval"]["ds"] == str(FIRST)


def test_an_edge_type_that_is_not_there_is_named(copied: Lake) -> None:
    with pytest.raises(LakeError, match="has no list of 'user_item_recent' at its end; there are user_item"):
        build_label_graph.run(copied, night(edge_types=("user_item", "user_item_recent")), SECOND)
