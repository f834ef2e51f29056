"""Two real nights in a row on MovieLens-100K, and the second one again: what is new, what stays, what is known when.

The raw file is read here a second time, by hand, and what the nights wrote is held against it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from html import unescape
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from roilake.ingest.files import resolve_path
from roilake.pipelines.retrieval import PIPELINE
from roilake.pipelines.retrieval.events import KNOWN
from roilake.pipelines.retrieval.graph import plan_windows
from roilake.pipelines.retrieval.roi import REQUEST_ROOTS, RoiLayout
from roilake.report import report_path
from tests.retrieval.two_nights import FIRST, MODELS, SECOND, Nights

pytestmark = pytest.mark.slow
SAME_AGAIN = (
    "events", "node_ids", "nodes", "histories", "edges", "adjacency", "requests", "interest_vectors", "rois",
    "recommendations", "champions", "metrics",
)  # fmt: skip


@dataclass(frozen=True)
class Raw:
    """A line of the raw file."""

    user: str
    item: str
    time: datetime


@pytest.fixture(scope="module")
def raw(nights: Nights) -> list[Raw]:
    lines = nights.raw.read_text()
    cells = (line.split("\t") for line in lines.splitlines()[1:])
    return [Raw(user, item, datetime.fromtimestamp(int(time), UTC)) for user, item, _, time in cells]


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def test_each_night_ingests_what_is_new_and_nothing_from_after_its_end(nights: Nights, raw: list[Raw]) -> None:
    ends = [midnight(FIRST + timedelta(days=1)), midnight(SECOND + timedelta(days=1))]
    until = [Counter(r for r in raw if r.time < end) for end in ends]
    new = (until[0], until[1] - until[0])
    assert min(sum(counts.values()) for counts in new) > 100
    for run, (ds, expected) in enumerate(zip((FIRST, SECOND), new, strict=True)):
        rows = nights.table("events", run, ds=ds).to_pylist()
        assert Counter(Raw(row["user"], row["item"], row["time"]) for row in rows) == expected
        ingested = nights.results[run]["ingest_events"]
        assert ingested.rows_out == len(rows) and ingested.rows_quarantined == 0
        assert ingested.rows_later == len(raw) - sum(until[run].values())
        assert ingested.rows_in == ingested.rows_out + ingested.rows_later
        assert ingested.details["left_out"] == ({} if run == 0 else {KNOWN: sum(until[0].values())})
    ids = nights.table("events", 1)["event_id"]
    assert len(ids.unique()) == len(ids) == sum(until[1].values())
    assert nights.table("events", 1, ds=FIRST).equals(nights.table("events", 0, ds=FIRST))


def test_a_query_is_a_genre_of_the_movie(nights: Nights) -> None:
    table = Path(resolve_path("package://recbole/dataset_example/ml-100k/ml-100k.item")).read_text(errors="replace")
    genres = {line.split("\t")[0]: line.split("\t")[3].split() for line in table.splitlines()[1:]}
    rows = nights.table("events", 1, ds=SECOND).to_pylist()
    assert all(row["query"] in genres[row["item"]] for row in rows)
    assert len({row["query"] for row in rows}) > 5


def test_ids_stay_and_new_ones_follow_on(nights: Nights) -> None:
    before, after = nights.table("node_ids", 0), nights.table("node_ids", 1)
    assert after.filter(pc.equal(after["ds"], pa.scalar(FIRST))).equals(before)
    for kind in ("user", "query", "item"):
        old, new = ({row["id"] for row in t.to_pylist() if row["node_type"] == kind} for t in (before, after))
        assert old == set(range(len(old))) and new == set(range(len(new)))
    assert len(after) > len(before)


def test_histories_are_the_events_of_their_night_by_ids(nights: Nights) -> None:
    keys, columns = nights.keys(2), ("user", "item", "query")
    for ds in (FIRST, SECOND):
        found = nights.table("histories", 2, ds=ds).to_pylist()
        by_key = [(row["time"], *(keys.get((kind, row[kind])) for kind in columns)) for row in found]
        events = nights.table("events", 2, ds=ds).to_pylist()
        assert sorted(by_key) == sorted({(row["time"], *(row[kind] for kind in columns)) for row in events})
        for file in nights.lake.active_files("histories", nights.published[2].versions["histories"], ds=ds):
            rows = pq.read_table(file.path, partitioning=None).to_pylist()
            assert rows == sorted(rows, key=lambda row: (row["user"], row["time"], row["item"], row["query"]))


def test_every_job_has_succeeded_and_both_nights_are_published(nights: Nights) -> None:
    lake = nights.lake
    for run, ds in enumerate((FIRST, SECOND)):
        rows = lake.to_arrow("runs", nights.published[run].versions["runs"], filters={"ds": ds}).to_pylist()
        assert {row["step"] for row in rows} == nights.results[run].keys()
        assert {row["status"] for row in rows} == {"succeeded"}
        assert len(nights.results[run]) == len(PIPELINE.step_names)
        assert "Published" in report_path(lake, "retrieval", ds).read_text()
    assert lake.publication("retrieval", ds=FIRST) == nights.published[0]
    assert lake.publication("retrieval", ds=SECOND) == nights.published[2]
    versions = nights.published[0].versions
    seen = lake.to_arrow("recommendations", versions["recommendations"])
    assert set(seen["ds"].to_pylist()) == {FIRST}  # readers of the first publication still see that night alone


@pytest.mark.parametrize("run", [0, 1])
def test_edges_and_lists_know_nothing_from_after_their_instant(nights: Nights, run: int) -> None:
    ds = (FIRST, SECOND)[run]
    version = nights.published[run].versions
    edges = nights.lake.to_arrow("edges", version["edges"], filters={"ds": ds})
    assert pc.all(pc.less(edges["last_time"], edges["as_of"].cast(edges["last_time"].type))).as_py()
    assert pc.all(pc.less_equal(edges["first_time"], edges["last_time"])).as_py()
    lists = nights.lake.to_arrow("adjacency", version["adjacency"], filters={"ds": ds})
    lists = lists.combine_chunks()
    places = pc.list_parent_indices(lists["neighbours"])
    listed = lists.select(["as_of", "edge_type", "src"]).take(places)
    listed = listed.append_column("dst", pc.list_flatten(lists["neighbours"]))
    pair = ["as_of", "edge_type", "src", "dst"]
    assert len(listed) > 0 == len(listed.join(edges.select(pair), keys=pair, join_type="left anti"))
    instants = {window.as_of for window in plan_windows(nights.config.windows, ds, nights.train_end(run))}
    assert set(edges["as_of"].unique().to_pylist()) == instants


@pytest.mark.parametrize("run", [0, 1])
def test_degrees_count_the_raw_events_before_each_instant(nights: Nights, raw: list[Raw], run: int) -> None:
    keys, ds = nights.keys(run), (FIRST, SECOND)[run]
    found: dict[date, dict[str, int]] = defaultdict(dict)
    for row in nights.table("interest_vectors", run, ds=ds, node_type="item").to_pylist():
        found[row["as_of"]][keys["item", row["id"]]] = row["degree"]
    assert len(found) >= 4
    for as_of, degrees in found.items():
        assert degrees == Counter(r.item for r in raw if r.time < midnight(as_of))


def test_a_region_of_interest_holds_only_items_that_the_user_had_before(nights: Nights, raw: list[Raw]) -> None:
    keys = nights.keys(1)
    layout = RoiLayout.of(nights.config.roi.request_hops, REQUEST_ROOTS)
    slot = next(slot for slot in layout.slots if slot.name == "user/user_item")
    had: dict[str, list[Raw]] = defaultdict(list)
    for r in raw:
        had[r.user].append(r)
    filled = 0
    for row in nights.table("rois", 1, ds=SECOND, side="request").to_pylist():
        own, start = had[keys["user", row["user"]]], midnight(row["as_of"])
        before = {r.item for r in own if r.time < row["time"]}
        chosen = [keys["item", item] for item in row["neighbours"][slot.start : slot.start + slot.size] if item >= 0]
        assert len(chosen) == min(slot.size, len(before)) and before.issuperset(chosen)
        answers = {keys["item", item] for item in row["positives"]}
        assert answers <= {r.item for r in own if start <= r.time < midnight(SECOND + timedelta(days=1))}
        assert not answers.intersection(chosen)
        filled += bool(chosen)
    assert filled > 100


def test_the_second_night_selects_by_the_vectors_of_the_first_ones_model(nights: Nights) -> None:
    sources = [results["embed_interests"].details["source"] for results in nights.results]
    assert sources == ["graph", f"{nights.base()}@{FIRST}", f"{nights.base()}@{FIRST}"]
    known = load_file(nights.model_folder(nights.base(), 0) / "interest.safetensors")
    sizes = Counter(kind for kind, _ in nights.keys(0))
    assert {kind: vectors.shape for kind, vectors in known.items()} == {k: (n, 32) for k, n in sizes.items()}
    # A user's vector: the known one plus the weighted mean of its neighbours' known ones.
    as_of = SECOND + timedelta(days=1)
    lists = nights.table("adjacency", 1, ds=SECOND, as_of=as_of, src=7).to_pylist()
    found = nights.table("interest_vectors", 1, ds=SECOND, as_of=as_of, node_type="user", id=7).to_pylist()[0]
    total, weighted = 0.0, np.zeros(32)
    for row in (row for row in lists if row["edge_type"].startswith("user_")):
        vectors = known[row["edge_type"].split("_")[1]]
        for neighbour, weight in zip(row["neighbours"], row["weights"], strict=True):
            if neighbour < len(vectors) and vectors[neighbour].any():
                total, weighted = total + weight, weighted + weight * vectors[neighbour]
    expected = known["user"][7] + weighted / total
    step = 1 / 1024  # what the table keeps; the arithmetic itself is right to 1e-5
    off = np.abs(np.array(found["vector"]) - expected / np.linalg.norm(expected))
    assert off.max() <= step / 2 + 1e-5


def test_the_second_night_starts_from_the_weights_of_the_first(nights: Nights) -> None:
    losses = {}
    for run, ds in enumerate((FIRST, SECOND)):
        for model in ("zoomer", "no_graph"):
            folder = nights.model_folder(model, run)
            manifest = json.loads((folder / "manifest.json").read_text())
            parent = manifest["parent"]
            expected = nights.model_folder(model, 0).resolve()
            assert parent is None if run == 0 else (folder / parent).resolve() == expected
            losses[model, run] = json.loads((folder / "curve.json").read_text())["steps"][0]["loss"]
        assert len(manifest["train"]) == (2, 1)[run]
        assert nights.train_end(run + 1) == ds - timedelta(days=13)
    assert all(losses[model, 1] < losses[model, 0] for model in ("zoomer", "no_graph"))


@pytest.mark.parametrize("run", [0, 1])
def test_the_users_of_the_night_get_twenty_known_items_for_each_genre(nights: Nights, raw: list[Raw], run: int) -> None:
    ds = (FIRST, SECOND)[run]
    events = nights.table("events", run).to_pylist()
    asked = {(e["user"], e["query"]) for e in events if e["time"] >= midnight(ds)}
    assert {user for user, _ in asked} == {r.user for r in raw if r.time.date() == ds}
    found: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for row in nights.table("recommendations", run, ds=ds).to_pylist():
        found[row["user"], row["query"]].append(row)
    assert found.keys() == asked
    items = {e["item"] for e in events}
    for rows in found.values():
        assert [row["rank"] for row in rows] == list(range(1, 21))
        assert len({row["item"] for row in rows} & items) == 20
        assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
        assert {row["model"] for row in rows} == {f"{nights.served(run).model}@{ds}"}


def test_the_page_shows_lists_and_why_neighbours_were_kept(nights: Nights) -> None:
    """Of the night that was run twice: up to four users, each with his own newest items and list by their titles."""
    page = unescape(report_path(nights.lake, "retrieval", SECOND).read_text())
    shown = page[page.index("What was recommended, and why") : page.index("Events and graph")]
    rows = nights.table("rois", 2, ds=SECOND, side="request", split="serve").to_pylist()
    users = list(dict.fromkeys(row["user"] for row in sorted(rows, key=lambda row: row["root"])))[:4]
    keys, lists = nights.keys(2), nights.table("recommendations", 2, ds=SECOND, rank=1).to_pylist()
    titles = {(row["node_type"], row["id"]): row["title"] for row in nights.table("nodes", 2, ds=SECOND).to_pylist()}
    assert 1 < len(users) == shown.count("<h3>User ")
    for user in users:
        card = shown[shown.index(f"<h3>User {keys['user', user]}, query ") :].split("<h3>User ")[1]
        events = nights.table("histories", 2, user=user).to_pylist()
        newest = max(event["time"] for event in events)
        assert any(str(titles["item", event["item"]]) in card for event in events if event["time"] == newest)
        query = card.split(", query ")[1].split("<")[0]
        firsts = [row["title"] for row in lists if (row["user"], row["query"]) == (keys["user", user], query)]
        assert len(firsts) == 1 and firsts[0] in card.split("Recommended")[1]
        assert "likeness " in card.split("Kept of the history")[1].split("Recommended")[0]
    assert "linked to the query" in shown and "Why neighbours of histories were kept" in shown
    assert "likeness 0.25, linked 1.00, recency 1.00" in shown and "user → item" in shown


def test_the_best_on_validation_serves_until_another_one_is_better_beyond_noise(nights: Nights) -> None:
    first, second = nights.served(0), nights.served(1)
    metric, side = nights.config.best_by, {"split": "validation", "metric": nights.config.best_by}
    values, apart = (
        {row["model"]: row for row in nights.table("metrics", run, ds=ds, slice=name, **side).to_pylist()}
        for run, ds, name in ((0, FIRST, "all"), (1, SECOND, "delta_vs_default"))
    )
    assert first.model == max(MODELS, key=lambda name: values[name]["value"])
    assert (first.since, first.reason, first.metric, first.previous) == (FIRST, "first", metric, None)
    assert apart.keys() == {*MODELS} - {second.model}
    if second.model == first.model:
        assert (second.since, second.reason) == (FIRST, "stayed")
        assert all(row["low"] <= 0 for row in apart.values())
    else:
        assert (second.since, second.reason) == (SECOND, "won") and apart[first.model]["high"] < 0
    for champion, ds in ((first, FIRST), (second, SECOND)):
        assert (
            f"{champion.model} serves since {champion.since}" in report_path(nights.lake, "retrieval", ds).read_text()
        )


@pytest.mark.parametrize("run", [0, 1])
def test_models_beat_chance_on_days_they_have_not_seen(nights: Nights, run: int) -> None:
    rows = nights.table("metrics", run, ds=(FIRST, SECOND)[run], split="test", slice="all").to_pylist()
    values = {(row["model"], row["metric"]): row["value"] for row in rows}
    names = nights.config.evaluation.metrics
    assert values.keys() == {(model, name) for model in MODELS for name in names}
    assert all(values[model, "auc"] > 0.6 for model in MODELS)


@pytest.mark.parametrize("table", SAME_AGAIN)
def test_a_night_that_runs_again_gives_the_same_table(nights: Nights, table: str) -> None:
    versions = [published.versions[table] for published in nights.published[1:]]
    assert versions[0] == versions[1]  # rows that are the same are no new version
    assert nights.table(table, 1).equals(nights.table(table, 2)) and nights.table(table, 1).num_rows > 0


def test_a_night_that_runs_again_gives_the_same_weights(nights: Nights) -> None:
    once, again = nights.models[1:]
    assert len(once) >= 3 * len(MODELS) and once.keys() == again.keys()
    for name in once:
        assert name.endswith("curve.json") or once[name] == again[name], name  # the curve has times in it
    assert nights.published[1].run_id == nights.published[2].run_id != nights.published[0].run_id
