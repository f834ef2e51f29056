"""The graph jobs over small nights: ids that stay, no event from after an instant, the same rows however cut."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from safetensors.numpy import save_file

from jobs.retrieval import build_graph, build_requests, embed_interests, ingest_events
from roilake.errors import LakeError, SourceError
from roilake.lake import TABLES, Lake, Publication
from roilake.pipelines.retrieval.config import RetrievalConfig, SimilarityConfig
from roilake.pipelines.retrieval.graph import similar_pairs
from roilake.runtime.run import make_run

DS = date(2020, 1, 10)
NEXT = DS + timedelta(days=1)


def random_events(days: int, per_day: int = 12) -> str:
    """Events of the first days of 2020: users of two tastes, items and queries to match."""
    draw = random.Random(4)
    lines = ["user,item,query,time"]
    for index in range(days * per_day):
        taste = draw.randrange(2)
        user, item = f"u{taste}{draw.randrange(4)}", f"i{taste}{draw.randrange(5)}"
        query = f"q{taste} word{draw.randrange(2)}" if draw.random() < 0.8 else ""
        time = datetime(2020, 1, 1) + timedelta(days=index // per_day, minutes=draw.randrange(1440), seconds=index % 60)
        lines.append(f"{user},{item},{query},{time}")
    return "\n".join(lines) + "\n"


def night(lake: Lake, config: RetrievalConfig, ds: date) -> None:
    for job in (ingest_events, build_graph, build_requests, embed_interests):
        job.run(lake, config, ds)


def rows(lake: Lake, table: str, **filters: object) -> list[dict[str, Any]]:
    found = lake.to_arrow(table, lake.version(table), filters=filters).to_pylist()
    return sorted(found, key=lambda row: [str(row[name]) for name in TABLES[table].key])


BUILT = ("events", "node_ids", "nodes", "histories", "edges", "adjacency", "requests", "interest_vectors")


@pytest.fixture
def config(make_night: Callable[..., RetrievalConfig]) -> RetrievalConfig:
    similarity = {"edge_types": ["item_item_similar", "query_item_similar"], "min_jaccard": 0.2, "top": 2}
    items = {"path": "", "format": "csv", "key": "id", "terms": "title", "title": "title", "fields": {"shelf": "shelf"}}
    events = random_events(11) + "new,i00,,2020-01-08 05:00:00\nnew,i01,,2020-01-10 05:00:00\n"
    night = make_night(events, graph={"similarity": similarity, "max_neighbours": 3}, interest={"dim": 4})
    catalogue = Path(night.source.events.path).parent / "items.csv"
    titles = [
        f"i{taste}{n},Tale: word{n % 2} & {'fish' if taste else 'meat'},s{n}" for taste in (0, 1) for n in range(4)
    ]
    catalogue.write_text("id,title,shelf\n" + "\n".join(titles) + "\n")
    tree = night.model_dump(mode="json")
    tree["source"]["items"] = items | {"path": str(catalogue)}
    return RetrievalConfig.model_validate(tree)


def test_a_night_its_rerun_and_the_next_one(lake: Lake, spark: SparkSession, config: RetrievalConfig) -> None:
    spark.conf.set("spark.sql.shuffle.partitions", "2")
    night(lake, config, DS)
    first = {table: rows(lake, table) for table in BUILT}
    check_no_event_from_after(lake, DS)
    check_nodes(first["nodes"])
    check_requests(lake, config)
    # Again, with another number of partitions and without coalescing: the same rows.
    spark.conf.set("spark.sql.shuffle.partitions", "5")
    spark.conf.set("spark.sql.adaptive.enabled", "false")
    try:
        night(lake, config, DS)
    finally:
        spark.conf.set("spark.sql.adaptive.enabled", "true")
        spark.conf.set("spark.sql.shuffle.partitions", "4")
    for table in BUILT:
        assert rows(lake, table) == first[table], table
    check_next_night(lake, config, first)


def check_no_event_from_after(lake: Lake, ds: date) -> None:
    edges = rows(lake, "edges", ds=ds)
    assert {row["edge_type"] for row in edges} >= {"user_query", "item_user", "item_item", "item_query_similar"}
    for row in edges:
        midnight = datetime(row["as_of"].year, row["as_of"].month, row["as_of"].day, tzinfo=UTC)
        assert row["first_time"] <= row["last_time"] < midnight
    assert {row["as_of"] for row in edges} == {ds + timedelta(days=back) for back in range(-4, 2)}
    seen = {(row["as_of"], row["node_type"], row["id"]) for row in rows(lake, "interest_vectors", ds=ds)}
    from_type = {(row["as_of"], row["edge_type"].split("_")[0], row["src"]) for row in edges}
    assert from_type <= seen
    for row in rows(lake, "interest_vectors", ds=ds):  # of unit length, then rounded to 1/1024
        vector = np.array(row["vector"])
        assert abs(np.linalg.norm(vector) - 1) < 0.5 / 1024 * len(vector) ** 0.5 + 1e-6
        assert (vector * 1024 == np.rint(vector * 1024)).all()


def check_nodes(nodes: list[dict[str, Any]]) -> None:
    by_key = {(row["node_type"], row["key"]): row for row in nodes}
    for node_type in ("user", "query", "item"):
        ids = sorted(row["id"] for row in nodes if row["node_type"] == node_type)
        assert ids == list(range(len(ids))) and ids
    assert by_key["item", "i00"]["terms"] == ["tale", "word0", "meat"]
    assert dict(by_key["item", "i00"]["fields"]) == {"shelf": "s0"}
    assert by_key["item", "i04"]["terms"] == [] and by_key["item", "i04"]["fields"] == []
    assert [by_key[node]["title"] for node in (("item", "i00"), ("item", "i04"))] == ["Tale: word0 & meat", None]
    assert by_key["query", "q1 word0"]["terms"] == ["q1", "word0"]


def check_requests(lake: Lake, config: RetrievalConfig) -> None:
    events = {row["event_id"]: row for row in rows(lake, "events")}
    ids = {(row["node_type"], row["id"]): row["key"] for row in rows(lake, "node_ids")}
    found = rows(lake, "requests", ds=DS)
    past = [row for row in found if row["split"] != "serve"]
    first_day = DS - timedelta(days=4)
    assert {row["event_id"] for row in past} == {k for k, e in events.items() if e["time"].date() >= first_day}
    for row in past:
        event = events[row["event_id"]]
        assert (ids["user", row["user"]], ids["item", row["item"]]) == (event["user"], event["item"])
        assert (ids["query", row["query"]] if row["query"] >= 0 else None) == event["query"]
        assert row["as_of"] == event["time"].date() and row["time"] == event["time"] and row["label"] == 1.0
        earlier = [e for e in events.values() if e["user"] == event["user"] and e["time"].date() < row["as_of"]]
        assert row["known_user"] == bool(earlier)
    assert {row["known_user"] for row in past} == {True, False}
    assert all(row["known_user"] for row in found if row["split"] == "serve")
    by_request = {(row["user"], row["query"], row["time"]): row["request_id"] for row in found}
    assert all(by_request[row["user"], row["query"], row["time"]] == row["request_id"] for row in found)
    assert len(set(by_request.values())) == len(by_request) and min(by_request.values()) >= 0
    serve = [(row["user"], row["query"]) for row in found if row["split"] == "serve"]
    last_day = {(row["user"], row["query"]) for row in past if row["as_of"] == DS}
    assert len(serve) == len(set(serve)) and set(serve) == last_day


def check_next_night(lake: Lake, config: RetrievalConfig, first: dict[str, list[dict[str, Any]]]) -> None:
    """Ids stay, vectors come from the published model, and nothing of the first night changes."""
    sizes = {kind: sum(row["node_type"] == kind for row in first["node_ids"]) for kind in ("user", "query", "item")}
    publish_model(lake, config, sizes)
    night(lake, config, NEXT)
    given = {(row["node_type"], row["key"]): row["id"] for row in rows(lake, "node_ids")}
    assert {(row["node_type"], row["key"]): row["id"] for row in first["node_ids"]}.items() <= given.items()
    for table in ("events", "nodes", "histories", "edges", "requests"):
        assert rows(lake, table, ds=DS) == first[table], table
    windows = {(row["split"], row["as_of"]) for row in rows(lake, "requests", ds=NEXT)}
    assert windows >= {("train", NEXT - timedelta(days=2)), ("validation", DS), ("test", NEXT)}
    assert min(as_of for _, as_of in windows) == NEXT - timedelta(days=2)
    check_carried(lake)
    # The first night again, now that a later one builds on its ids: they stay.
    build_graph.run(lake, config, DS)
    assert {(row["node_type"], row["key"]): row["id"] for row in rows(lake, "node_ids")} == given


def publish_model(lake: Lake, config: RetrievalConfig, sizes: dict[str, int]) -> None:
    draw = np.random.default_rng(0)
    folder = lake.files.local("trained/zoomer")
    folder.mkdir(parents=True)
    save_file(
        {k: draw.standard_normal((n, 4)).astype(np.float32) for k, n in sizes.items()}, folder / "interest.safetensors"
    )
    run = make_run(config, DS, "train_models")
    model = {
        "ds": DS,
        "name": "zoomer",
        "run_id": run.run_id,
        "path": "trained/zoomer",
        "config": '{"kind": "zoomer"}',
        "parents": "{}",
    }
    row = model | {"metrics": "{}", "train_end": NEXT - timedelta(days=2)}
    models = pa.Table.from_pylist([row], schema=TABLES["models"].arrow_schema)
    version = lake.write("models", models, where={"ds": DS}, run=run)
    versions = {"models": version, "nodes": lake.version("nodes")}
    lake.publish(Publication("retrieval", DS, run.run_id, versions, config.model_dump_json(), "v"), run)


def check_carried(lake: Lake) -> None:
    vectors = {(r["as_of"], r["node_type"], r["id"]): r for r in rows(lake, "interest_vectors", ds=NEXT)}
    from safetensors.numpy import load_file

    known = load_file(lake.files.local("trained/zoomer/interest.safetensors"))
    lists = rows(lake, "adjacency", ds=NEXT, as_of=NEXT + timedelta(days=1), src=0)
    mine = [row for row in lists if row["edge_type"].startswith("user_")]
    total, mean = 0.0, np.zeros(4)
    for row in mine:
        of_type = known[row["edge_type"].split("_")[1]]
        for neighbour, weight in zip(row["neighbours"], row["weights"], strict=True):
            if neighbour < len(of_type):
                total, mean = total + weight, mean + weight * of_type[neighbour]
    expected = known["user"][0] + mean / total
    found = vectors[NEXT + timedelta(days=1), "user", 0]["vector"]
    assert np.allclose(found, expected / np.linalg.norm(expected), atol=0.51 / 1024)


def test_no_events_at_all_says_why(lake: Lake, make_night: Callable[..., RetrievalConfig]) -> None:
    empty = make_night("user,item,query,time\n")
    ingest_events.run(lake, empty, DS)
    with pytest.raises(SourceError, match="has no event up to 2020-01-10"):
        build_graph.run(lake, empty, DS)


def test_one_user_one_event_and_no_query(lake: Lake, make_night: Callable[..., RetrievalConfig]) -> None:
    lonely = make_night("user,item,query,time\nann,tea,,2020-01-05 10:00:00\n")
    night(lake, lonely, DS)
    assert [row["edge_type"] for row in rows(lake, "edges", as_of=NEXT)] == ["item_user", "user_item"]
    assert rows(lake, "requests") == []
    assert {(r["node_type"], r["degree"]) for r in rows(lake, "interest_vectors")} == {("user", 1), ("item", 1)}
    for job in (ingest_events, build_graph):  # a night on which nobody came
        job.run(lake, lonely, NEXT)
    assert [(r["ds"], r["user"], r["item"], r["query"]) for r in rows(lake, "histories")] == [(DS, 0, 0, -1)]


def test_a_published_model_without_its_vectors_is_named(lake: Lake, make_night: Callable[..., RetrievalConfig]) -> None:
    config = make_night(random_events(11))
    for job in (ingest_events, build_graph):
        job.run(lake, config, DS)
    publish_model(lake, config, {"user": 1, "query": 1, "item": 1})
    lake.files.local("trained/zoomer/interest.safetensors").unlink()
    for job in (ingest_events, build_graph):
        job.run(lake, config, NEXT)
    with pytest.raises(LakeError, match=r"interest\.safetensors: is missing"):
        embed_interests.run(lake, config, NEXT)


def test_similar_pairs_have_their_exact_jaccard(spark: SparkSession) -> None:
    start = datetime(2020, 1, 1)
    nodes = spark.createDataFrame(
        [
            ("item", 0, ["a", "b", "c"]),
            ("item", 1, ["a", "b", "c"]),
            ("item", 2, ["a", "b", "d"]),
            ("item", 3, ["x"]),
            ("item", 4, []),
            ("query", 0, ["a", "b", "c"]),
        ],
        "node_type string, id int, terms array<string>",
    )
    nodes = nodes.withColumn("first_time", F.expr(f"timestamp'{start}' + make_interval(0, 0, 0, id)"))
    config = SimilarityConfig(edge_types=("item_item_similar",), min_jaccard=0.4, hash_tables=20)
    pairs = similar_pairs(nodes, config, seed=1)
    assert pairs is not None
    found = {(r.src, r.dst): (r.weight, r.first_time.day) for r in pairs.collect()}
    assert found == {
        (0, 1): (1.0, 2),
        (1, 0): (1.0, 2),
        (0, 2): (0.5, 3),
        (2, 0): (0.5, 3),
        (1, 2): (0.5, 3),
        (2, 1): (0.5, 3),
    }
    assert similar_pairs(nodes.where("size(terms) = 0"), config, seed=1) is None
