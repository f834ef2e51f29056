"""Every tower on nodes that have nothing but their events: no query at all, no term, no field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from roilake.pipelines.retrieval.feed import FeatureStore
from roilake.pipelines.retrieval.models import ItemBatch, RequestBatch, TwinTower, build, is_matrix_kind, kinds
from roilake.pipelines.retrieval.roi.layout import ITEM_ROOTS, REQUEST_ROOTS, RoiLayout
from tests.retrieval.feed.data import DIM, WINDOW, node_table, vector_table, write_file

REQUEST = RoiLayout.of(
    ({"user_query": 2, "user_item": 2, "query_item": 2, "query_user": 2}, {"item_query": 2, "item_user": 2}),
    REQUEST_ROOTS,
)
ITEM = RoiLayout.of(({"item_user": 2, "item_query": 2},), ITEM_ROOTS)
TOWERS = tuple(kind for kind in kinds() if not is_matrix_kind(kind))
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((kind, {}) for kind in TOWERS),
    *((kind, {"neighbours": how}) for kind in ("zoomer", "graphsage", "gat") for how in ("frozen", "detached")),
    *((kind, {"id_buckets": 3}) for kind in ("zoomer", "no_graph")),
    ("zoomer", {"feature_attention": False}),
    ("zoomer", {"towers": "paper"}),
]


@pytest.fixture()
def store(tmp_path: Path) -> FeatureStore:
    """Three users and four items; the last of each has no event before the window."""
    counts = {"user": 3, "item": 4}
    nodes = write_file(tmp_path / "nodes", "part-0", node_table(counts, described=False), {"ds": str(WINDOW)})
    vectors = write_file(tmp_path / "vectors", "part-0", vector_table(WINDOW, counts), {"as_of": str(WINDOW)})
    return FeatureStore([nodes], [vectors])


def neighbours(layout: RoiLayout, rows: int) -> torch.Tensor:
    """Users and items of the same rows, no query, and nothing below one."""
    ids = torch.full((rows, layout.size), -1)
    for slot in layout.slots:
        if "query" not in slot.name:
            ids[:, slot.start : slot.start + slot.size] = torch.arange(slot.size) % 3
    return ids


def requests(rows: int = 3) -> RequestBatch:
    ids = neighbours(REQUEST, rows)
    return RequestBatch(
        user_B=torch.arange(rows),
        query_B=torch.full((rows,), -1),
        neighbours_BS=ids,
        relevance_BS=torch.zeros(ids.shape),
        linked_BS=torch.zeros(ids.shape),
        recency_BS=torch.zeros(ids.shape),
        time_B=torch.zeros(rows, dtype=torch.int64),
        history_BL=torch.tensor([[-1, -1], [-1, 0], [2, 1]])[:rows],
        positives_BP=torch.zeros((rows, 1), dtype=torch.int64),
        weight_B=torch.ones(rows),
    )


def items(rows: int = 4) -> ItemBatch:
    ids = neighbours(ITEM, rows)
    return ItemBatch(torch.arange(rows), ids, torch.zeros(ids.shape))


def made(kind: str, options: dict[str, Any], store: FeatureStore) -> TwinTower:
    torch.manual_seed(3)
    return build(kind, options, store.schema(DIM), REQUEST, ITEM)


def test_a_type_without_nodes_has_one_row_of_zeros_that_is_no_node(store: FeatureStore) -> None:
    rows = store.features(WINDOW)["query"]
    assert rows.interest_ND.shape == (1, DIM) and rows.terms_NT.shape == (1, 12) and rows.fields_NF.shape == (1, 0)
    assert not any(part.any() for part in (rows.interest_ND, rows.events_N, rows.degree_N, rows.terms_NT))
    assert store.known("query").tolist() == [False] and store.known("item").tolist() == [True] * 4
    assert store.schema(DIM).num_terms == 1


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_every_tower_learns_and_scores_without_queries(kind: str, options: dict[str, Any], store: FeatureStore) -> None:
    model, features = made(kind, options, store), store.features(WINDOW)
    score_BI = model.embed_requests(requests(), features) @ model.embed_items(items(), features).T
    assert score_BI.shape == (3, 4) and torch.isfinite(score_BI).all()
    if model.trainable:
        score_BI.logsumexp(1).sum().backward()
        slopes = [parameter.grad.to_dense() for parameter in model.parameters() if parameter.grad is not None]
        assert slopes and all(torch.isfinite(slope).all() for slope in slopes)
    if hasattr(model, "interest_vectors"):
        assert (model.interest_vectors(features)["query"] == 0).all()
