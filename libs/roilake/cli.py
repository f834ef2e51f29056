"""The ``roilake`` command. Each command imports what it needs when it runs: help must not wait for Spark."""

from __future__ import annotations

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
