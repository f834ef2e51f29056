"""The pipelines as people and machines read them."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from roilake.runtime.registry import pipelines


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
