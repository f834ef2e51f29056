"""What one night left in the lake, read at the table versions that belong together, without Spark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

from roilake.lake import TABLES, Lake, Publication, count_by, count_nulls
from roilake.runtime.kinds import Kind, Place, kind_of

EXAMPLES = 3
Measure = dict[str, Any]
"""value, low, high (each a float or None) and n."""
Measures = dict[str, dict[str, Measure]]
"""Model to metric to Measure."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Night:
    """``place`` is where its models are looked at, among ``places``. ``metrics[split, slice][model][metric]`` is a
    Measure; ``rows`` counts the night's own rows by table; ``new``
    counts nodes first seen this night by type; ``nulls`` counts nulls in the night's events by column; ``rois``
    counts regions by (side, split), an item's split being that of the window it was cut for; ``shown`` counts
    impressions by (split, click, conversion); ``gates`` and ``quarantine`` are empty in a night without."""

    ds: date
    run_id: str
    code_revision: str
    config: Mapping[str, Any]
    versions: Mapping[str, int]
    metrics: Mapping[tuple[str, str], Measures]
    curves: Mapping[str, Mapping[str, Any]]
    runs: tuple[Row, ...]
    gates: tuple[Row, ...]
    quarantine: tuple[Row, ...]
    rows: Mapping[str, int]
    nodes: Mapping[str, int]
    edges: Mapping[str, int]
    new: Mapping[str, int]
    nulls: Mapping[str, int]
    rois: Mapping[tuple[str, str], int]
    shown: Mapping[tuple[str, int | None, int | None], int] = field(default_factory=dict)
    chosen: Place | None = None

    @property
    def default_model(self) -> str:
        return str(self.config["default_model"])

    @property
    def kind(self) -> Kind:
        return kind_of(self.config)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where this night has judged its models; the first stands for it."""
        return judged_places(self.kind, self.metrics)

    @property
    def place(self) -> Place:
        return self.chosen or self.places[0]

    def at(self, place: Place) -> Night:
        """The same night, looked at there."""
        return replace(self, chosen=place)

    @property
    def measures(self) -> Measures:
        """Model to metric to Measure, where the night is looked at."""
        return merged(self.metrics, self.place)

    @property
    def differences(self) -> Measures:
        """What other models have more than the default one there, paired."""
        return self.metrics.get((self.place.split, f"delta_vs_{self.default_model}"), {})

    def run(self, job: str) -> Row | None:
        """The row of ``runs`` of this job."""
        return next((run for run in self.runs if run["job"] == job), None)


def judged_places(kind: Kind, metrics: Mapping[tuple[str, str], Measures]) -> tuple[Place, ...]:
    """The places of a kind that these metrics have; the last one, where they have none."""
    found = tuple(
        place for place in kind.places if any((place.split, name) in metrics for name in place.slices)
    )
    return found or kind.places[-1:]


def merged(metrics: Mapping[tuple[str, str], Measures], place: Place) -> Measures:
    """Model to metric to Measure, of a place."""
    found: Measures = {}
    for name in reversed(place.slices):
        for model, measures in metrics.get((place.split, name), {}).items():
            found[model] = {**found.get(model, {}), **measures}
    return found


def read_night(lake: Lake, night: Publication) -> Night:
    """Read a night at its versions; it need not be published yet. The config is taken as it was written, so that a
    night of an older version of the code can be read too."""
    versions = night.versions
    return Night(
        ds=night.ds,
        run_id=night.run_id,
        code_revision=night.code_revision,
        config=json.loads(night.config),
        versions=versions,
        metrics=read_metrics(lake, versions.get("metrics"), night.ds),
        curves=_curves(lake, versions.get("models"), night.ds),
        runs=tuple(_runs(lake, versions.get("runs"), night.ds)),
        gates=tuple(_read(lake, "gates", versions.get("gates"), night.ds)),
        quarantine=tuple(_quarantine(lake, versions.get("quarantine"), night.ds)),
        rows={table: _rows(lake, table, version, night.ds) for table, version in sorted(versions.items())},
        nodes=_counts(lake, versions, "nodes", "node_type", {"ds": night.ds}),
        edges=_counts(lake, versions, "edges", "edge_type", _latest_graph(lake, night)),
        new=_counts(lake, versions, "node_ids", "node_type", {"ds": night.ds}),
        nulls=_nulls(lake, night),
        rois=_rois(lake, night),
        shown=_shown(lake, night),
    )


def read_metrics(lake: Lake, version: int | None, ds: date) -> dict[tuple[str, str], Measures]:
    """Metrics of a night: (split, slice) to model to metric to Measure."""
    found: dict[tuple[str, str], Measures] = {}
    for row in _read(lake, "metrics", version, ds):
        models = found.setdefault((row["split"], row["slice"]), {})
        measure = {name: row[name] for name in ("value", "low", "high", "n")}
        models.setdefault(row["model"], {})[row["metric"]] = measure
    return found


def _read(lake: Lake, table: str, version: int | None, ds: date) -> list[Row]:
    """Rows of ``ds`` of a small table; none if the night has no such table."""
    return [] if version is None else lake.to_arrow(table, version, filters={"ds": ds}).to_pylist()


def _curves(lake: Lake, version: int | None, ds: date) -> dict[str, dict[str, Any]]:
    """Learning curve of each model trained this night, from ``curve.json`` beside its weights."""
    paths = {
        row["name"]: lake.folder / row["path"] / "curve.json" for row in _read(lake, "models", version, ds)
    }
    return {name: json.loads(path.read_text()) for name, path in sorted(paths.items()) if path.exists()}


def _runs(lake: Lake, version: int | None, ds: date) -> list[Row]:
    """The jobs before publishing: of a rerun, the publishing job's own row is that of the earlier run."""
    rows = sorted(_read(lake, "runs", version, ds), key=lambda row: row["job"])
    earlier = (row for row in rows if row["job"] != "publish_night")
    return [{**row, "details": json.loads(row["details"] or "{}")} for row in earlier]


def _quarantine(lake: Lake, version: int | None, ds: date) -> list[Row]:
    """Rejected rows by job and reason, the most frequent first, with up to three examples."""
    rejected = sorted(_read(lake, "quarantine", version, ds), key=_reason_then_row)
    groups = [
        (key, list(rows)) for key, rows in groupby(rejected, key=lambda row: (row["job"], row["reason"]))
    ]
    groups.sort(key=lambda group: (-len(group[1]), group[0]))
    return [
        {"job": job, "reason": reason, "rows": len(rows), "examples": [row["row"] for row in rows[:EXAMPLES]]}
        for (job, reason), rows in groups
    ]


def _reason_then_row(row: Row) -> tuple[str, str, str]:
    return row["job"], row["reason"], row["row"]


def _rows(lake: Lake, table: str, version: int, ds: date) -> int:
    files = lake.active_files(table, version)
    return sum(file.rows for file in files if file.partition["ds"] == str(ds))


def _counts(
    lake: Lake, versions: Mapping[str, int], table: str, kind: str, where: Mapping[str, object]
) -> dict[str, int]:
    """Rows by type."""
    if table not in versions:
        return {}
    found = count_by(lake, table, versions[table], (kind,), filters=where)
    return {key: count for (key,), count in sorted(found.items())}


def _latest_graph(lake: Lake, night: Publication) -> dict[str, object]:
    """The graph as of the end of the night, among those as of its windows' starts."""
    files = lake.active_files("edges", night.versions["edges"]) if "edges" in night.versions else []
    starts = [file.partition["as_of"] for file in files if file.partition["ds"] == str(night.ds)]
    return {"ds": night.ds, "as_of": max(starts, default=str(night.ds))}


def _nulls(lake: Lake, night: Publication) -> dict[str, int]:
    """Nulls among the night's events, by column that has any."""
    if "events" not in night.versions:
        return {}
    found = count_nulls(lake, "events", night.versions["events"], filters={"ds": night.ds})
    return {name: found[name] for name in TABLES["events"].names if found.get(name)}


def _rois(lake: Lake, night: Publication) -> dict[tuple[str, str], int]:
    if "rois" not in night.versions:
        return {}
    keys = ("side", "as_of", "split")
    found = count_by(lake, "rois", night.versions["rois"], keys, filters={"ds": night.ds})
    split_of = {as_of: split for side, as_of, split in found if side == "request"}
    counts: dict[tuple[str, str], int] = {}
    for (side, as_of, _), count in sorted(found.items()):
        place = side, split_of.get(as_of, "unused")
        counts[place] = counts.get(place, 0) + count
    return counts


def _shown(lake: Lake, night: Publication) -> dict[tuple[str, int | None, int | None], int]:
    """Only clicked rows are opened: of the others the log tells how many there are."""
    if "impressions" not in night.versions:
        return {}
    version, keys = night.versions["impressions"], ("split", "click", "conversion")
    counts = count_by(lake, "impressions", version, keys, filters={"ds": night.ds, "labelled": 1})
    for file in lake.active_files("impressions", version):
        if file.partition["ds"] == str(night.ds) and file.partition["labelled"] == "0":
            split = file.partition["split"]
            counts[split, None if split == "unbiased" else 0, None] += file.rows
    return dict(counts)


def read_fanout(folder: Path) -> list[Row]:
    """Points of the fan-out curve (model, fanout, seconds, auc), if a benchmark left ``reports/fanout.json``."""
    path = folder / "reports" / "fanout.json"
    return json.loads(path.read_text()) if path.exists() else []
