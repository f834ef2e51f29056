"""A night's estimate as a person reads it."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from roilake.estimate.plan import Estimate
from roilake.report.formatting import duration, number, size


def print_estimate(found: Estimate, console: Console) -> None:
    """A line per step, the totals, the pipeline's notes, and where the rates come from."""
    table = Table(title=f"Estimate of {found.pipeline} night {found.ds}", box=box.SIMPLE_HEAD)
    table.add_column("step")
    for name in ("rows in", "written", "memory", "time", "disk added"):
        table.add_column(name, justify="right")
    for step in found.steps:
        counts = number(step.rows), size(step.bytes), size(step.memory)
        table.add_row(step.step, *counts, duration(step.seconds), size(step.disk))
    console.print(table)
    disk, memory = max(step.disk for step in found.steps), max(step.memory for step in found.steps)
    console.print(
        f"In all {duration(found.seconds)} in one process, {duration(found.seconds_apart)} as separate steps; "
        f"at most {size(disk)} more disk ({size(found.free_disk)} free) "
        f"and {size(memory)} of memory ({size(found.free_memory)} free)"
    )
    for note in found.notes:
        console.print(note, soft_wrap=True)
    for origin in dict.fromkeys(step.origin for step in found.steps):
        steps = [step.step for step in found.steps if step.origin == origin]
        console.print(
            f"Rates of {'all steps' if len(steps) == len(found.steps) else ', '.join(steps)}: {origin}", soft_wrap=True
        )
