"""Leakage checks of a night's tables: nothing that answers a request is from after its start, nor asked twice.

They are held against file footers and sums, so that they cost seconds: edges and events by the latest time of each
file; vectors and neighbour lists by what they add up to (an event too many shows in the sum of degrees, a node too
early in the largest id, for ids are given in order of first appearance)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.metrics.gates import GateResult, result_of
from roilake.metrics.night_tables import NightTables, late_models, late_rows, midnight, shared_rows
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.graph import Window, night_windows


def check_leaks(night: NightTables, config: RetrievalConfig) -> Iterator[GateResult]:
    """All checks of this file."""
    windows = night_windows(night.lake, config, night.ds)
    requests = night.read("requests")
    yield result_of("no_shared_events", shared_events(requests), 3)
    yield result_of("requests_in_their_windows", misplaced_requests(requests, windows), 3)
    if config.graph.edges:
        edges = night.spans("edges", "last_time", "as_of")
        late = late_rows("edges", edges, "as_of", "last_time", lambda as_of: midnight(date.fromisoformat(as_of)))
        yield result_of("edges_before_requests", late, 3)
    yield result_of("events_before_end", late_events(night), 3)
    known = known_nodes(night.read("interest_vectors"))
    yield result_of("vectors_before_requests", unknown_events(night, known), 3)
    yield result_of("lists_before_requests", unknown_neighbours(night.read("adjacency"), known), 3)
    start = min(window.as_of for window in windows if window.split == "validation")
    yield result_of("models_before_requests", late_models(night, start), 3)


@dataclass(frozen=True)
class Known:
    """The nodes of one type that have a vector as of an instant: how many events theirs are, and the largest id."""

    events: int
    least: int
    largest: int


def shared_events(requests: DataFrame) -> Iterator[str]:
    """Events behind requests of more than one split: by id, or (under another id) by user, query, item and time."""
    past = requests.where(F.col("split") != "serve")
    yield from shared_rows("requests", past, ("event_id",), "event ids")
    yield from shared_rows("requests", past, ("user", "query", "item", "time"), "events by content")


def misplaced_requests(requests: DataFrame, windows: Sequence[Window]) -> Iterator[str]:
    """Windows with a request from before their start or from their end on."""
    ends = {(window.split, window.as_of): window.end for window in windows}
    times = (F.date_format(f("time"), "yyyy-MM-dd HH:mm:ss") for f in (F.min, F.max))
    spans = requests.groupBy("split", "as_of").agg(*(t.alias(n) for t, n in zip(times, ("low", "high"), strict=True)))
    for split, as_of, low, high in sorted(spans.collect()):
        end = ends.get((split, as_of))
        if end is None:
            yield f"requests: {split} as of {as_of} is no window of the night"
        elif low < str(as_of) or high > f"{end} 00:00:00" or (split != "serve" and high >= f"{end} 00:00:00"):
            yield f"requests: {split} as of {as_of} holds times {low} to {high}, must be within {as_of} to {end}"


def late_events(night: NightTables) -> Iterator[str]:
    """Nights up to this one that ingested an event from after their end."""
    spans = night.spans("events", "time", "ds", all_nights=True)
    earlier = {ds: span for ds, span in spans.items() if ds <= str(night.ds)}
    return late_rows("events", earlier, "ds", "time", lambda ds: midnight(date.fromisoformat(ds) + timedelta(days=1)))


def known_nodes(vectors: DataFrame) -> dict[tuple[date, str], Known]:
    """By (as_of, node type)."""
    sums = (F.sum("degree").alias("events"), F.min("degree").alias("least"), F.max("id").alias("largest"))
    rows = vectors.groupBy("as_of", "node_type").agg(*sums).collect()
    return {(row["as_of"], row["node_type"]): Known(row["events"], row["least"], row["largest"]) for row in rows}


def unknown_events(night: NightTables, known: Mapping[tuple[date, str], Known]) -> Iterator[str]:
    """Instants whose vectors rest on more or fewer events than there were before, or on none."""
    events = night.lake.read("events", version=night.versions["events"]).where(F.col("ds") <= F.lit(night.ds))
    instants = sorted({as_of for as_of, _ in known})
    counts = [
        F.count(F.when(F.col("time") < F.lit(str(as_of)).cast("timestamp"), F.col(key)))
        for as_of in instants
        for key in ("user", "query", "item")
    ]
    found: Iterator[int] = iter(events.agg(*counts).first() or () if counts else ())
    for as_of in instants:
        for key, expected in zip(("user", "query", "item"), found, strict=False):
            nodes = known.get((as_of, key), Known(0, 1, -1))
            if nodes.events != expected or nodes.least < 1:
                yield (
                    f"interest_vectors: those of type {key} as of {as_of} rest on {nodes.events} events, "
                    f"must be the {expected} before it"
                )


def unknown_neighbours(lists: DataFrame, known: Mapping[tuple[date, str], Known]) -> Iterator[str]:
    """Instants whose neighbour lists name a node that had no event before. What published facts join to such neighbours
    may be new: they are no events."""
    largest = (F.max("src").alias("source"), F.max(F.array_max("neighbours")).alias("target"))
    for row in sorted(lists.groupBy("as_of", "edge_type").agg(*largest).collect()):
        kinds = row["edge_type"].split("_")
        ends = [(kinds[1], row["target"]), *([] if kinds[2:] == ["known"] else [(kinds[0], row["source"])])]
        for kind, node in sorted(ends):
            most = known.get((row["as_of"], kind), Known(0, 1, -1)).largest
            if node is not None and node > most:
                yield (
                    f"adjacency: {row['edge_type']} as of {row['as_of']} names {kind} {node}, must be at most {most}, "
                    "the last one with an event before it"
                )
