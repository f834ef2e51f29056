"""A night's estimate as a person reads it."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from roilake.pipelines.retrieval.estimate import Estimate
from roilake.report.formatting import duration, number, size


def print_estimate(found: Estimate, console: Console) -> None:
    """A line per job, the totals, the plan for regions of interest, and where the rates come from."""
    table = Table(title=f"Estimate of night {found.ds}", box=box.SIMPLE_HEAD)
    table.add_column("job")
    for name in ("rows in", "written", "memory", "time", "disk added"):
        table.add_column(name, justify="right")
    for job in found.jobs:
        table.add_row(
            job.job, number(job.rows), size(job.bytes), size(job.memory), duration(job.seconds), size(job.disk)
        )  # fmt: skip
    console.print(table)
    counted = "counted" if found.events_known else "guessed: the night is not ingested"
    disk = max(job.disk for job in found.jobs)
    memory = max(job.memory for job in found.jobs)
    console.print(
        f"{number(found.events)} events, {number(found.new_events)} of them new ({counted}); {found.windows} windows"
    )
    console.print(
        f"In all {duration(found.seconds)}; at most {size(disk)} more disk ({size(found.free_disk)} free) "
        f"and {size(memory)} of memory ({size(found.free_memory)} free)"
    )
    console.print(f"Regions of interest: {found.roi.why}")
    for origin in dict.fromkeys(job.origin for job in found.jobs):
        jobs = [job.job for job in found.jobs if job.origin == origin]
        console.print(f"Rates of {'all jobs' if len(jobs) == len(found.jobs) else ', '.join(jobs)}: {origin}")
