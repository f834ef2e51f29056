from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from roilake.errors import LakeError
from roilake.pipelines.retrieval.feed.features import FeatureStore, read_nodes
from roilake.pipelines.retrieval.feed.rows import read_items
from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary
from roilake.pipelines.retrieval.models.encoder import FieldEncoder
from tests.retrieval.feed.data import (
    DIM,
    ITEMS,
    QUERIES,
    USERS,
    WINDOW,
    node_table,
    write_file,
    write_items,
    write_nodes,
    write_vectors,
)


@pytest.fixture()
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore([write_nodes(tmp_path)], [write_vectors(tmp_path)])


def test_vectors_and_degrees_lie_at_their_ids(store: FeatureStore) -> None:
    features = store.features(WINDOW)
    assert {name: tuple(part.interest_ND.shape) for name, part in features.items()} == {
        "user": (USERS, DIM),
        "query": (QUERIES, DIM),
        "item": (ITEMS, DIM),
    }
    assert store.degrees("item", WINDOW).tolist() == [*range(ITEMS - 1), 0]  # the last one is not in the graph
    assert (features["item"].interest_ND[-1] == 0).all() and (features["item"].interest_ND[0] != 0).any()
    assert features["user"].degree_N.tolist() == [0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 0]
    assert store.features(WINDOW) is features


def test_terms_are_ranked_by_count_and_padded(store: FeatureStore) -> None:
    assert store.vocabulary.terms == ("the", "w0", "w1", "w2", "w3")
    terms = store.features(WINDOW)["item"].terms_NT
    assert terms.shape == (ITEMS, 12)
    assert terms[6].tolist() == [4, 1] + [0] * 10  # w2 the
    assert (store.features(WINDOW)["user"].terms_NT == 0).all()


def test_categories_and_schema(store: FeatureStore) -> None:
    schema = store.schema(DIM)
    assert schema.num_terms == 6
    assert schema.num_categories == {"user": {"age": 4}, "query": {}, "item": {}}
    assert schema.num_nodes == {"user": USERS, "query": QUERIES, "item": ITEMS}
    assert store.features(WINDOW)["user"].fields_NF[:4, 0].tolist() == [1, 2, 3, 1]


def test_a_saved_vocabulary_gives_the_same_ids_and_unknown_words_are_zero(tmp_path: Path) -> None:
    vocabulary = Vocabulary(("w1", "the"), {"user": {"age": ("2",)}})
    saved = Vocabulary.from_json(vocabulary.to_json())
    assert saved == vocabulary
    store = FeatureStore([write_nodes(tmp_path)], [write_vectors(tmp_path)], saved)
    assert store.features(WINDOW)["item"].terms_NT[:2, :2].tolist() == [[0, 2], [1, 2]]
    assert store.features(WINDOW)["user"].fields_NF[:3, 0].tolist() == [0, 0, 1]


def test_a_warm_vocabulary_keeps_ids_and_appends(tmp_path: Path) -> None:
    nodes = read_nodes([write_nodes(tmp_path)])
    grown = Vocabulary.build(nodes, Vocabulary(("gone", "w3"), {"user": {"sex": ("f",)}}))
    assert grown.terms == ("gone", "w3", "the", "w0", "w1", "w2")
    assert grown.fields["user"] == {"age": ("0", "1", "2"), "sex": ("f",)}


def test_a_window_without_vectors_is_named(store: FeatureStore) -> None:
    with pytest.raises(LakeError, match="2021-01-01"):
        store.features(WINDOW.replace(year=2021, day=1))


def test_items_come_sorted(tmp_path: Path) -> None:
    batch = read_items([write_items(tmp_path, slots=3).path], 3)
    assert batch.item_I.tolist() == list(range(ITEMS))
    assert batch.neighbours_IS[5].tolist() == [5, 6, 7]
    assert torch.allclose(batch.relevance_IS, torch.full((ITEMS, 3), 50 / 127))
    assert read_items([], 3).neighbours_IS.shape == (0, 3)


def test_words_of_one_node_only_are_left_out_unless_known(tmp_path: Path) -> None:
    rows = [["rock", "rare"], ["rock"], ["pop"], ["pop", "rock"]]
    schema = pa.schema([("terms", pa.list_(pa.string())), ("fields", pa.map_(pa.string(), pa.string()))])
    table = pa.Table.from_pylist([{"terms": terms, "fields": []} for terms in rows], schema)
    assert Vocabulary.build({"item": table}).terms == ("rock", "pop")
    assert Vocabulary.build({"item": table}, Vocabulary(("rare",), {})).terms == ("rare", "rock", "pop")


def test_vectors_of_facts_lie_at_their_ids_and_only_items_have_them(tmp_path: Path) -> None:
    nodes = node_table()
    told = [
        [float(id), 1.0] if node_type == "item" and id % 2 else None
        for node_type, id in zip(nodes["node_type"].to_pylist(), nodes["id"].to_pylist(), strict=True)
    ]
    with_vectors = nodes.append_column("vector", pa.array(told, pa.list_(pa.float32())))
    file = write_file(tmp_path / "nodes", "part-1", with_vectors, {"ds": str(WINDOW)})
    store = FeatureStore([file], [write_vectors(tmp_path)])
    features, schema = store.features(WINDOW), store.schema(DIM)
    assert schema.vector_dim == {"item": 2} and features["user"].vector_NV is None
    vector_NV = features["item"].vector_NV
    assert vector_NV is not None
    assert vector_NV.tolist() == [[id, 1.0] if id % 2 else [0.0, 0.0] for id in range(ITEMS)]
    encoder = FieldEncoder(schema, "item", 8)
    assert encoder(features["item"]).shape == (ITEMS, 5, 8)
    assert not encoder(features["item"])[::2, 4].any() and encoder(features["item"])[1::2, 4].any(dim=1).all()
    assert FieldEncoder(schema, "item", 8, vectors=False)(features["item"]).shape == (ITEMS, 4, 8)
