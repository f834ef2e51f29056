"""The ``roilake`` command. Each command imports what it needs when it runs: help must not wait for Spark."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roilake.errors import RoilakeError

if TYPE_CHECKING:
    from rich.console import Console

    from roilake.lake import Lake

Folder = Annotated[Path, typer.Option("--lake", help="folder of the lake")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, for machines")]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def roilake() -> None:
    """Nightly graph recommendation on a data lake, by regions of interest."""


@app.command()
def doctor() -> None:
    """Print what was found of each part of the environment. Exit code 1 when a part is missing."""
    from roilake.doctor import main

    raise typer.Exit(main())


@app.command()
def night(
    ds: Annotated[str, typer.Option(help="the night's logical date, YYYY-MM-DD")],
    conf: Annotated[Path, typer.Option(help="the night's YAML")],
    lake: Annotated[Path, typer.Option(help="folder of the lake; made when missing")],
    profile: Annotated[Path | None, typer.Option(help="Spark settings, see conf/spark")] = None,
) -> None:
    """Run a whole night, from raw events to published recommendations. Progress goes to stderr; stdout gets a table
    and, as its last line, a JSON object. Exit code 1 when the night fails its audit, 2 for what a person can mend."""
    with _mendable():
        published = _run_night(ds, conf, lake, profile, time.monotonic())
    raise typer.Exit(0 if published else 1)


@app.command()
def estimate(
    ds: Annotated[str, typer.Option(help="the night's logical date, YYYY-MM-DD")],
    conf: Annotated[Path, typer.Option(help="the night's YAML")],
    lake: Annotated[Path, typer.Option(help="folder of the lake; need not be there yet")],
    as_json: Json = False,
) -> None:
    """Tell what a night of graph models would take, by job: rows, bytes, memory, time and disk, from the lake's tables
    and the rates that its earlier nights measured. Reads only, without Spark."""
    with _mendable():
        from roilake.config.loading import load_config
        from roilake.lake import Lake, check_folder
        from roilake.pipelines.retrieval.config import RetrievalConfig
        from roilake.pipelines.retrieval.estimate import plan_night
        from roilake.report.planned import print_estimate

        night, config = _parse_ds(ds), load_config(conf, RetrievalConfig)
        found = plan_night(Lake(None, check_folder(lake, create=True)), config, night)
    if as_json:
        print(json.dumps(found.to_object()))
    else:
        print_estimate(found, _console())


@app.command()
def report(
    ds: Annotated[str, typer.Option(help="the published night, YYYY-MM-DD")],
    lake: Folder,
    since: Annotated[str | None, typer.Option(help="a published night to show the change since, too")] = None,
) -> None:
    """Write the page of a published night again, without Spark, and print its path. With --since the page lies beside
    the night's own."""
    from roilake.report import gather, published, report_path, write_page

    with _mendable():
        night, opened = _parse_ds(ds), _open(lake)
        chosen = _parse_ds(since) if since else None
        path = report_path(opened, night, chosen)
        write_page(gather(opened, published(opened, night), since=chosen), path)
    print(path)


@app.command()
def runs(
    lake: Folder,
    ds: Annotated[str | None, typer.Option(help="the jobs of this night")] = None,
    last: Annotated[int, typer.Option(help="how many nights, the latest ones", min=1)] = 30,
    as_json: Json = False,
) -> None:
    """List the nights of a lake, or the jobs of one: status, time, rows, bytes, and whether readers see it."""
    from roilake.report import jobs, jobs_table, nights, nights_table, run_rows

    with _mendable():
        opened, night = _open(lake), _parse_ds(ds) if ds else None
        rows = run_rows(opened, night, last)
        found = jobs(rows) if night else nights(rows, {one.ds: one for one in opened.publications()})
    if as_json:
        print(json.dumps(found))
    else:
        _console().print(jobs_table(night, found) if night else nights_table(found))


@app.command()
def compare(
    before: Annotated[str, typer.Argument(metavar="RUN", help="a published night, or its run id")],
    after: Annotated[str, typer.Argument(metavar="RUN", help="the one to hold against it")],
    lake: Folder,
    as_json: Json = False,
) -> None:
    """Compare two published nights: metrics with the intervals of their differences, config, code, rows and time."""
    from roilake.report import compare as compare_runs
    from roilake.report import print_comparison, to_object

    with _mendable():
        found = compare_runs(_open(lake), before, after)
    if as_json:
        print(json.dumps(to_object(found)))
    else:
        print_comparison(found, _console())


@contextmanager
def _mendable() -> Iterator[None]:
    """What a person can mend is one line on stderr, and exit code 2."""
    try:
        yield
    except RoilakeError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


def _run_night(ds_text: str, conf: Path, folder: Path, profile: Path | None, started: float) -> bool:
    """Whether the night was published."""
    from roilake.config.base import NightConfig
    from roilake.config.loading import load_config
    from roilake.errors import AuditError, ConfigError
    from roilake.lake import Lake, check_folder, spark_session
    from roilake.report import night_summary, print_summary, to_json
    from roilake.runtime import night as run_night
    from roilake.runtime.kinds import check_lake
    from roilake.runtime.step import make_run, parse_ds

    ds, config = parse_ds(ds_text), load_config(conf, NightConfig)
    checked = check_folder(folder, create=True)
    try:
        run_night.check(config)
    except ConfigError as error:
        raise ConfigError(f"{conf}: {error}") from error
    check_lake(Lake(None, checked), config)
    opened = Lake.open(spark_session(f"roilake night {ds}", profile=profile), checked, create=True)
    published = True
    try:
        run_night.run(opened, config, ds)
    except AuditError as error:
        print(f"error: {error}", file=sys.stderr)
        published = False
    run_id, seconds = make_run(config, ds, "night").run_id, time.monotonic() - started
    summary = night_summary(opened, config, ds, run_id=run_id, seconds=seconds, published=published)
    print_summary(opened, summary, config, _console())
    print(to_json(summary), flush=True)
    return published


def _open(folder: Path) -> Lake:
    """The lake, for reading without Spark."""
    from roilake.lake import Lake, check_folder

    return Lake(None, check_folder(folder, create=False))


def _parse_ds(text: str) -> date:
    from roilake.runtime.step import parse_ds

    return parse_ds(text)


def _console() -> Console:
    from rich.console import Console

    return Console(width=max(110, Console().width))
