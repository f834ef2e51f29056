"""What a person can mend among the errors that Python, Spark, Java and Delta raise, told in one line each."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from urllib.parse import unquote

from roilake.errors import FAILED_AUDIT, MENDABLE, AuditError, RoilakeError

_FULL = "the disk is full: free some of it, or name a larger one by ROILAKE_SCRATCH, and run this again"
_OF_THE_SYSTEM = {
    errno.ENOENT: "is not there (any more); restore it or correct its name",
    errno.EACCES: "no permission: let this user read and write it, or name another one",
    errno.EPERM: "no permission: let this user read and write it, or name another one",
    errno.EROFS: "lies on a read-only disk; name another one",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EISDIR: "is a folder; name a file",
    errno.ENOTDIR: "a part of this path is a file, not a folder; correct it",
    errno.EEXIST: "is in the way; move it or choose another name",
    errno.ENAMETOOLONG: "this name is too long; choose a shorter one",
    errno.ELOOP: "its links lead in a circle; mend them",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENOMEM: "out of memory: free some, or lower what runs beside this",
    errno.EIO: "the disk fails; look after it",
}
"""By error number: what is wrong, and what to do."""

_NUMBERS: dict[type[BaseException], int] = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES}
"""Of errors that come without one."""

_OF_SPARK = (
    (
        r"ClassNotFoundException: Class org\.apache\.hadoop\.fs\.s3a\b",
        "Spark has no JAR that reads s3a:// paths: add the line spark.jars.packages org.apache.hadoop:hadoop-aws:3.4.1 "
        "to a Spark profile (--profile), or put that JAR and those it needs among Spark's own (pyspark/jars)",
    ),
    (
        r"ClassNotFoundException: Class (\S*\.fs\.\S+)|No FileSystem for scheme \"?([\w+.-]+)",
        "Spark has no JAR that reads such paths ({0}): name it under spark.jars.packages in a Spark profile "
        "(--profile), or correct the path",
    ),
    (r"HttpFileSystem", "Spark lists no http:// or https:// paths: download the files and name those"),
    (r"(?i)No space left on device|Disk quota exceeded", _FULL),
    (
        r"OutOfMemoryError|GC overhead limit exceeded",
        "Spark's JVM is out of memory: raise spark.driver.memory (on a cluster spark.executor.memory) in a Spark "
        "profile (--profile)",
    ),
    (
        r"Python worker exited unexpectedly|exit code 137|(?m:^MemoryError)",
        "a Python worker has ended for want of memory, or was ended from outside: free some, or lower the cores of "
        "spark.master in a Spark profile (--profile)",
    ),
    (
        r"(?:AccessControlException|FileNotFoundException|AccessDeniedException)[^\n]*?((?:file:)?/[^\s:]+)"
        r"[^\n]*Permission denied",
        "{0}: " + _OF_THE_SYSTEM[errno.EACCES],
    ),
    (
        r"SparkFileNotFoundException: File (?:file:)?(/\S+) does not exist|Path does not exist: (?:file:)?(\S+?)\.?\s|"
        r"while reading file (?:file:/{0,2}(?=/))?(\S.*?)\. File does not exist",
        "{0}: " + _OF_THE_SYSTEM[errno.ENOENT],
    ),
    (
        r"ParentNotDirectoryException: Parent path is not a directory: (?:file:)?(\S+)",
        "{0}: " + _OF_THE_SYSTEM[errno.ENOTDIR],
    ),
    (
        r"while reading file (?:file:/{0,2}(?=/))?(\S.*?)(?:\.?\s*SQLSTATE|\.\s|\n|$)",
        "{0}: cannot be read, it is damaged or of another format: mend it or take it away",
    ),
)
"""What the texts of Spark's errors hold, and the line for it; ``{0}`` is what the pattern found."""

_JVM_GONE = (
    "Spark's JVM has ended (killed, or out of memory?): raise spark.driver.memory in a Spark profile (--profile), or "
    "free memory, and run this again"
)


def mendable(error: BaseException) -> tuple[str, int] | None:
    """The line and exit code for an error that a person can mend; None for one that nobody foresaw."""
    if isinstance(error, RoilakeError):
        return str(error), FAILED_AUDIT if isinstance(error, AuditError) else MENDABLE
    if type(error).__module__.split(".")[0] in ("pyspark", "py4j"):
        return _of_spark(error)
    line = _of_python(error)
    return (line, MENDABLE) if line else None


def _of_python(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return "out of memory: free some, or lower what the config asks for"
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        return f"{error.object!r}: is no valid UTF-8; rename what bears this name"
    if isinstance(error, ModuleNotFoundError) and not (error.name or "roilake").startswith(("roilake", "jobs")):
        return f"package {error.name!r} is not installed; run `make env` (`roilake doctor` tells what is missing)"
    found = re.search(r"(?i)\[errno (\d+)\]|\(os error (\d+)\)", str(error))  # as Arrow and Rust put it
    number = int(found[1] or found[2]) if found else getattr(error, "errno", None) or _NUMBERS.get(type(error))
    if number not in _OF_THE_SYSTEM or not (isinstance(error, OSError) or found):
        return None
    named = getattr(error, "filename", None) or _path_in(str(error))
    return f"{os.fsdecode(named)}: {_OF_THE_SYSTEM[number]}" if named else _OF_THE_SYSTEM[number]


def _path_in(text: str) -> str | None:
    found = re.search(r"['\"]?(?<![\w.])(/[^'\"]+?)(?:['\"]|: |\.? Detail|\s\(|$)", text)
    return found[1] if found else None


def _of_spark(error: BaseException) -> tuple[str, int] | None:
    text = "\n".join(_texts(error))
    raised = re.search(r"^(roilake\.[\w.]+)\.(\w+): (.+)", text, re.MULTILINE)  # in a task, by roilake itself
    kinds = {kind.__name__: kind for kind in _kinds(RoilakeError)}
    if raised and raised[2] in kinds:
        return raised[3], FAILED_AUDIT if issubclass(kinds[raised[2]], AuditError) else MENDABLE
    by_system = re.search(r"^(?:\w+\.)*\w*Error: (\[Errno \d+\].*)", text, re.MULTILINE)  # in a task, by Python
    told = _of_python(OSError(by_system[1])) if by_system else None
    if told:
        return told, MENDABLE
    for pattern, line in _OF_SPARK:
        found = re.search(pattern, text)
        if found:
            return line.format(unquote(next((group for group in found.groups() if group), ""))), MENDABLE
    gone = type(error).__name__ == "Py4JNetworkError" or re.search(r"error occurred while calling \S+\s*$", text)
    return (_JVM_GONE, MENDABLE) if gone or isinstance(error.__context__, ConnectionError) else None


def _texts(error: BaseException) -> Iterator[str]:
    """What the error says, with the stack of the JVM where it is known. A dead JVM cannot be asked."""
    for tell in (lambda: str(error), lambda: str(getattr(error, "_stackTrace", ""))):
        try:
            yield tell()
        except Exception:
            yield ""


def _kinds(kind: type[RoilakeError]) -> Iterator[type[RoilakeError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _kinds(each)
