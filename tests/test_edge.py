"""Whatever ends a command that a person can mend is one line and exit code 2: tables of faults, without Spark."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from roilake.cli import app
from roilake.config import read_mapping
from roilake.edge import one_line_errors
from roilake.errors import ConfigError, LakeError
from roilake.lake import check_folder
from roilake.lake.profile import read_profile
from roilake.runtime.registry import load_config

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf" / "nights" / "retrieval" / "movielens.yaml"


def foreign(name: str, text: str, module: str = "pyspark.errors.exceptions.captured") -> Exception:
    """An error of a library, as it looks from outside."""
    return type(name, (Exception,), {"__module__": module})(text)


TASK = """
  An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "/code/jobs/x.py", line 66, in scan
{raised}

JVM stacktrace:
org.apache.spark.api.python.PythonException: Traceback (most recent call last):
"""
FAULTS = [
    (OSError(errno.ENOSPC, "No space left on device", "/lake/x"), "/lake/x: the disk is full"),
    (OSError(errno.EROFS, "Read-only file system", "/lake/x"), "/lake/x: lies on a read-only disk"),
    (PermissionError(errno.EACCES, "Permission denied", "/lake/x"), "/lake/x: no permission"),
    (IsADirectoryError(errno.EISDIR, "Is a directory", "/lake/x"), "/lake/x: is a folder; name a file"),
    (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/lake/x/y"), "/lake/x/y: a part of this path is a file"),
    (FileNotFoundError(errno.ENOENT, "No such file", "/lake/x"), "/lake/x: is not there"),
    (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), "this name is too long"),
    (OSError(errno.EMFILE, "Too many open files"), "too many files are open; raise the limit"),
    (OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"), "the disk is full"),  # Arrow
    (OSError("Generic LocalFileSystem error: Unable to open /l/a: Permission denied (os error 13)"), "no perm"),
    (foreign("DeltaError", "Failed to write /l/_delta_log: No space (os error 28)", "deltalake"), "the disk is full"),
    (MemoryError(), "out of memory"),
    ("\udcff".encode, "is no valid UTF-8"),
    (ModuleNotFoundError("No module named 'torch'", name="torch"), "package 'torch' is not installed; run `make env`"),
    (
        foreign("Py4JJavaError", "ClassNotFoundException: Class org.apache.hadoop.fs.s3a.S3AFileSystem not found"),
        "no JAR that reads s3a:// paths: add the line spark.jars.packages",
    ),
    (
        foreign("IOException", 'UnsupportedFileSystemException: No FileSystem for scheme "gs"'),
        "no JAR that reads such paths (gs)",
    ),
    (
        foreign("SparkException", "Caused by: java.io.IOException: No space left on device\n\tat java"),
        "the disk is full",
    ),
    (
        foreign("Py4JJavaError", ": java.lang.OutOfMemoryError: Java heap space", "py4j.protocol"),
        "raise spark.driver.memory",
    ),
    (
        foreign("SparkException", "Python worker exited unexpectedly (crashed)"),
        "a Python worker has ended for want of memory",
    ),
    (
        foreign(
            "SparkException", "[FAILED_READ_FILE] Encountered error while reading file file:///d/a%20b.gz. SQLSTATE: K"
        ),
        "/d/a b.gz: cannot be read, it is damaged",
    ),
    (
        foreign(
            "UnknownException", "Encountered error while reading file file:/d/x.parquet. Could not read footer. Please"
        ),
        "error: /d/x.parquet: cannot be read, it is damaged",
    ),
    (
        foreign("UnknownException", "Encountered error while reading file file:///d/x. File does not exist. It is"),
        "error: /d/x: is not there",
    ),
    (foreign("Py4JError", "An error occurred while calling None.None\n", "py4j.protocol"), "Spark's JVM has ended"),
    (foreign("PythonException", TASK.format(raised="MemoryError")), "a Python worker has ended for want of memory"),
    (foreign("Py4JNetworkError", "Answer from Java side is empty", "py4j.protocol"), "Spark's JVM has ended"),
    (
        foreign("PythonException", TASK.format(raised="roilake.errors.SourceError: x.csv: row 3: mend it")),
        "x.csv: row 3: mend it",
    ),
    (
        foreign("PythonException", TASK.format(raised="OSError: [Errno 28] No space left on device: '/s/x'")),
        "/s/x: the disk is full",
    ),
]


@pytest.mark.parametrize(("error", "line"), FAULTS)
def test_a_fault_of_others_is_one_line(error: object, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped, one_line_errors():
        if isinstance(error, Exception):
            raise error
        error("utf-8")  # type: ignore[operator]
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.startswith("error: ") and line in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "code"),
    [("roilake.errors.AuditError: too many", 1), ("KeyError: 'x'", 3), ("roilake.errors.Unknown: x", 3)],
)
def test_what_a_task_raised_has_the_code_that_it_would_have_here(text: str, code: int) -> None:
    with pytest.raises(SystemExit) as stopped, one_line_errors():
        raise foreign("PythonException", TASK.format(raised=text))
    assert stopped.value.code == code


def test_a_panic_is_no_traceback_either(capsys: pytest.CaptureFixture[str]) -> None:
    panic = type("PanicException", (BaseException,), {})
    with pytest.raises(SystemExit) as stopped, one_line_errors():
        raise panic("index out of bounds")
    err = capsys.readouterr().err
    assert stopped.value.code == 3 and err.startswith("error: PanicException: index out") and err.count("\n") == 1
    Path(err.rsplit(" in ", 1)[1].rstrip(")\n")).unlink()


def test_no_line_and_no_traceback_holds_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), one_line_errors():
        raise KeyError("s3a://KEY:SECRET@bucket")
    err = capsys.readouterr().err
    kept = Path(err.rsplit(" in ", 1)[1].rstrip(")\n"))
    assert "SECRET" not in err + kept.read_text() and "s3a://***@bucket" in err
    kept.unlink()


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")]
)
def test_a_run_that_is_ended_says_so_and_cleans_up(number: signal.Signals, code: int, said: str) -> None:
    script = (
        "import os, signal, time; from roilake.edge import one_line_errors\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a shell's background job ignores
        "with one_line_errors():\n"
        f"    try: os.kill(os.getpid(), {int(number)}); time.sleep(60)\n"
        "    finally: print('released')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (code, "released\n")
    assert done.stderr.startswith(f"error: {said}; ") and done.stderr.count("\n") == 1


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m roilake pipelines --json; echo $? >&2"
    done = subprocess.run(["sh", "-c", f"({command}) | true"], capture_output=True, text=True, timeout=60)
    assert done.stderr == "0\n"


NESTED = b"[" * 5000
TENFOLD = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
BOMB = "\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x, x]", *TENFOLD]).encode()
YAMLS = [
    (b"", "holds no mapping"),
    (b"- a\n- b\n", "holds no mapping"),
    (b"pipeline: retrieval\n\tname: x\n", "cannot be read as YAML"),
    (b"pipeline: retrieval\nname: a\nname: b\n", "key 'name' stands twice, again in line 3"),
    (b"a: {b: 1, b: 2}\n", "key 'b' stands twice"),
    (b"pipeline: a\x00b\n", "cannot be read as YAML"),
    ("name: café\n".encode("latin-1"), "cannot be read as YAML"),
    (b"PAR1\x15\x04\x15\xff\xfe", "cannot be read as YAML"),
    (b"a: *nobody\n", "cannot be read as YAML"),
    (b"a: !!python/object/apply:os.system [true]\n", "cannot be read as YAML"),
    (b"a: " + NESTED, "cannot be read as YAML"),
    (BOMB, "its anchors unfold to more than 100,000 entries"),
    (b"a: &a [*a]\n", "cannot be read as YAML: maximum recursion"),
    (b"a: 2026-13-45\n", "cannot be read as YAML"),
    (b"#" * 1_000_001, "is larger than 1,000,000 bytes"),
]


@pytest.mark.parametrize(("text", "message"), YAMLS)
def test_a_file_that_is_no_config_is_one_line(text: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "n.yaml").write_bytes(text)
    with pytest.raises(ConfigError, match=message) as refused:
        read_mapping(tmp_path / "n.yaml", "start from one")
    assert str(refused.value).startswith(f"{tmp_path}/n.yaml: ") and "\n" not in str(refused.value)


def test_anchors_and_merges_and_any_unicode_form_are_read(tmp_path: Path) -> None:
    text = "base: &b {a: 1, c: é}\nmore: {<<: *b, a: 2}\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "n.yaml").write_bytes(text.encode(encoding))
        assert read_mapping(tmp_path / "n.yaml", "")["more"] == {"a": 2, "c": "é"}


@pytest.mark.parametrize(
    "value", [None, -1, 10**30, float("nan"), "", "x", [], {}, {1: 2}, [[]], True, "1" * 5000, b"\xff"]
)
def test_a_value_of_another_type_is_one_line_wherever_it_stands(value: object, tmp_path: Path) -> None:
    """Every top key of a night, and every key of its source, in turn; some values are sound there."""
    tree = yaml.safe_load(CONF.read_text())
    tree["gates"] = str(CONF.parent / tree["gates"])
    spoilt = [{**tree, key: value} for key in tree]
    spoilt += [{**tree, "source": {**tree["source"], key: value}} for key in tree["source"]]
    refused = 0
    for night in spoilt:
        (tmp_path / "n.yaml").write_text(yaml.safe_dump(night))
        try:
            load_config(tmp_path / "n.yaml")
        except ConfigError as error:
            refused += 1
            assert str(error).startswith(f"{tmp_path}") and ": " in str(error) and "\n" not in str(error)
    assert refused > len(spoilt) // 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"spark.master\n", "'spark.master' has no value"),
        (b"master local[2]\n", "'master' is no Spark setting"),
        (b"\xff\xfe\x00\x01", "cannot be read as a Spark profile"),
        (b"{json: 1}\n", "is no Spark setting"),
    ],
)
def test_a_profile_that_is_none(text: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.conf").write_bytes(text)
    with pytest.raises(ConfigError, match=message):
        read_profile(tmp_path / "p.conf")
    with pytest.raises(ConfigError, match="cannot be read as a Spark profile"):
        read_profile(tmp_path)


NAMES = ["my [lake] 100% é", "a{b,c}", "a?"[:1] + "*", "a:b", "x=1", "日本", "a'b\"c", "~x", "-x", "a;b & c", "a|b<>^`"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_may_be_a_lakes(name: str, tmp_path: Path) -> None:
    assert check_folder(tmp_path / name, create=True) == tmp_path / name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "is no lake"),
        ("file/lake", "file is a file; name a folder"),
        ("a%20b", "Delta reads '%20' in a name as something else"),
        ("a#b", "Delta reads '#'"),
        ("a\nb", "cannot be printed"),
        ("a\udcff", "cannot be printed"),
    ],
)
def test_a_name_that_cannot_be_a_lakes_is_one_line(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeError, match=message) as refused:
        check_folder(tmp_path / name, create=True)
    assert "\n" not in str(refused.value)
    str(refused.value).encode()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--ds", "2026-13-45", "--ds '2026-13-45': is no date; write YYYY-MM-DD"),
        ("--ds", "", "--ds '': is no date"),
        ("--ds", "0001-01-01", "--ds 0001-01-01: lies outside of the years 1900 to 2199"),
        ("--ds", "9999-12-31", "--ds 9999-12-31: lies outside"),
        ("--conf", ".", ".: cannot be read as YAML: [Errno 21] Is a directory"),
        ("--conf", "none.yaml", "none.yaml: cannot be read as YAML: [Errno 2]"),
        ("--lake", __file__, "test_edge.py: is no lake"),
        ("--lake", "s3a://KEY:SECRET@bucket/lake", "s3a:/***@bucket/lake: a lake lies on a local or shared disk"),
        ("--profile", "none.conf", "none.conf: no such Spark profile"),
        ("--profile", __file__, "is no Spark setting"),
    ],
)
def test_an_option_that_is_wrong_is_one_line(
    option: str, value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    given = {"--conf": str(CONF), "--lake": f"{tmp_path}/lake", "--ds": "1998-04-10", option: value}
    done = CliRunner().invoke(app, ["night", *(word for pair in given.items() for word in pair)])
    assert done.exit_code == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "lake").exists() and "SECRET" not in done.stderr


def test_files_that_this_user_may_not_read(tmp_path: Path) -> None:
    """By a user without rights of his own: root may read everything."""
    if os.geteuid():
        pytest.skip("needs root to become nobody")
    (tmp_path / "n.yaml").write_text("a: 1")
    (tmp_path / "n.yaml").chmod(0)
    script = (
        "import os, sys; from roilake.edge import one_line_errors; from roilake.runtime.registry import load_config\n"
        f"os.setuid(65534)\nwith one_line_errors(): load_config({str(tmp_path / 'n.yaml')!r})"
    )
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        folder.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "n.yaml: cannot be read as YAML: [Errno 13] Permission denied" in done.stderr


@pytest.mark.parametrize(
    ("key", "value"),
    [("length", "9" * 12 + "d"), ("length", "900mo"), ("train", 10**9), ("train", 10**30), ("test", 40_000)],
)
def test_windows_that_reach_back_before_all_dates(key: str, value: object, tmp_path: Path) -> None:
    tree = yaml.safe_load(CONF.read_text())
    tree["gates"], tree["windows"][key] = {}, value
    (tmp_path / "n.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=r"more than 100 years|less than 2147483648"):
        load_config(tmp_path / "n.yaml")
