"""What every pipeline's small night is held to."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from roilake.lake import TABLES, Lake
from roilake.runtime.pipeline import Pipeline
from roilake.runtime.step import StepResult

Results = Mapping[str, StepResult]


def check_published(lake: Lake, pipeline: Pipeline, results: Results, gates: Collection[str]) -> None:
    """All steps ran in their order, just these gates passed, and every published table has each key once and no null
    where there may be none."""
    assert [*results] == [*pipeline.step_names]
    rows = lake.to_arrow("gates", lake.version("gates"), filters={"pipeline": pipeline.name}).to_pylist()
    assert {row["gate"] for row in rows} == {*gates} and all(row["passed"] for row in rows)
    published = lake.publication(pipeline.name)
    assert published is not None
    for name, version in published.versions.items():
        rows, definition = lake.to_arrow(name, version), TABLES[name]
        assert not [c.name for c in definition.columns if rows[c.name].null_count and not c.nullable], name
        assert rows.group_by(list(definition.key)).aggregate([]).num_rows == rows.num_rows > 0, name


def check_declared(pipeline: Pipeline, results: Results) -> None:
    """Steps read and wrote no table but those that they declare."""
    for step in pipeline.steps:
        result = results[step.name]
        assert set(result.inputs) <= set(step.reads), step.name
        assert set(result.outputs) <= set(step.writes), step.name
