"""The JVM that a Spark session needs, started so that it reads and says nothing by accident."""

from __future__ import annotations

import locale
import os
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.java_gateway import launch_gateway

from roilake.errors import ConfigError
from roilake.lake.class_archive import java_option
from roilake.masking import is_secret
from roilake.prerequisites import MissingError, find_java

_OPTIONS = "spark.driver.extraJavaOptions"
_LOG = "log4j2.configurationFile"
_ARCHIVE = "-XX:ArchiveClassesAtExit"
_NOISE = (b"WARNING: Using incubator modules", b"NOTE: Picked up ", b"Picked up ", b"Exception in thread ", b"\tat ")
"""What a JVM says of itself as it starts, and of its threads that die, which no setting silences: whoever asked that
thread for something gets an exception."""


def start_jvm(settings: Mapping[str, str]) -> None:
    """Start the JVM of this process with these settings, if none runs yet. Raises ConfigError where it does not start,
    with what it said."""
    if SparkContext._gateway is not None or "PYSPARK_GATEWAY_PORT" in os.environ:  # type: ignore[attr-defined]
        return
    if locale.getencoding().lower() not in ("utf-8", "utf8"):
        os.environ["LC_ALL"] = "C.UTF-8"  # by a POSIX locale Java cannot even name a file with an é
    stderr = _Stderr()
    try:
        gateway = launch_gateway(_conf(settings), {"stderr": stderr.end})
    except PySparkRuntimeError as error:
        raise ConfigError(_why(stderr.said())) from error
    finally:
        os.close(stderr.end)
    stderr.pass_on()
    SparkContext._ensure_initialized(gateway=gateway)  # type: ignore[attr-defined]


def _conf(settings: Mapping[str, str]) -> SparkConf:
    """The settings, with our log's unless they name one."""
    options = settings.get(_OPTIONS, "")
    if _LOG not in options:
        options += f" -D{_LOG}={Path(__file__).with_name('log4j2.properties').as_uri()}"
    if _ARCHIVE not in options:
        options += f" {java_option()} -Xlog:disable"  # of an archive that does not fit the JVM says so, on stdout
    shown = [(key, value) for key, value in settings.items() if not is_secret(key)]  # all users see a command line
    return SparkConf(loadDefaults=False).setAll([*shown, (_OPTIONS, options.strip())])


def _why(said: list[str]) -> str:
    try:
        find_java()
    except MissingError as missing:
        return str(missing)
    first = re.sub(r"^Exception in thread \S+ (\S+\.)?", "", said[0] if said else "nothing")
    return f"Spark's JVM does not start, it says: {first[:300]}; correct the settings of the profile (--profile)"


class _Stderr:
    """Passes on what the JVM, and the Python workers below it, write to stderr, line by line, but for the noise; what
    is said before ``pass_on`` is held back till then. By the descriptor: a thread that held Python's own stderr as the
    process ends would make it abort."""

    def __init__(self) -> None:
        source, self.end = os.pipe()
        self._held: list[bytes] = []
        self._runs = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(source,), daemon=True)
        self._thread.start()

    def said(self) -> list[str]:
        """The lines of a JVM that has ended before it ran."""
        self._thread.join(1.0)
        return [line.decode("utf-8", "replace").strip() for line in self._held if not line.startswith(_NOISE[:3])]

    def pass_on(self) -> None:
        """The JVM runs."""
        self._runs.set()

    def _read(self, source: int) -> None:
        with os.fdopen(source, "rb") as lines:
            for line in lines:
                self._held.append(line)
                if self._runs.is_set():
                    kept = b"".join(each for each in self._held if not each.startswith(_NOISE))
                    self._held.clear()
                    with suppress(OSError):  # a closed stderr is no reason to hold up the JVM
                        os.write(2, kept)
