"""The command line of a step."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roilake import log
from roilake.edge import one_line_errors
from roilake.lake import Lake, check_folder
from roilake.lake.profile import read_profile
from roilake.runtime import start
from roilake.runtime.registry import load_config
from roilake.runtime.run import night_of
from roilake.runtime.step import StepResult

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def main(
    run: Callable[..., StepResult], pipeline: str, flags: Sequence[str] = (), **options: Callable[[str], Any]
) -> None:
    """Command line of a step: ``--ds --conf --lake [--profile --log --wait]``, the step's own ``options``, which are
    given to it parsed, and its ``flags``, true where they stand. The last stdout line is the result as JSON."""
    parser = argparse.ArgumentParser(description=sys.modules[run.__module__].__doc__)
    parser.add_argument("--ds", help="the night's logical date, YYYY-MM-DD (default: the config's default_ds)")
    parser.add_argument("--conf", required=True, type=Path, help="the night's YAML")
    parser.add_argument("--lake", required=True, type=Path, help="folder of the lake")
    parser.add_argument("--profile", type=Path, help="Spark settings in spark-defaults form (see conf/spark)")
    parser.add_argument("--log", choices=("auto", "json"), default="auto", help="form of the lines on stderr")
    parser.add_argument("--wait", action="store_true", help="wait for who writes the pipeline's nights now")
    for name in options:
        parser.add_argument(f"--{name}", required=True)
    for name in flags:
        parser.add_argument(f"--{name}", action="store_true")
    args = parser.parse_args()
    log.configure(args.log)
    with one_line_errors(), start.of_this_process():
        chosen = {name: parse(getattr(args, name)) for name, parse in options.items()}
        chosen |= {name: getattr(args, name) for name in flags}
        config = load_config(args.conf, pipeline)
        ds, folder = night_of(config, args.ds), check_folder(args.lake, create=True)
        with Lake(None, folder).writer(pipeline, Path(sys.argv[0]).stem, ds, wait=args.wait):
            lake = Lake(session_starter(run.__module__, args.profile), folder)
            print(run(lake, config, ds, **chosen).to_json(), flush=True)


def session_starter(app: str, profile: Path | None) -> Callable[[], SparkSession]:
    """What starts the Spark session when a step first asks for it: one that does not starts no JVM. The profile is
    read at once. Raises ConfigError."""
    read_profile(profile)

    def started() -> SparkSession:
        from roilake.lake.session import spark_session  # only now: it loads pyspark

        began = time.monotonic()
        session = spark_session(app, profile=profile)
        start.owe(time.monotonic() - began)
        return session

    return started
