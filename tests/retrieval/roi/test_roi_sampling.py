from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roilake import native
from roilake.errors import RoilakeError
from roilake.pipelines.retrieval.roi import ITEM_ROOTS, REQUEST_ROOTS, RoiLayout, kernel
from roilake.pipelines.retrieval.roi.kernel import Lists, Queries, expand
from roilake.pipelines.retrieval.roi.shuffled import packed_keys
from roilake.pipelines.retrieval.roi.store import NODE_TYPES, RoiStore
from tests.retrieval.roi import reference

LAYOUTS = (
    RoiLayout.of(({"user_item": 2, "query_item": 3},), REQUEST_ROOTS),
    RoiLayout.of(
        ({"user_query": 3, "query_user": 2}, {"query_item": 2, "query_user": 3, "user_query": 1}), REQUEST_ROOTS
    ),
    RoiLayout.of(({"item_user": 4, "item_item_similar": 1}, {"user_item": 3}, {"item_user": 2}), ITEM_ROOTS),
)
EDGE_TYPES = sorted({edge_type for layout in LAYOUTS for edge_type in layout.edge_types})
NODES = 9


def random_graph(rng: np.random.Generator, longest: int, span: int) -> tuple[reference.Graph, reference.Vectors]:
    """Lists of up to ``longest`` distinct neighbours; a small ``span`` makes R tie often."""
    nodes = max(NODES, longest)
    graph: reference.Graph = {}
    for edge_type in EDGE_TYPES[: rng.integers(1, len(EDGE_TYPES) + 1)]:
        lengths = rng.integers(0, longest + 1, rng.integers(1, NODES + 1))
        graph[edge_type] = {src: rng.permutation(nodes)[:length].tolist() for src, length in enumerate(lengths)}
    return graph, {kind: rng.integers(-span, span + 1, (nodes, 32)) for kind in NODE_TYPES}


def store_of(graph: reference.Graph, vectors: reference.Vectors) -> RoiStore:
    lists = {kind: [of.get(n, []) for n in range(max(of) + 1)] for kind, of in graph.items()}
    return RoiStore(
        offsets={kind: np.cumsum([0, *map(len, of)]) for kind, of in lists.items()},
        ids={kind: np.array([n for entry in of for n in entry], np.int32) for kind, of in lists.items()},
        vectors={kind: values.astype(np.int8) for kind, values in vectors.items()},
    )


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    layout=st.sampled_from(LAYOUTS),
    sampler=st.sampled_from(["roi", "weighted", "uniform"]),
    longest=st.sampled_from([1, 5, 9, 150]),
    span=st.sampled_from([0, 1, 127]),
)
def test_trees_are_those_of_the_definition(seed: int, layout: RoiLayout, sampler: str, longest: int, span: int) -> None:
    rng = np.random.default_rng(seed)
    graph, vectors = random_graph(rng, longest, span)
    # -1 is a missing root; ids beyond the graph have neither list nor vector.
    roots_BR = rng.integers(-1, NODES + 200, (7, len(layout.roots))).astype(np.int32) % (NODES + 3) - 1
    neighbours_BS, relevance_BS = store_of(graph, vectors).sample(layout, roots_BR, sampler, seed)
    for row, roots in enumerate(roots_BR.tolist()):
        expected = reference.sample(graph, vectors, layout, roots, sampler, seed)
        assert (neighbours_BS[row].tolist(), relevance_BS[row].tolist()) == expected


@pytest.mark.parametrize("dim", [32, 96])
@pytest.mark.parametrize("by_edge", [False, True])
@pytest.mark.parametrize("sampler", list(kernel.SAMPLERS))
@pytest.mark.parametrize("fanout", [7, 70])
def test_every_instruction_set_gives_the_same_bits(dim: int, by_edge: bool, sampler: str, fanout: int) -> None:
    rng = np.random.default_rng(dim)
    ids_E = rng.integers(0, 40, 500).astype(np.int32)
    vectors_VD = rng.integers(-128, 128, (500 if by_edge else 40, dim)).astype(np.int8)
    bounds = np.cumsum([0, 63, 64, 65, 0, 130, *rng.multinomial(178, [1 / 15] * 15)])  # 64: a block
    lists = Lists(bounds[:-1], bounds[1:], ids_E, vectors_VD, by_edge)
    queries = Queries(
        rng.integers(-254, 255, (10, dim)).astype(np.int16),
        np.full(10, 3, np.int32),
        rng.integers(0, 2**63, 20).astype(np.uint64),
    )
    found = []
    for instruction_set in range(len(kernel.INSTRUCTION_SETS)):
        shape = 10, 2 * fanout
        neighbours, stored = np.full(shape, -1, np.int32), np.zeros(shape, np.int8)
        expand(lists, queries, fanout, sampler, neighbours, stored, instruction_set=instruction_set)
        found.append((neighbours.tolist(), stored.tolist()))
    assert found[0] == found[1] == found[2]
    assert 3 not in np.array(found[0][0])


def test_uniform_draws_are_even_and_follow_the_seed() -> None:
    layout = RoiLayout.of(({"user_item": 2},), ("user",))
    graph, vectors = (
        {"user_item": {n: list(range(8)) for n in range(2000)}},
        random_graph(np.random.default_rng(0), 8, 1)[1],
    )
    store, roots_BR = store_of(graph, vectors), np.arange(2000, dtype=np.int32)[:, None]
    first, second = (store.sample(layout, roots_BR, "uniform", seed)[0] for seed in (1, 2))
    assert (first != second).any()
    # Of 4,000 draws over 8 items each is drawn 500 times, give or take 4.5 standard deviations of a binomial.
    assert np.abs(np.bincount(first.ravel(), minlength=8) - 500).max() < 4.5 * np.sqrt(4000 / 8 * 7 / 8)


def test_a_stale_or_missing_library_is_named_with_its_remedy(tmp_path: Path) -> None:
    source = tmp_path / "room" / "kernel.c"
    source.parent.mkdir()
    source.write_text("#include <stdint.h>\nint64_t kernel_source(void) { return KERNEL_SOURCE; }")
    with pytest.raises(RoilakeError, match=r"room kernel: libroom.so cannot be loaded .*run: python -m roilake.native"):
        native.load(source)
    native.build(source)
    native.load(source)
    source.write_text(source.read_text() + "\n")
    with pytest.raises(RoilakeError, match=r"libroom.so is older than kernel.c; run: python -m roilake.native"):
        native.load(source)


def test_a_compiler_that_is_missing_or_complains_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "kernel.c"
    source.write_text("int x = ;")
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(RoilakeError, match="no C compiler 'no-such-compiler'; apt-get install gcc"):
        native.build(source)
    monkeypatch.setenv("CC", "cc")
    with pytest.raises(RoilakeError, match="error: expected expression"):
        native.build(source)
    assert not list(tmp_path.glob("*.so")) and not list(tmp_path.glob("*.tmp"))


def test_packed_keys_sort_as_their_parts_and_have_bounds() -> None:
    window, slot, bucket = np.array([[1, 0, 2], [0, 7, 5], [0, 7, 4], [0, 8, 0], [3, 0, 0]]).T
    keys = packed_keys(window, slot, bucket)
    assert np.argsort(keys).tolist() == [2, 1, 3, 0, 4]
    most = packed_keys(np.array([2**23 - 1]), np.array([2**16 - 1]), np.array([2**24 - 1]))
    assert most.tolist() == [2**63 - 1] and packed_keys(*np.empty((3, 0), np.int64)).tolist() == []
    with pytest.raises(RoilakeError, match=r"16777216 buckets of 16777216; set roi\.plan: local"):
        packed_keys(np.array([0]), np.array([0]), np.array([2**24]))
    with pytest.raises(RoilakeError, match="-1 slots"):
        packed_keys(np.array([0]), np.array([-1]), np.array([0]))
