"""What a published model attended to, held against the model itself opened another way."""

from __future__ import annotations

from dataclasses import replace
from html import unescape

import numpy as np
import pandas as pd
import pytest
import torch

from roilake.errors import LakeError
from roilake.feed import files_of
from roilake.pipelines.retrieval.explain import (
    Explanation,
    draw_request,
    explain_request,
    leading_events,
    recommended,
    shared_nodes,
)
from roilake.pipelines.retrieval.explain.neighbours import age
from roilake.pipelines.retrieval.explain.request import _night as pinned
from roilake.pipelines.retrieval.feed.rows import read_requests
from roilake.pipelines.retrieval.models.graphsage import map_name
from roilake.pipelines.retrieval.scoring.pinned import Tower
from roilake.pipelines.retrieval.scoring.towers import Worker
from roilake.reading import read
from roilake.report.formatting import plain
from tests.retrieval.two_nights import SECOND, Nights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(nights: Nights) -> Explanation:
    """The first request of the second night."""
    first = read("recommendations", lake=nights.lake.folder).sort_values(["user", "query"]).iloc[0]
    return explain_request(first["user"], first["query"], lake=nights.lake.folder)


def test_attention_sums_to_one_per_group(found: Explanation) -> None:
    groups = found.neighbours.groupby(["path", "above", "parent"])
    assert len(found.neighbours) > 10 and found.ds == SECOND and found.model == "zoomer"
    np.testing.assert_allclose(groups["attention"].sum(), 1, atol=1e-6)
    np.testing.assert_allclose(found.relations.groupby(["path", "parent"])["weight"].sum(), 1, atol=1e-6)
    own = found.relations[found.relations["relation"] == "own"].set_index("path")["weight"]
    root = found.neighbours["path"].str.split("/").str[0]
    assert {*own.index} >= {"user", "query"}
    np.testing.assert_allclose(own.add(found.neighbours.groupby(root)["share"].sum(), fill_value=0), 1, atol=1e-6)


def test_the_table_gives_the_request_vector_again(nights: Nights, found: Explanation) -> None:
    """One hop: root' = R (b_own root + sum_e b_e W_e sum_j a_j N_j), from keys and weights of the tables alone."""
    worker, tower = opened(nights)
    model, features = worker.open(tower), worker.store(tower).features(found.as_of)
    layout = model.request_layout
    ids = {kind: found.names.id_of(kind, key) for kind, key in (("user", found.user), ("query", found.query))}
    with torch.inference_mode():
        roots = [model.root(kind, torch.tensor([node]), features) for kind, node in ids.items()]
        seen = []
        for kind, root_BD in zip(ids, roots, strict=True):
            weights = found.relations[found.relations["path"] == kind].set_index("relation")["weight"]
            total_BD = weights["own"] * root_BD
            for slot in (s for s in layout.slots if layout.roots[s.root] == kind):
                rows = found.neighbours[found.neighbours["path"] == slot.name]
                nodes = torch.tensor([found.names.id_of(slot.dst_type, key) for key in rows["neighbour"]])
                vectors_kD = model.encoders[slot.dst_type].sum(features[slot.dst_type], nodes)
                a_1k = torch.tensor(rows["attention"].to_numpy(np.float32))[None]
                total_BD = total_BD + weights[slot.edge_type] * model.maps[map_name(slot)](a_1k @ vectors_kD)
            seen.append(len(weights) * total_BD)
        again_BD = model.towers.requests(*seen)
    expected_BD = request_vector(nights, worker, tower, found, ids)
    torch.testing.assert_close(again_BD, expected_BD, rtol=1e-5, atol=1e-5)


def test_kept_neighbours_of_the_history_are_his_own_of_before(nights: Nights, found: Explanation) -> None:
    """Each at its newest; its total is what the night's weights make of likeness, link and recency."""
    own = found.neighbours[(found.neighbours["hop"] == 1) & (found.neighbours["parent_type"] == "user")]
    events = read("events", lake=found.lake, ds=found.ds, where={"user": found.user})
    newest = {kind: events.groupby(kind)["time"].max() for kind in ("item", "query")}
    assert len(own) > 3 and own["age"].notna().all() and own["linked"].isin([True, False]).all()
    weights = nights.config.roi.weights
    for row in own.itertuples():
        seconds = int((pd.Timestamp(found.as_of, tz="UTC") - newest[row.node_type][row.neighbour]).total_seconds())
        octave = (1 + seconds).bit_length() - 1
        code = 8 * octave + ((1 + seconds) * 8 >> octave) - 8
        assert row.age == age(code)
        total = weights.likeness * row.likeness + weights.linked * row.linked + weights.recency * (1 - code / 256)
        assert row.relevance == pytest.approx(total)
    others = found.neighbours.drop(own.index)
    assert others["age"].isna().all() and (others["relevance"] == others["likeness"]).all()


def test_what_is_recommended_has_the_scores_of_the_model_that_serves(nights: Nights, found: Explanation) -> None:
    worker, tower = opened(nights, nights.served(-1).model)
    ids = {kind: found.names.id_of(kind, key) for kind, key in (("user", found.user), ("query", found.query))}
    items, best = worker.embed_items(tower, found.as_of), recommended(found, top=5)
    chosen = items[[found.names.id_of("item", key) for key in best["item"]]]
    score_K = (request_vector(nights, worker, tower, found, ids) @ chosen.T)[0]
    np.testing.assert_allclose(score_K, best["score"], rtol=1e-4)
    assert list(best["rank"]) == [1, 2, 3, 4, 5] and best["label"].str.len().min() > 3


def test_shared_nodes_lie_in_both_regions(found: Explanation) -> None:
    items = recommended(found)
    shared = shared_nodes(found, items)
    own = {(row.node_type, row.neighbour) for row in found.neighbours.itertuples()}
    own |= {("user", found.user), ("query", found.query)}
    assert len(shared) > 0 and {(row.node_type, row.node) for row in shared.itertuples()} <= own
    assert set(shared["item"]) <= set(items["item"]) and not shared.duplicated(["item", "node_type", "node"]).any()
    same = shared[shared["path_of_item"] == "item"]
    assert set(same["item"]) == set(items["item"]) & {key for kind, key in own if kind == "item"}


def test_the_events_behind_an_edge_are_those_that_its_weight_sums_up(nights: Nights, found: Explanation) -> None:
    """Weight = sum over the user's events with the neighbour before the night's end of 2^(-age / half-life)."""
    shared = shared_nodes(found, recommended(found, top=50))
    events = leading_events(found, shared)
    kept = found.neighbours[(found.neighbours["parent_type"] == "user") & (found.neighbours["parent"] == found.user)]
    assert {*zip(events["edge_type"], events["neighbour"], strict=True)} == {
        *zip(kept["edge_type"], kept["neighbour"], strict=True)
    }
    where = {
        "as_of": found.as_of,
        "src": found.names.id_of("user", found.user),
        "edge_type": ["user_item", "user_query"],
    }
    edges = read("edges", lake=nights.lake.folder, where=where).set_index(["edge_type", "dst"])["weight"]
    half_life = pd.Timedelta(days=nights.config.graph.half_life_days)
    age = (pd.Timestamp(found.as_of, tz="UTC") - events["time"]) / half_life
    for (edge_type, neighbour), ages in age.groupby([events["edge_type"], events["neighbour"]]):
        node = found.names.id_of(str(edge_type).removeprefix("user_"), neighbour)
        assert (2.0**-ages).sum() == pytest.approx(edges[edge_type, node], rel=1e-5)
    assert events["share"].is_monotonic_decreasing and not events.duplicated(["event_id", "edge_type"]).any()
    both = {(row.node, row.rank) for row in shared.itertuples() if row.node_type in ("item", "query")}
    assert both >= {(row.neighbour, rank) for row in events.itertuples() for rank in row.ranks} != set()


def test_the_picture_names_every_neighbour(found: Explanation) -> None:
    items = recommended(found)
    svg = draw_request(found, items, shared_nodes(found, items))
    assert svg.startswith("<svg") and f"user {found.user}" in svg and "recommended" in svg
    assert all(plain(label, 30) in unescape(svg) for label in found.neighbours["label"])
    where = {"user": found.user, "query": found.query, "rank": range(1, len(items) + 1)}
    rows = read("recommendations", lake=found.lake, where=where).sort_values("rank")
    assert [f"{row.title} ({row.item})" for row in rows.itertuples()] == [*items["label"]]


def test_what_cannot_be_explained_is_one_line(nights: Nights, found: Explanation) -> None:
    folder = nights.lake.folder
    with pytest.raises(LakeError, match="no user 'nobody' is known"):
        explain_request("nobody", found.query, lake=folder)
    with pytest.raises(LakeError, match="with query None; those that it did answer"):
        explain_request(found.user, None, lake=folder)
    with pytest.raises(LakeError, match="'popularity' is a popularity, which has no attention"):
        explain_request(found.user, found.query, lake=folder, model="popularity")
    with pytest.raises(LakeError, match="has no model 'zoomr'; it has "):
        explain_request(found.user, found.query, lake=folder, model="zoomr")


def opened(nights: Nights, name: str = "zoomer") -> tuple[Worker, Tower]:
    """A model of the night, and its items."""
    lake, published, config = nights.lake, nights.published[-1], nights.config
    files = files_of(lake, "rois", published.versions["rois"], ds=SECOND, side="item")
    night = replace(pinned(lake, published, config.roi, config.model_dump()), items=files)
    model = config.models[name]
    return Worker(night), Tower(name, model.kind, dict(model.options), str(nights.model_folder(name, -1)))


def request_vector(
    nights: Nights, worker: Worker, tower: Tower, found: Explanation, ids: dict[str, int]
) -> torch.Tensor:
    """The request's vector, its ROI read as training and scoring read it."""
    files = files_of(nights.lake, "rois", nights.published[-1].versions["rois"], ds=SECOND, side="request")
    paths = [file.path for file in files if file.partition["as_of"] == str(found.as_of)]
    rows = read_requests(paths, worker.night.layouts.request, 1)
    pairs = pd.Series(list(zip(rows.user_R.tolist(), rows.query_R.tolist(), strict=True)))
    number = int(pairs[pairs == (ids["user"], ids["query"])].index[0])
    model = worker.open(tower)
    with torch.inference_mode():
        return model.embed_requests(rows.batch(np.array([number])), worker.store(tower).features(found.as_of))
