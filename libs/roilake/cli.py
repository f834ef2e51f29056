"""The ``roilake`` command. Each command imports what it needs when it runs: help must not wait for Spark."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

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
    from roilake.errors import RoilakeError

    try:
        published = _run_night(ds, conf, lake, profile, time.monotonic())
    except RoilakeError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    raise typer.Exit(0 if published else 1)


def _run_night(ds_text: str, conf: Path, folder: Path, profile: Path | None, started: float) -> bool:
    """Whether the night was published."""
    from rich.console import Console

    from jobs import run_night
    from roilake.config import load_config
    from roilake.errors import AuditError, ConfigError
    from roilake.job import make_run, parse_ds
    from roilake.lake import Lake, check_folder, spark_session
    from roilake.report import night_summary, print_summary, to_json

    ds, config = parse_ds(ds_text), load_config(conf)
    checked = check_folder(folder, create=True)
    try:
        run_night.check(config)
    except ConfigError as error:
        raise ConfigError(f"{conf}: {error}") from error
    opened = Lake.open(spark_session(f"roilake night {ds}", profile=profile), checked, create=True)
    published = True
    try:
        run_night.run(opened, config, ds)
    except AuditError as error:
        print(f"error: {error}", file=sys.stderr)
        published = False
    run_id, seconds = make_run(config, ds, "night").run_id, time.monotonic() - started
    summary = night_summary(opened, ds, run_id=run_id, seconds=seconds, published=published)
    print_summary(opened, summary, config.default_model, Console(width=max(110, Console().width)))
    print(to_json(summary), flush=True)
    return published
