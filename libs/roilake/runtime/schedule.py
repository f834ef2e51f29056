"""A night's steps as a scheduler takes them, made from the pipeline's declaration."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

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


def schedule_of(conf: Path, lake: Path, form: str) -> str:
    """The steps of a night in order with their commands: ``json``, an ``airflow`` DAG file (whose ``ds`` is the logical
    date), or a ``cron`` line that runs the whole night for the day before."""
    config = load_config(conf)
    pipeline = find(config.pipeline)
    python = shlex.quote(sys.executable)
    tail = f"--conf {shlex.quote(str(conf.absolute()))} --lake {shlex.quote(str(lake.absolute()))}"
    modules = {step: pipeline.module(step) for step in pipeline.step_names}
    if form == "cron":
        return f'0 3 * * * {python} -m roilake night --ds "$(date -u -d yesterday +\\%F)" {tail}'
    ds = "{{ ds }}" if form == "airflow" else "{ds}"
    commands = {step: f"{python} -m {module} --ds {ds} {tail}" for step, module in modules.items()}
    if form == "airflow":
        operators = "\n".join(
            f"        BashOperator(task_id={step!r}, bash_command={command!r})," for step, command in commands.items()
        )
        named = {"title": pipeline.title, "pipeline": pipeline.name, "name": config.name}
        return AIRFLOW.format(conf=conf, operators=operators, **named).rstrip()
    steps = [{"step": step, "command": command} for step, command in commands.items()]
    return json.dumps({"pipeline": pipeline.name, "night": config.name, "steps": steps}, indent=1)
