"""What the JVM of a session says: nothing of itself, and one line where it does not start. Without a JVM."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from pyspark.errors import PySparkRuntimeError

from roilake.errors import ConfigError
from roilake.lake import jvm
from roilake.lake.class_archive import ARCHIVE


def test_noise_is_dropped_and_all_else_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    stderr = jvm._Stderr()
    os.write(stderr.end, b"WARNING: Using incubator modules: jdk.incubator.vector\nstarting\n")
    time.sleep(0.1)
    assert capfd.readouterr().err == ""
    stderr.pass_on()
    os.write(stderr.end, b'Exception in thread "x" java.lang.OutOfMemoryError\n\tat java.base/x\n  1.0 s  step 1\n')
    os.close(stderr.end)
    stderr._thread.join(5)
    assert capfd.readouterr().err == "starting\n  1.0 s  step 1\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Invalid maximum heap size: -Xmxbanana\nError: Could not create the Java Virtual Machine.\n",
            "Invalid maximum",
        ),
        (
            'Exception in thread "main" org.apache.spark.SparkException: Master must be\n\tat x\n',
            "SparkException: Master",
        ),
        ("", "nothing"),
    ],
)
def test_a_jvm_that_does_not_start_says_why_in_a_line(text: str, told: str, capfd: pytest.CaptureFixture[str]) -> None:
    stderr = jvm._Stderr()
    os.write(stderr.end, f"WARNING: Using incubator modules: x\n{text}".encode())
    os.close(stderr.end)
    line = jvm._why(stderr.said())
    assert line.startswith(f"Spark's JVM does not start, it says: {told}") and "\n" not in line
    assert capfd.readouterr().err == ""


def test_a_missing_java_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nope")
    assert jvm._why([]).startswith("JDK 17 or 21 not found at /nope/bin/java")


def test_a_jvm_gets_our_log_and_no_secret_on_its_command_line() -> None:
    options = "spark.driver.extraJavaOptions"
    found = jvm._conf({options: "-Da=b", "spark.hadoop.fs.s3a.secret.key": "SECRET", "spark.x": "y"})
    assert found.get("spark.x") == "y" and not found.contains("spark.hadoop.fs.s3a.secret.key")
    given = str(found.get(options)).split()
    assert given[0] == "-Da=b" and (f"-XX:SharedArchiveFile={ARCHIVE}" in given) == ARCHIVE.exists()
    log = next(word for word in given if word.startswith("-Dlog4j2.configurationFile=file:"))
    assert Path(log.partition("file://")[2]).exists()
    own = jvm._conf({options: "-Dlog4j2.configurationFile=file:/x"})
    assert str(own.get(options)).count("log4j2.configurationFile") == 1


@pytest.mark.parametrize(("encoding", "given"), [("ANSI_X3.4-1968", "C.UTF-8"), ("UTF-8", None)])
def test_a_posix_locale_is_none_for_java(encoding: str, given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not even name a file with an é."""
    seen: list[str | None] = []

    def launch(*_: object) -> None:
        seen.append(os.environ.get("LC_ALL"))
        raise PySparkRuntimeError("stop here", {})

    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    monkeypatch.setattr(jvm.SparkContext, "_gateway", None)
    monkeypatch.setattr(jvm.locale, "getencoding", lambda: encoding)
    monkeypatch.setattr(jvm, "launch_gateway", launch)
    with pytest.raises(ConfigError):
        jvm.start_jvm({})
    assert seen == [given]
