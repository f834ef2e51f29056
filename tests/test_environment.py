"""The set-up: what it says when something is missing, what it does again and what not, and what it leaves."""

from __future__ import annotations

import importlib
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from roilake import doctor, prerequisites
from roilake.cli import app
from roilake.doctor import Part, examine, report

ROOT = Path(__file__).resolve().parents[1]
SETUP = ROOT / "conf" / "environment"


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The build script, with two steps of our own that write into an environment of our own."""
    monkeypatch.syspath_prepend(str(SETUP))
    module, steps = (importlib.import_module(name) for name in ("build", "steps"))
    (tmp_path / "first.in").write_text("1")
    (tmp_path / "second.in").write_text("1")

    def step(name: str) -> object:
        script = f"echo made {name}; test ! -e {tmp_path}/broken || {{ echo no such luck; exit 3; }}"
        return steps.Step(name, (tmp_path / f"{name}.in",), lambda run: run(["sh", "-c", script]), f"mend {name}")

    monkeypatch.setattr(module, "STEPS", (step("first"), step("second")))
    monkeypatch.setattr(module, "STAMP", tmp_path / "stamp.json")
    monkeypatch.setattr(module, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(module, "PYTHON", Path(sys.executable))
    return module


def steps_said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return re.findall(r"\d/\d (\w+) \.\.\. \d+\.\d s\n", capsys.readouterr().err)


@pytest.fixture
def setup(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the build script in a bare copy of the repository, on a PATH that holds only what is named."""
    shutil.copytree(SETUP, tmp_path / "repo/conf/environment", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "repo/libs/roilake").mkdir(parents=True)
    for name in ("__init__.py", "prerequisites.py"):
        shutil.copy(ROOT / "libs/roilake" / name, tmp_path / "repo/libs/roilake")
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "repo")
    (tmp_path / "bin").mkdir()

    def run(*tools: str, **environment: str) -> subprocess.CompletedProcess[str]:
        for tool in tools:
            (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or f"no {tool} here")
        settings = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), **environment}
        script = tmp_path / "repo/conf/environment/build.py"
        answer = subprocess.run([sys.executable, script], env=settings, capture_output=True, text=True)
        assert not (tmp_path / "repo/.venv").exists()
        return answer

    return run


def test_missing_jdk_is_named_with_its_remedy(setup: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    answer = setup("gcc", "g++", "make")
    assert answer.returncode == 2
    assert answer.stderr == ("roilake env: JDK 17 or 21 not found: apt-get install openjdk-17-jdk-headless\n")


def test_missing_compiler_is_named_with_its_remedy(setup: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    java = shutil.which("java") or pytest.skip("no java on this machine")
    home = str(Path(java).resolve().parents[1])
    answer = setup("gcc", "make", JAVA_HOME=home)
    assert (answer.returncode, answer.stderr) == (2, "roilake env: g++ not found: apt-get install g++\n")


def test_java_home_that_leads_nowhere_is_named(setup: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    answer = setup("gcc", "g++", "make", JAVA_HOME="/gone")
    assert answer.returncode == 2
    assert "not found at /gone/bin/java, where JAVA_HOME points: apt-get" in answer.stderr


def test_java_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "bin/java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'Picked up JAVA_TOOL_OPTIONS: -Xmx1.5g\nopenjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(prerequisites.MissingError, match=r"java is 11\.0\.2\): apt-get .* and set JAVA_HOME"):
        prerequisites.find_java()


def test_python_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    with pytest.raises(prerequisites.MissingError, match=r"only 3\.12\.1\): apt-get install python3\.11 "):
        prerequisites.find_python()


def test_second_call_does_nothing(build: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main() == 0
    assert steps_said(capsys) == ["first", "second"]
    assert build.main() == 0
    assert capsys.readouterr().err == "roilake env: up to date\n"


@pytest.mark.parametrize(("changed", "again"), [("first", ["first", "second"]), ("second", ["second"])])
def test_a_changed_input_redoes_its_step_and_what_follows(
    build: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path, changed: str, again: list[str]
) -> None:
    build.main()
    capsys.readouterr()
    (tmp_path / f"{changed}.in").write_text("2")
    assert build.main() == 0
    assert steps_said(capsys) == again


def test_a_failing_step_says_why_and_is_done_the_next_time(
    build: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    build.main()
    (tmp_path / "second.in").write_text("2")
    (tmp_path / "broken").touch()
    capsys.readouterr()
    assert build.main() == 1
    said = capsys.readouterr().err
    assert "  | no such luck\n" in said
    assert f"step 'second' failed: sh ended with 3. Log: {tmp_path}/logs/second.log\n" in said
    assert said.endswith("roilake env: mend second\n")
    (tmp_path / "broken").unlink()
    assert build.main() == 0
    assert steps_said(capsys) == ["second"]


def test_horovod_is_built_once_and_never_half(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(SETUP))
    supplies = importlib.import_module("supplies")
    monkeypatch.setenv("ROILAKE_CACHE", str(tmp_path))
    builds = []

    def cut_off(command: list[object], environment: dict[str, str]) -> None:
        Path(str(command[-1]), "horovod-half.whl").touch()
        raise KeyboardInterrupt

    def succeed(command: list[object], environment: dict[str, str]) -> None:
        builds.append(environment["HOROVOD_WITH_GLOO"])
        Path(str(command[-1]), "horovod-0.28.1.whl").touch()

    with pytest.raises(KeyboardInterrupt):
        supplies.horovod_wheel(Path(sys.executable), cut_off)
    assert list((tmp_path / "roilake/wheels").iterdir()) == []
    made = [supplies.horovod_wheel(Path(sys.executable), succeed) for _ in range(2)]
    assert made[0] == made[1] == supplies.wheel_folder() / "horovod-0.28.1.whl"
    assert builds == ["1"]


def test_a_jar_that_is_not_the_pinned_one_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(SETUP))
    supplies = importlib.import_module("supplies")
    monkeypatch.setenv("ROILAKE_CACHE", str(tmp_path))
    supplies.jar_folder().mkdir(parents=True)
    for line in (SETUP / "jars.txt").read_text().splitlines():
        (supplies.jar_folder() / line.split()[1]).write_text("not a jar")
    with pytest.raises(ValueError, match=r"is not the JAR of jars\.txt: delete"):
        supplies.delta_jars(tmp_path, lambda command, environment=None: None)


def test_doctor_finds_every_part() -> None:
    answer = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "200"})
    rows = dict(re.findall(r"│ ([\w+ ]+?) +│ (.+?) +│", answer.stdout))
    assert list(rows) == [part.name for part in doctor.PARTS]
    assert answer.exit_code == 0, answer.stdout
    assert rows["Delta JARs"] == "4.0.1"
    assert rows["horovod"] == "0.28.1, Gloo"
    assert rows["ROI kernel"] in ("plain C", "AVX2", "AVX512-VNNI")
    assert re.fullmatch(r"\d+ cores, \d+ GiB memory, \d+ GiB free disk", rows["machine"])


@pytest.mark.parametrize(("needed", "code", "mark"), [(True, 1, "missing"), (False, 0, "absent")])
def test_doctor_names_what_is_missing(needed: bool, code: int, mark: str) -> None:
    console = Console(file=io.StringIO(), width=120)
    parts = [
        Part("gone", lambda: doctor.package("no_such_package"), "apt-get install it", needed),
        Part("there", lambda: "1.2.3"),
    ]
    assert report([examine(part) for part in parts], console) == code
    said = console.file.getvalue()
    assert f"{mark}: No module named 'no_such_package'" in said
    assert "apt-get install it" in said
    assert "1.2.3" in said


def test_every_requirement_is_pinned_and_hashed() -> None:
    for name in ("bootstrap.txt", "requirements.txt", "horovod.txt", "data.txt"):
        requirements = re.split(r"\n(?=\S)", (SETUP / name).read_text().strip())
        unpinned = [r for r in requirements if not re.match(r"[\w.-]+==\S+ .*--hash=sha256:", r, re.DOTALL)]
        assert unpinned == [], name


def test_no_committed_file_names_a_registry_or_a_path_of_this_machine() -> None:
    files = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split("\n")
    texts = {name: (ROOT / name).read_bytes() for name in files if (ROOT / name).is_file()}
    hosts = "|".join((r"pypi\.", r"python" "hosted", r"maven\." "org", r"repo1\.", r"deb\." "debian"))
    bad = re.compile(rf"//[\w.-]*({hosts})|/(work|root|farm)/".encode())
    assert [name for name, text in texts.items() if bad.search(text)] == []


@pytest.mark.parametrize("path", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_yaml_file_parses(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)
