from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from roilake import native
from roilake.errors import RoilakeError
from roilake.pipelines.retrieval.histories import Histories, microseconds
from roilake.pipelines.retrieval.roi import ITEM_ROOTS, REQUEST_ROOTS, RoiLayout, kernel
from roilake.pipelines.retrieval.roi.history import cut_histories
from roilake.pipelines.retrieval.roi.kernel import Lists, Queries, expand
from roilake.pipelines.retrieval.roi.layout import RECENT
from roilake.pipelines.retrieval.roi.sampling import Sampling, focal, sample_tree
from roilake.pipelines.retrieval.roi.shuffled import packed_keys
from roilake.pipelines.retrieval.roi.store import NODE_TYPES, RoiStore
from tests.retrieval.roi import reference

LAYOUTS = (
    RoiLayout.of(({"user_item": 2, "query_item": 3, "user_item_recent": 2},), REQUEST_ROOTS),
    RoiLayout.of(
        ({"user_query": 3, "query_user": 2}, {"query_item": 2, "query_user": 3, "user_query": 1}), REQUEST_ROOTS
    ),
    RoiLayout.of(({"item_user": 4, "item_item_similar": 1}, {"user_item": 3}, {"item_user": 2}), ITEM_ROOTS),
)
EDGE_TYPES = sorted({"item_query", *(edge_type for layout in LAYOUTS for edge_type in layout.edge_types)} - {RECENT})
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


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    layout=st.sampled_from(LAYOUTS),
    sampler=st.sampled_from(["roi", "weighted", "uniform"]),
    longest=st.sampled_from([1, 5, 9, 150]),
    span=st.sampled_from([0, 1, 127]),
    most=st.sampled_from([1, 4, 200]),
)
def test_trees_are_those_of_the_definition(
    seed: int, layout: RoiLayout, sampler: str, longest: int, span: int, most: int
) -> None:
    rng = np.random.default_rng(seed)
    graph, vectors = random_graph(rng, longest, span)
    weights = tuple((rng.integers(-2, 5, 3) / 4).tolist())
    events = random_events(rng, max(NODES, longest), 10 * longest)
    rows = random_requests(rng, 7)
    # -1 is a missing root; ids beyond the graph have neither list nor vector.
    roots_BR = rng.integers(-1, NODES + 200, (7, len(layout.roots))).astype(np.int32) % (NODES + 3) - 1
    store, tree, focal_BD = store_of(graph, vectors), None, None
    if layout.roots == REQUEST_ROOTS:
        rows = rows.set_column(0, "user", pa.array(roots_BR[:, 0])).set_column(1, "query", pa.array(roots_BR[:, 1]))
        sampling = Sampling({"request": layout}, sampler, seed, weights, most)
        cut = cut_histories(rows, layout, sampling, Histories.of(*events.T), store.history_graph)
        tree, focal_BD, repeats_B = cut
    else:
        focal_BD = focal(store.vectors, layout.roots, roots_BR)
    tree = sample_tree(store, layout, roots_BR, focal_BD, sampler, seed, tree)
    times = microseconds(rows["time"]).tolist()
    for row, roots in enumerate(roots_BR.tolist()):
        own = [tuple(event[1:]) for event in events.tolist() if event[0] == roots[0]]
        history = reference.History(own, times[row], weights, most)
        expected = reference.sample(graph, vectors, layout, roots, sampler, seed, history)
        assert tuple(part[row].tolist() for part in vars(tree).values()) == expected
        if layout.roots == REQUEST_ROOTS:
            had = {item for _, item, _ in history.before}
            assert repeats_B[row] == sum(item in had for item in rows["positives"][row].as_py())


def random_events(rng: np.random.Generator, nodes: int, most: int) -> NDArray[np.int64]:
    """(user, time, item, query) of distinct events, many of them at one time."""
    count = int(rng.integers(0, most))
    seconds = rng.choice([0, 1, 2, 3600, 86_400, 2**31], count) * int(rng.integers(1, 3))
    columns = (
        rng.integers(0, NODES, count),
        seconds * 1_000_000,
        rng.integers(0, nodes, count),
        rng.integers(-1, 5, count),
    )
    return np.unique(np.stack(columns, axis=1), axis=0)


def random_requests(rng: np.random.Generator, count: int) -> pa.Table:
    time = pa.array(rng.choice([0, 2, 3600, 86_401, 2**32], count) * 1_000_000, pa.timestamp("us", "UTC"))
    positives = pa.array([rng.integers(0, NODES, n).tolist() for n in rng.integers(0, 4, count)], pa.list_(pa.int32()))
    ids = pa.array(np.zeros(count, np.int32))
    return pa.table({"user": ids, "query": ids, "time": time, "positives": positives})


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**40), st.sampled_from([0, 1, 999_999, 2**36]), st.sampled_from(["roi", "weighted", "uniform"]))
def test_nothing_at_or_after_a_request_is_in_its_region(seed: int, later: int, sampler: str) -> None:
    """Events at the request's instant, and after it, change nothing of its region."""
    rng = np.random.default_rng(seed)
    layout, (graph, vectors) = LAYOUTS[0], random_graph(rng, 9, 127)
    row, store = random_requests(rng, 1), store_of(graph, vectors)
    row = row.set_column(1, "query", pa.array(rng.integers(-1, 5, 1).astype(np.int32)))
    past = random_events(rng, NODES, 90)
    now = int(microseconds(row["time"])[0])
    item, query = rng.integers(0, NODES, 20), rng.integers(0, 5, 20)
    more = np.stack([np.zeros(20, np.int64), now + rng.integers(0, later + 1, 20), item, query], axis=1)
    sampling, found = Sampling({"request": layout}, sampler, 0, (1.0, 1.0, 1.0), 200), []
    for events in (past[past[:, 1] < now], np.concatenate([past, more])):
        tree, focal_BD, repeats_B = cut_histories(row, layout, sampling, Histories.of(*events.T), store.history_graph)
        found.append([part.tolist() for part in (*vars(tree).values(), focal_BD, repeats_B)])
    assert found[0] == found[1]


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
