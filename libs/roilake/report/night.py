"""What one night of a pipeline left in the lake, read at the table versions that belong together, without Spark."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from roilake.lake import TABLES, Lake, Publication
from roilake.masking import masked
from roilake.metrics.champion import Champion, champion_of
from roilake.metrics.slices import delta_vs_default
from roilake.report.section import Texts
from roilake.runtime.pipeline import PUBLISH, EvaluationSet, Pipeline, load
from roilake.runtime.registry import find

EXAMPLES = 3
Measure = dict[str, Any]
"""value, low, high (each a float or None) and n."""
Measures = dict[str, dict[str, Measure]]
"""Model to metric to Measure."""
Row = dict[str, Any]


@dataclass(frozen=True)
class NightData:
    """``metrics[split, slice][model][metric]`` is a Measure; ``rows`` counts the night's own rows by table;
    ``gates`` and ``quarantine`` are empty in a night without. ``own`` is what ``Pipeline.figures`` read; ``champion``
    who serves; ``chosen`` the evaluation set that the night is looked at on."""

    pipeline: Pipeline
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
    champion: Champion
    upstreams: Mapping[str, Any] = field(default_factory=dict)
    own: Any = None
    chosen: EvaluationSet | None = None

    @property
    def default_model(self) -> str:
        """The model that serves."""
        return self.champion.model

    @property
    def code(self) -> str:
        """The code revision, short: a commit's first characters, and whether the code differed from it."""
        commit, mark, edits = self.code_revision.partition("+")
        return f"{commit[:12]}{mark}{edits}"

    @property
    def texts(self) -> Texts:
        found: Texts = load(self.pipeline.texts) if self.pipeline.texts else Texts()
        return found

    @property
    def models(self) -> set[str]:
        """All that have been evaluated."""
        return {model for found in self.metrics.values() for model in found}

    @property
    def evaluated(self) -> tuple[EvaluationSet, ...]:
        """Where this night has evaluated its models; the first stands for it."""
        return sets_of(self.pipeline.evaluated, self.metrics)

    @property
    def on(self) -> EvaluationSet:
        """The evaluation set that the night is looked at on."""
        return self.chosen or self.evaluated[0]

    @property
    def several(self) -> bool:
        """Whether it has several evaluation sets."""
        return len(self.evaluated) > 1

    def at(self, chosen: EvaluationSet) -> NightData:
        """The same night, looked at on another evaluation set."""
        return replace(self, chosen=chosen)

    @property
    def measures(self) -> Measures:
        """Model to metric to Measure, on the set that is looked at."""
        return merged(self.metrics, self.on)

    @property
    def differences(self) -> Measures:
        """What other models have more than the default one there, paired."""
        return self.metrics.get((self.on.split, delta_vs_default()), {})

    def run(self, step: str) -> Row | None:
        """The row of ``runs`` of this step."""
        return next((run for run in self.runs if run["step"] == step), None)


def sets_of(sets: Sequence[EvaluationSet], metrics: Mapping[tuple[str, str], Measures]) -> tuple[EvaluationSet, ...]:
    """The evaluation sets that these metrics have; the last one, where they have none."""
    found = tuple(each for each in sets if any((each.split, name) in metrics for name in each.slices))
    return found or tuple(sets[-1:])


def merged(metrics: Mapping[tuple[str, str], Measures], on: EvaluationSet) -> Measures:
    """Model to metric to Measure, on an evaluation set."""
    found: Measures = {}
    for name in reversed(on.slices):
        for model, measures in metrics.get((on.split, name), {}).items():
            found[model] = {**found.get(model, {}), **measures}
    return found


def read_night(lake: Lake, night: Publication) -> NightData:
    """Read a night at its versions; it need not be published yet. The config is taken as it was written, so that a
    night of an older version of the code can be read too."""
    versions, pipeline = night.versions, find(night.pipeline)
    rows = {table: own_rows(lake, night, table) for table in ("metrics", "models", "runs", "gates", "quarantine")}
    return NightData(
        pipeline=pipeline,
        ds=night.ds,
        run_id=night.run_id,
        code_revision=night.code_revision,
        config=json.loads(masked(night.config)),
        versions=versions,
        metrics=by_slice(rows["metrics"]),
        curves=_curves(lake, rows["models"]),
        runs=tuple(_before_publishing(rows["runs"])),
        gates=tuple(rows["gates"]),
        quarantine=tuple(_by_reason(rows["quarantine"])),
        rows={table: _count(lake, night, table) for table in sorted(versions)},
        champion=champion_of(lake, night),
        upstreams=night.upstreams,
        own=load(pipeline.figures)(lake, night) if pipeline.figures else None,
    )


def own_rows(lake: Lake, night: Publication, table: str) -> list[Row]:
    """The night's own rows of a small table that pipelines share; none if it has no such table."""
    if table not in night.versions:
        return []
    where = {"pipeline": night.pipeline, "ds": night.ds}
    return lake.to_arrow(table, night.versions[table], filters=where).to_pylist()


def by_slice(rows: Sequence[Row]) -> dict[tuple[str, str], Measures]:
    """Rows of ``metrics`` as (split, slice) to model to metric to Measure."""
    found: dict[tuple[str, str], Measures] = {}
    for row in rows:
        models = found.setdefault((row["split"], row["slice"]), {})
        measure = {name: row[name] for name in ("value", "low", "high", "n")}
        models.setdefault(row["model"], {})[row["metric"]] = measure
    return found


def _curves(lake: Lake, models: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Learning curve of each model trained this night, from ``curve.json`` beside its weights."""
    files = {row["name"]: f"{row['path']}/curve.json" for row in models}
    return {n: json.loads(lake.files.read_text(f)) for n, f in sorted(files.items()) if lake.files.exists(f)}


def _before_publishing(runs: Sequence[Row]) -> list[Row]:
    """The steps before publishing: of a rerun, the publishing step's own row is that of the earlier run."""
    rows = sorted((row for row in runs if row["step"] != PUBLISH), key=lambda row: row["step"])
    return [{**row, "details": json.loads(row["details"] or "{}")} for row in rows]


def _by_reason(rejected: Sequence[Row]) -> list[Row]:
    """Rejected rows by step and reason, the most frequent first, with up to three examples."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in sorted(rejected, key=lambda row: row["row"]):
        found.setdefault((row["step"], row["reason"]), []).append(row["row"])
    return [
        {"step": step, "reason": reason, "rows": len(rows), "examples": rows[:EXAMPLES]}
        for (step, reason), rows in sorted(found.items(), key=lambda group: (-len(group[1]), group[0]))
    ]


def _count(lake: Lake, night: Publication, table: str) -> int:
    own = TABLES[table].own(night.pipeline, night.ds)
    return sum(file.rows for file in lake.active_files(table, night.versions[table], **own))
