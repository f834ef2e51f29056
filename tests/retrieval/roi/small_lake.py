"""A small random graph, requests and vectors in a real lake, and the ROIs that its definition gives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roilake.lake import TABLES, Lake, Run
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.roi.layout import ITEM_ROOTS, REQUEST_ROOTS, RoiLayout, node_types
from tests.retrieval.roi import reference

DS = date(2020, 1, 10)
AS_OFS = (date(2020, 1, 4), date(2020, 1, 7), date(2020, 1, 11))  # the first has no graph yet
COUNTS = {"user": 11, "query": 7, "item": 13}
DIM = 5
HOPS = {
    "request_hops": [
        {"user_query": 2, "user_item": 3, "query_item": 2, "user_item_recent": 1},
        {"item_user": 2, "item_query": 1, "query_user": 2},
    ],
    "item_hops": [{"item_user": 3, "item_item_similar": 2}, {"user_item": 2}, {"item_query": 1}],
}


def night_config(**roi: object) -> RetrievalConfig:
    columns = {"user": "u", "item": "i", "time": "t"}
    return RetrievalConfig.model_validate(
        {
            "pipeline": "retrieval",
            "name": "small",
            "seed": 5,
            "source": {"events": {"path": "-", "format": "csv", "columns": columns}},
            "interest": {"dim": DIM},
            "roi": {"shards": 2, **HOPS, **roi},
            "models": {"zoomer": {"kind": "zoomer"}},
        }
    )


@dataclass(frozen=True)
class SmallNight:
    """What was written: lists and whole-number vectors by window, the request rows, and (user, time, item, query) of
    what users did."""

    graphs: dict[date, reference.Graph]
    vectors: dict[date, reference.Vectors]
    requests: list[dict]
    events: list[tuple[int, int, int, int]]

    def history(self, config: RetrievalConfig, user: int, time: datetime | None) -> reference.History:
        own = [event[1:] for event in self.events if event[0] == user]
        weights = tuple(config.roi.weights.model_dump().values())
        return reference.History(own, _micros(time) if time else 0, weights, config.history.max_events)

    def expected(self, config: RetrievalConfig) -> dict[tuple, tuple]:
        """(side, as_of, root) -> (split, user, query, time, positives, repeats, and the four columns of the tree)."""
        layouts = {
            "request": RoiLayout.of(config.roi.request_hops, REQUEST_ROOTS),
            "item": RoiLayout.of(config.roi.item_hops, ITEM_ROOTS),
        }
        rows = {}
        for as_of in AS_OFS:
            where = self.graphs[as_of], self.vectors[as_of]
            rules = config.roi.sampler, config.seed
            for item in range(COUNTS["item"]):
                history = self.history(config, -1, None)
                tree = reference.sample(*where, layouts["item"], [item], *rules, history)
                rows["item", as_of, item] = ("item", -1, -1, None, [], 0, *tree)
            for r in (r for r in self.requests if r["as_of"] == as_of):
                roots, history = [r["user"], r["query"]], self.history(config, r["user"], r["time"])
                tree = reference.sample(*where, layouts["request"], roots, *rules, history)
                events = [e for e in self.requests if e["request_id"] == r["request_id"]]
                chosen = sorted({e["item"] for e in events if e["item"] >= 0})
                had = {item for _, item, _ in history.before}
                known = r["time"], chosen, sum(item in had for item in chosen)
                rows["request", as_of, r["request_id"]] = (r["split"], *roots, *known, *tree)
        return rows


def _micros(time: datetime) -> int:
    return round(time.timestamp()) * 1_000_000


def content(lake: Lake) -> dict[tuple, tuple]:
    """The rows of ``rois`` as ``SmallNight.expected`` gives them."""
    rows = lake.to_arrow("rois", lake.version("rois")).to_pylist()
    trees = ("neighbours", "relevance", "linked", "ages")
    found = {
        (r["side"], r["as_of"], r["root"]): (
            *(r[name] for name in ("split", "user", "query", "time")),
            sorted(r["positives"]),
            *(r[name] for name in ("repeats", *trees)),
        )
        for r in rows
    }
    assert len(found) == len(rows)
    return found


def write_tables(lake: Lake, seed: int = 0) -> SmallNight:
    """Write the tables of one night that regions are cut from, its histories parted over two nights."""
    rng = np.random.default_rng(seed)
    floats = {as_of: _floats(rng) for as_of in AS_OFS[1:]}
    graphs = {as_of: _graph(rng) for as_of in AS_OFS[1:]}
    lists = [
        {"as_of": as_of, "edge_type": kind, "src": src, "neighbours": found, "weights": [1.0] * len(found)}
        for as_of, graph in graphs.items()
        for kind, of in graph.items()
        for src, found in of.items()
    ]
    vectors = [
        {"as_of": as_of, "node_type": kind, "id": n, "vector": vector.tolist(), "norm": 1.0, "degree": 1}
        for as_of, of in floats.items()
        for kind, values in of.items()
        for n, vector in enumerate(values)
    ]
    nodes = [
        {"node_type": kind, "key": f"{kind}{n}", "id": n, "fields": [], "terms": []}
        for kind, count in COUNTS.items()
        for n in range(count)
    ]
    requests = _requests(rng)
    # A row of another night, which must not be read.
    other = {"as_of": AS_OFS[1], "edge_type": "user_item", "src": 0, "neighbours": [12], "weights": [9.0]}
    for table, rows in {"adjacency": lists, "interest_vectors": vectors, "nodes": nodes, "requests": requests}.items():
        _write(lake, table, rows, DS)
    _write(lake, "adjacency", [other], DS + timedelta(days=1))
    events = _events(rng)
    for number, night in enumerate((DS - timedelta(days=1), DS)):
        mine = [dict(zip(("user", "time", "item", "query"), e, strict=True)) for e in sorted(events[number::2])]
        _write(lake, "histories", mine, night)
    empty = {kind: np.zeros((0, DIM), int) for kind in COUNTS}
    whole = {as_of: _quantised(of) for as_of, of in floats.items()}
    return SmallNight({AS_OFS[0]: {}, **graphs}, {AS_OFS[0]: empty, **whole}, requests, events)


def _graph(rng: np.random.Generator) -> reference.Graph:
    kinds = ("user_query", "query_user", "user_item", "item_user", "query_item", "item_query", "item_item_similar")
    graph: reference.Graph = {}
    for kind in kinds:
        source, destination = (COUNTS[node_type] for node_type in node_types(kind))
        sizes = rng.integers(0, destination + 1, source)
        graph[kind] = {n: rng.permutation(destination)[:size].tolist() for n, size in enumerate(sizes) if size}
    return graph


def _floats(rng: np.random.Generator) -> dict[str, NDArray]:
    """Vectors of all nodes but the last of each type, which the window has not seen."""
    return {kind: rng.standard_normal((count - 1, DIM)).astype(np.float32) for kind, count in COUNTS.items()}


def _quantised(floats: dict[str, NDArray]) -> reference.Vectors:
    scale = max(float(np.abs(values).max()) for values in floats.values())
    return {kind: np.rint(values.astype(float) * 127 / scale).astype(int) for kind, values in floats.items()}


def _requests(rng: np.random.Generator) -> list[dict]:
    """Thirty events of ten requests a window, of one user and query each, or of two instants; the last window is that
    to score, without items."""
    rows = []
    for number, as_of in enumerate(AS_OFS):
        split = ("train", "test", "serve")[number]
        for event in range(30):
            request = int(rng.integers(0, 10))
            item = -1 if split == "serve" else int(rng.integers(0, COUNTS["item"]))
            moment = datetime(2020, 1, 4, tzinfo=UTC) + timedelta(days=number, hours=request % 7)
            row = {"split": split, "as_of": as_of, "request_id": 1000 * number + request, "item": item}
            rows.append(row | {"user": request % 8, "query": request % 8 - 1, "label": 1.0, "time": moment})
            rows[-1] |= {"event_id": f"{number}-{event}", "known_user": number > 0}
    return rows


def _events(rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """Distinct events, many of them at the instant of a request."""
    start = _micros(datetime(2020, 1, 3, tzinfo=UTC))
    hours = rng.integers(0, 100, 250)
    columns = rng.integers(0, 9, 250), start + hours * 3_600_000_000, rng.integers(0, COUNTS["item"], 250)
    return sorted({tuple(map(int, row)) for row in zip(*columns, rng.integers(-1, COUNTS["query"], 250), strict=True)})


def _write(lake: Lake, table: str, rows: list[dict], ds: date) -> None:
    schema = TABLES[table].arrow_schema
    filled = pa.Table.from_pylist([{**row, "ds": ds} for row in rows], schema=schema)
    lake.write(table, filled, where={"ds": ds}, run=Run("fixture", "retrieval", ds, "fixture", "-", "-"))
