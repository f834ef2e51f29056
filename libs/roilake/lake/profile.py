"""Spark settings from a file in spark-defaults form. Light to import: no pyspark."""

from __future__ import annotations

from pathlib import Path

from roilake.errors import ConfigError


def read_profile(path: Path | None) -> dict[str, str]:
    """Settings of a file in spark-defaults form: ``key value`` lines, ``#`` comments. Raises ConfigError."""
    if path is None:
        return {}
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such Spark profile; see conf/spark for examples") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a Spark profile, a text of 'key value' lines: {error}") from error
    pairs = [line.split(None, 1) for line in lines if line and not line.startswith("#")]
    for pair in pairs:
        if not pair[0].startswith("spark."):
            raise ConfigError(f"{path}: {pair[0][:80]!r} is no Spark setting; write 'spark.KEY VALUE' lines")
        if len(pair) != 2:
            raise ConfigError(f"{path}: {pair[0]!r} has no value; write 'key value'")
    return dict(pairs)
