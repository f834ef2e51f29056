"""Pipelines and tables as people and machines read them, made from their definitions. ``python -m
roilake.runtime.dictionary`` prints the data dictionary."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from roilake.lake import Column, Table
from roilake.metrics.registry import listed
from roilake.runtime.registry import owner, pipelines, readers, tables, writers

_HEAD = """# Data dictionary

Made by `make dictionary` from the tables' definitions; do not edit. A lake (layout 4) is a folder with one Delta
table per section. `roilake.read(TABLE)` gives the rows of the last published night, of any other, or of all of them.

* Times are UTC; `ds` is a date, the logical date of the night that made the row.
* *Each night replaces its own rows*: running a night again leaves the same table. What a reader of night `ds` sees are
  the rows of that `ds`; of a *cumulative* table, the rows of that `ds` and of all before it.
* A table belongs to one pipeline, or is *shared* by all and has a column `pipeline`.
* A column is never null unless it is marked so.
* `publish_night` reads every table: it audits them and makes their versions visible together.
"""


_METRICS = """## Metric definitions

Relevance is binary. `@K` stands for a whole number: the first K of a request's list, and the list as it is where it
is shorter; `[@K]` may be left out. Ties of scores count a half in metrics of scores; in lists the lower item comes
first. A request without a relevant item has no value in metrics of rankings and is left out of the mean, but for those
named `_or_0`. Intervals (95 %) are over users: of AUCs and PR-AUC by DeLong with users as clusters, on the logit scale,
so that they stay within 0 to 1; of coverage by the jackknife, cut off at 0 and 1; of all others by a Poisson bootstrap.
"""
_SLICES = """## Slice names

A slice `NAME=VALUE` holds the rows with that value of what a night's config (`evaluation.slices`) or a caller cuts by.
`delta_vs_default` holds paired differences, the row's model minus the one that serves that night (table `champions`, or
else the config's `default_model`), of the whole split, and `delta_vs_default on SLICE` those on any other slice; where
the interval leaves out 0 the two models differ there.
`calibration bin NN` holds `predicted` and `observed` of a bin of probabilities, `leakage_check` the AUC of shuffled
labels.
"""
_K = {"never": "", "may": "[@K]", "must": "@K"}
_BETTER = {1: "more", -1: "less", 0: ""}


def described_pipelines() -> list[dict[str, Any]]:
    """Each pipeline's name, title, steps (name, module, reads, writes), tables (name, meaning) and upstreams."""
    return [
        {
            "name": pipeline.name,
            "title": pipeline.title,
            "steps": [
                {"name": step.name, "module": pipeline.module(step.name), "reads": step.reads, "writes": step.writes}
                for step in pipeline.steps
            ],
            "tables": {table.name: table.meaning for table in pipeline.tables},
            "served": pipeline.served,
            "upstreams": [vars(upstream) for upstream in pipeline.upstreams],
        }
        for pipeline in pipelines().values()
    ]


def print_pipelines(console: Console) -> None:
    """A block of lines per pipeline."""
    for pipeline in pipelines().values():
        console.print(f"[bold]{pipeline.name}[/bold]  {pipeline.title}", soft_wrap=True)
        console.print(f"  steps      {' '.join(pipeline.step_names)}", soft_wrap=True)
        console.print(f"  tables     {' '.join(table.name for table in pipeline.tables)}", soft_wrap=True)
        for upstream in pipeline.upstreams:
            need = "optional" if upstream.optional else "required"
            console.print(
                f"  upstream   {upstream.pipeline}.{upstream.table} ({need}): {upstream.purpose}", soft_wrap=True
            )


def markdown() -> str:
    """All tables as one Markdown text: first an overview, then a section for each."""
    found = tables()
    rows = [f"| [`{t.name}`](#{t.name}) | {_owner(t)} | {_one_line(t.meaning)} |" for t in found.values()]
    overview = "\n".join(["| table | pipeline | holds |", "|---|---|---|", *rows]) + "\n"
    return "\n".join([_HEAD, overview, *(_section(table) for table in found.values()), _metrics(), _slices()])


def _metrics() -> str:
    """What each metric is."""
    own = {name: pipeline.name for pipeline in pipelines().values() for name in pipeline.metrics}
    rows = [
        f"| `{metric.name}{_K[metric.at_k]}` | {metric.label} | {_BETTER[metric.direction]} | "
        f"{_one_line(metric.definition)}{f'; {own[metric.name]} only' if metric.name in own else ''} |"
        for metric in listed(own)
    ]
    return "\n".join([_METRICS, "| metric | called | better | is |", "|---|---|---|---|", *rows, ""])


def _slices() -> str:
    """What each slice holds."""
    rows = [
        f"| `{name}` | {pipeline.name} | {_one_line(text)} |"
        for pipeline in pipelines().values()
        for name, text in pipeline.slices
    ]
    return "\n".join([_SLICES, "| slice | pipeline | rows |", "|---|---|---|", *rows, ""])


def _section(table: Table) -> str:
    read_by = f" Read by {_names(readers(table.name))}." if readers(table.name) else ""
    facts = [
        f"* Key: {_names(table.key)}. Partitioned by {_names(table.partitions)}.",
        f"* Written by {_names(writers(table.name))}.{read_by}",
        f"* {'Cumulative' if table.cumulative else 'Each night replaces its own rows'}; pipeline: {_owner(table)}.",
    ]
    columns = ["| column | type | null | meaning |", "|---|---|---|---|", *map(_row, table.columns)]
    return "\n".join([f"## {table.name}", "", table.meaning, "", *facts, "", *columns, ""])


def _owner(table: Table) -> str:
    own = owner(table.name)
    return own.name if own else "shared"


def _row(column: Column) -> str:
    kind, null = column.spark_type.simpleString(), "yes" if column.nullable else ""
    return f"| `{column.name}` | {kind} | {null} | {_one_line(column.meaning)} |"


def _names(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def _one_line(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    print(markdown(), end="")
