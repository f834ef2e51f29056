"""The ``roilake`` command. Each command imports what it needs when it runs: help must not wait for Spark."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup
from typer.exceptions import Abort, Exit, TyperException

from roilake.edge import one_line_errors
from roilake.errors import AuditError

if TYPE_CHECKING:
    from rich.console import Console

    from roilake.lake import Lake

Folder = Annotated[Path, typer.Option("--lake", help="folder of the lake")]
Conf = Annotated[Path, typer.Option(help="the night's YAML")]
Ds = Annotated[str | None, typer.Option(help="the night's logical date, YYYY-MM-DD (default: the config's default_ds)")]
Only = Annotated[str | None, typer.Option("--pipeline", help="of this pipeline only")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, for machines")]


class _AtTheEdge(TyperGroup):
    """Whatever a command raises is one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        with one_line_errors():
            try:
                return super().invoke(ctx)
            except (TyperException, Exit, Abort) as usage:
                left: Exception = usage
        raise left


app = typer.Typer(cls=_AtTheEdge, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def roilake() -> None:
    """Nightly pipelines on a data lake: graphs, regions of interest, models, scored tables and reports."""


@app.command()
def doctor() -> None:
    """Print what was found of each part of the environment. Exit code 1 when a part is missing."""
    from roilake.doctor import main

    raise typer.Exit(main())


@app.command()
def night(
    conf: Conf,
    lake: Annotated[Path, typer.Option(help="folder of the lake; made when missing")],
    ds: Ds = None,
    profile: Annotated[Path | None, typer.Option(help="Spark settings, see conf/spark")] = None,
    wide: Annotated[bool, typer.Option("--wide", help="print all metrics, whatever the width")] = False,
    log: Annotated[str, typer.Option(help="form of the lines on stderr: auto or json")] = "auto",
    from_step: Annotated[str | None, typer.Option(help="run the night from this step on")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="wait for who writes the pipeline's nights now")] = False,
) -> None:
    """Run a whole night, from raw files to published tables, or the rest of one. Progress goes to stderr; stdout gets a
    table and, as its last line, a JSON object. Exit code 1 when the night fails its audit, 2 for what a person can
    mend, 3 for the unforeseen."""
    from roilake.log import configure
    from roilake.runtime.start import of_this_process

    configure("json" if log == "json" else "auto")
    started = time.monotonic()
    with of_this_process():
        published = _run_night(ds, conf, lake, profile, started, wide=wide, from_step=from_step, wait=wait)
    raise typer.Exit(0 if published else 1)


@app.command()
def pipelines(as_json: Json = False) -> None:
    """List the pipelines: their steps, tables and upstreams."""
    from roilake.runtime.dictionary import described_pipelines, print_pipelines

    if as_json:
        print(json.dumps(described_pipelines()))
    else:
        print_pipelines(_console())


@app.command()
def schedule(
    conf: Conf,
    lake: Folder = Path("./lake"),
    form: Annotated[
        Literal["json", "airflow", "cron"], typer.Option("--format", help="JSON, an Airflow DAG file, or a cron line")
    ] = "json",
    steps: Annotated[bool, typer.Option("--steps", help="a task a step, each of which starts Spark anew")] = False,
) -> None:
    """Print a night's command for a scheduler: one process runs it all, which is the fastest way; with --steps those of
    its steps in order, which can be retried one by one."""
    from roilake.runtime.schedule import schedule_of

    print(schedule_of(conf, lake, form, apart=steps))


@app.command()
def estimate(
    conf: Conf,
    lake: Annotated[Path, typer.Option(help="folder of the lake; need not be there yet")],
    ds: Ds = None,
    as_json: Json = False,
) -> None:
    """Tell what a night would take, by step: rows, bytes, memory, time and disk, from the lake's tables and the
    rates that its earlier nights measured. Reads only, without Spark."""

    from roilake.estimate import estimate_night
    from roilake.estimate.table import print_estimate
    from roilake.lake import Lake, check_folder
    from roilake.runtime.registry import load_config
    from roilake.runtime.run import night_of

    config = load_config(conf)
    found = estimate_night(Lake(None, check_folder(lake, create=True)), config, night_of(config, ds))
    if as_json:
        print(json.dumps(found.to_object()))
    else:
        print_estimate(found, _console())


@app.command()
def report(
    ds: Annotated[str, typer.Option(help="the published night, YYYY-MM-DD")],
    lake: Folder,
    since: Annotated[str | None, typer.Option(help="a published night to show the change since, too")] = None,
    pipeline: Only = None,
) -> None:
    """Write the page of a published night again, without Spark, and print its path. With --since the page lies beside
    the night's own."""
    from roilake.report import gather, published, report_path, write_page
    from roilake.runtime.run import parse_ds

    opened, chosen = _open(lake), parse_ds(since) if since else None
    found = published(opened, pipeline, parse_ds(ds))
    path = report_path(opened, found.pipeline, found.ds, chosen)
    write_page(gather(opened, found, since=chosen), path)
    print(path)


@app.command()
def runs(
    lake: Folder,
    ds: Annotated[str | None, typer.Option(help="the steps of this night")] = None,
    last: Annotated[int, typer.Option(help="how many nights, the latest ones", min=1)] = 30,
    pipeline: Only = None,
    as_json: Json = False,
) -> None:
    """List the nights of a lake, or the steps of one: status, time, rows, bytes, and whether readers see it."""
    from roilake.report import nights, nights_table, run_rows, served, steps, steps_table
    from roilake.runtime.run import parse_ds

    opened, night = _open(lake), parse_ds(ds) if ds else None
    rows = run_rows(opened, night, last, pipeline)
    found = steps(rows) if night else nights(rows, opened.publications(pipeline))
    if as_json:
        print(json.dumps(found))
    else:
        _console().print(steps_table(night, found) if night else nights_table(found))
        for sentence in served(opened, night, pipeline) if night else ():
            _console().print(sentence)


@app.command()
def compare(
    before: Annotated[str, typer.Argument(metavar="RUN", help="a published night, or its run id")],
    after: Annotated[str, typer.Argument(metavar="RUN", help="the one to hold against it")],
    lake: Folder,
    pipeline: Only = None,
    as_json: Json = False,
) -> None:
    """Compare two published nights: metrics with the intervals of their differences, config, code, rows and time."""
    from roilake.report import compare as compare_runs
    from roilake.report import print_comparison, to_object

    found = compare_runs(_open(lake), before, after, pipeline)
    if as_json:
        print(json.dumps(to_object(found)))
    else:
        print_comparison(found, _console())


def _run_night(
    ds_text: str | None,
    conf: Path,
    folder: Path,
    profile: Path | None,
    started: float,
    *,
    wide: bool,
    from_step: str | None,
    wait: bool,
) -> bool:
    """Whether the night was published."""
    from roilake.lake import Lake, check_folder
    from roilake.report import night_summary, print_summary, to_json
    from roilake.runtime.command import session_starter
    from roilake.runtime.night import run_night, steps_from
    from roilake.runtime.registry import load_config
    from roilake.runtime.run import make_run, night_of

    config = load_config(conf)
    ds, checked = night_of(config, ds_text), check_folder(folder, create=True)
    with Lake(None, checked).writer(config.pipeline, "night", ds, wait=wait):
        steps_from(Lake(None, checked), config, ds, from_step)
        opened = Lake(session_starter(f"roilake night {config.pipeline} {ds}", profile), checked)
        published = True
        try:
            run_night(opened, config, ds, from_step=from_step)
        except AuditError as error:
            print(f"error: {error}", file=sys.stderr)
            published = False
        run_id, seconds = make_run(config, ds, "night").run_id, time.monotonic() - started
        summary = night_summary(opened, config, ds, run_id=run_id, seconds=seconds, published=published)
    print_summary(opened, summary, config, _console(), wide=wide)
    print(to_json(summary), flush=True)
    return published


def _open(folder: Path) -> Lake:
    """The lake, for reading without Spark."""
    from roilake.lake import Lake, check_folder

    return Lake(None, check_folder(folder, create=False))


def _console() -> Console:
    from rich.console import Console

    return Console()
