"""Builds .venv: `make env` runs this, and so does every other target first. Stdlib only, Python 3.11.

Each step has a key, the hash of what goes into it and into the steps before it. The stamp in .venv holds the
keys of the steps that were done: a step runs only when something that it depends on has changed, and a second
call returns at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from steps import PYTHON, ROOT, STEPS, VENV, Step
from supplies import Run, wheel_folder

from roilake.prerequisites import MissingError, find_headers, find_java, find_python, find_tool

STAMP = VENV / "roilake-stamp.json"
LOGS = ROOT / ".env-log"


class StepError(Exception):
    """A command of a step failed: the step's log holds why."""


def main() -> int:
    """Check the machine, then do what is to be done. 0: all done, 1: a step failed, 2: something missing."""
    try:
        find_python()
        find_java()
        if not to_do():
            say("roilake env: up to date\n")
            return 0
        find_compilers()
    except MissingError as missing:
        say(f"roilake env: {missing}\n")
        return 2
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second make waits here, and then finds the steps done
        if builds_horovod():
            say("roilake env: horovod will be built, once on this machine, in about 2 minutes on 2 cores\n")
        return build()


def find_compilers() -> None:
    """Raises MissingError unless the ROI kernel can be compiled, and horovod where it has to be."""
    for command in ("gcc", "g++", "make"):
        find_tool(command)
    if builds_horovod():
        find_headers()


def builds_horovod() -> bool:
    """Whether the steps to be done hold a horovod that the cache has no wheel of."""
    return any(step.name == "horovod" for step, _ in to_do()) and not wheel_folder().is_dir()


def build() -> int:
    """Do the steps that are to be done, one line on stderr each."""
    for step, key in to_do():
        log = LOGS / f"{step.name.replace(' ', '-')}.log"
        say(f"roilake env: {STEPS.index(step) + 1}/{len(STEPS)} {step.name} ... ")
        began = time.monotonic()
        try:
            step.action(runner(log))
        except (StepError, OSError, ValueError, LookupError, StopIteration) as error:
            say(f"failed\n{failure(step, log, error)}\n")
            return 1
        STAMP.write_text(json.dumps({**done(), step.name: key}, indent=1))
        say(f"{time.monotonic() - began:.1f} s\n")
    return 0


def to_do() -> list[tuple[Step, str]]:
    """The steps whose key is not in the stamp, with that key. A step without inputs has nothing to make."""
    running, already, left = hashlib.sha256(), done(), []
    for step in STEPS:
        running.update(b"".join(i.read_bytes() if isinstance(i, Path) else i.encode() for i in step.inputs))
        if step.inputs and already.get(step.name) != running.hexdigest():
            left.append((step, running.hexdigest()))
    return left


def done() -> dict[str, str]:
    """Step name to key of the steps that were done: none where .venv or the Python under it is gone."""
    try:
        return dict(json.loads(STAMP.read_text())) if PYTHON.exists() else {}
    except (OSError, ValueError):
        return {}


def runner(log: Path) -> Run:
    """A function that runs a command with its output in `log`, and raises StepError when it fails."""
    LOGS.mkdir(exist_ok=True)
    log.write_text("")

    def run(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> None:
        words = [str(word) for word in command]
        with log.open("a") as out:
            print("$", *words, file=out, flush=True)
            settings = {**os.environ, **(environment or {})}
            code = subprocess.call(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=settings)
        if code:
            raise StepError(f"{Path(words[0]).name} ended with {code}")

    return run


def failure(step: Step, log: Path, error: Exception) -> str:
    """What failed, the end of its log, and what to do."""
    tail = "\n".join(f"  | {line}" for line in log.read_text(errors="replace").splitlines()[-12:])
    return f"{tail}\nroilake env: step '{step.name}' failed: {error}. Log: {log}\nroilake env: {step.hint}"


def say(text: str) -> None:
    """Progress goes to stderr: stdout belongs to results."""
    print(text, end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
