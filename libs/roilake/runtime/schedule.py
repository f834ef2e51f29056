"""A night's steps as a scheduler takes them, made from the pipeline's declaration."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from roilake.config import NightConfig
from roilake.runtime.registry import find, load_config

AIRFLOW = '''"""{title}: made by `roilake schedule --conf {conf} --format airflow`."""

import pendulum
from airflow import DAG
from airflow.operators.bash import BashOperator

with DAG(
    dag_id="roilake_{pipeline}_{name}",
    schedule="@daily",
    start_date=pendulum.datetime(2020, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
) as dag:
    steps = [
{operators}
    ]
    for before, after in zip(steps, steps[1:]):
        before >> after
'''


def commands_again(config: NightConfig, ds: date, lake: Path, steps: Sequence[str]) -> str:
    """One line for a shell that runs these steps of a night in order, and one that runs the night from the first of
    them on."""
    conf = shlex.quote(str(config.file or "NIGHT.yaml"))
    python, tail = shlex.quote(sys.executable), f"--ds {ds} --conf {conf} --lake {shlex.quote(str(lake))}"
    module = find(config.pipeline).module("$step")
    loop = f"for step in {' '.join(steps)}; do {python} -m {module} {tail} || break; done"
    return f"{loop}, or in one session: {python} -m roilake night {tail} --from-step {steps[0]}"


def schedule_of(conf: Path, lake: Path, form: str, *, apart: bool = False) -> str:
    """A night's tasks in order with their commands: one that runs the whole night in one process, or ``apart`` each
    step in its own, which pays the start of Python and Spark each time. As ``json``, an ``airflow`` DAG file (whose
    ``ds`` is the logical date), or a ``cron`` line for the night of the day before."""
    config = load_config(conf)
    pipeline = find(config.pipeline)
    ds = {"airflow": "{{ ds }}", "cron": '"$(date -u -d yesterday +%F)"', "json": "{ds}"}[form]
    tail = f"--ds {ds} --conf {shlex.quote(str(conf.absolute()))} --lake {shlex.quote(str(lake.absolute()))}"
    modules = {step: pipeline.module(step) for step in pipeline.step_names} if apart else {"night": "roilake night"}
    commands = {task: f"{shlex.quote(sys.executable)} -m {module} {tail}" for task, module in modules.items()}
    if form == "cron":
        line = " && ".join(commands.values())
        return f"0 3 * * * {line}".replace("%", r"\%")  # which cron would take for the end of the line
    if form == "airflow":
        operators = "\n".join(
            f"        BashOperator(task_id={task!r}, bash_command={command!r})," for task, command in commands.items()
        )
        named = {"title": pipeline.title, "pipeline": pipeline.name, "name": config.name}
        return AIRFLOW.format(conf=conf, operators=operators, **named).rstrip()
    tasks = [{"task": task, "command": command} for task, command in commands.items()]
    return json.dumps({"pipeline": pipeline.name, "night": config.name, "tasks": tasks}, indent=1)
