"""The command line of a step, and the edge at which errors become one line and an exit code."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from roilake import log
from roilake.errors import AuditError, RoilakeError
from roilake.lake import Lake, check_folder
from roilake.runtime.registry import load_config
from roilake.runtime.run import night_of
from roilake.runtime.step import StepResult

FAILED_AUDIT, MENDABLE, UNFORESEEN = 1, 2, 3
LOG = logging.getLogger("roilake.command")


def main(
    run: Callable[..., StepResult], pipeline: str, flags: Sequence[str] = (), **options: Callable[[str], Any]
) -> None:
    """Command line of a step: ``--ds --conf --lake [--profile --log]``, the step's own ``options``, which are given
    to it parsed, and its ``flags``, true where they stand. The last stdout line is the result as JSON."""
    parser = argparse.ArgumentParser(description=sys.modules[run.__module__].__doc__)
    parser.add_argument("--ds", help="the night's logical date, YYYY-MM-DD (default: the config's default_ds)")
    parser.add_argument("--conf", required=True, type=Path, help="the night's YAML")
    parser.add_argument("--lake", required=True, type=Path, help="folder of the lake")
    parser.add_argument("--profile", type=Path, help="Spark settings in spark-defaults form (see conf/spark)")
    parser.add_argument("--log", choices=("auto", "json"), default="auto", help="form of the lines on stderr")
    for name in options:
        parser.add_argument(f"--{name}", required=True)
    for name in flags:
        parser.add_argument(f"--{name}", action="store_true")
    args = parser.parse_args()
    log.configure(args.log)
    with one_line_errors():
        chosen = {name: parse(getattr(args, name)) for name, parse in options.items()}
        chosen |= {name: getattr(args, name) for name in flags}
        config = load_config(args.conf, pipeline)
        ds, folder = night_of(config, args.ds), check_folder(args.lake, create=True)
        lake = Lake.open(_session(run.__module__, args.profile), folder, create=True)
        print(run(lake, config, ds, **chosen).to_json(), flush=True)


def _session(app: str, profile: Path | None) -> Any:
    from roilake.lake.session import spark_session

    return spark_session(app, profile=profile)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """An error is one line on stderr and an exit code: 1 a failed audit, 2 what a person can mend, 3 what nobody
    foresaw; the traceback of the last kind goes to a file that the line names."""
    try:
        yield
    except AuditError as error:
        _exit(str(error), FAILED_AUDIT)
    except RoilakeError as error:
        _exit(str(error), MENDABLE)
    except Exception as error:
        summary = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        _exit(f"{summary} (nobody foresaw this; its traceback is in {_kept_traceback()})", UNFORESEEN)


def _exit(text: str, code: int) -> None:
    print(f"error: {text}", file=sys.stderr, flush=True)
    sys.exit(code)


def _kept_traceback() -> str:
    with tempfile.NamedTemporaryFile("w", prefix="roilake-error-", suffix=".log", delete=False) as file:
        file.write(traceback.format_exc())
    return file.name
