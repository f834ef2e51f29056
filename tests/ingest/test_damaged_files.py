"""Two hundred damaged files: of each, every row is taken as it stood, rejected, or one line tells what is odd."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from roilake.config import FileSource
from roilake.edge import one_line_errors
from roilake.errors import MENDABLE
from roilake.ingest import map_rows, read_source, with_reason

NAMES = ("user", "item", "time")
ROWS = [(f"u{n % 7}", f"i{n}", f"2026-08-{1 + n % 28:02d} 10:00:00") for n in range(60)]
Damage = Callable[[bytes, random.Random], bytes]


def flip(data: bytes, draw: random.Random) -> bytes:
    """Three bytes changed: what is read of these rows may be anything."""
    found = bytearray(data)
    for _ in range(3):
        found[draw.randrange(len(found))] = draw.randrange(256)
    return bytes(found)


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def hole(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + data[at + draw.randrange(1, 90) :]


def quote(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + b'"' + data[at:]


def nulls(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + b"\0" * 40 + data[at:]


def shuffled_lines(data: bytes, draw: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(draw.sample(lines, len(lines)))


def other_encoding(data: bytes, draw: random.Random) -> bytes:
    return data.decode().encode("utf-16")


def foreign(data: bytes, draw: random.Random) -> bytes:
    return draw.choice([b"", b"\n\n\n", b"PK\x03\x04" + data, b"<html>no data</html>", b"{}", b"[1, 2]", b"\xff" * 50])


DAMAGES: tuple[Damage, ...] = (flip, cut, hole, quote, nulls, shuffled_lines, other_encoding, foreign)
CHANGED = {flip: 4, cut: 1, hole: 2, quote: 2, nulls: 1}
"""How many rows a damage may change into others that look sound."""


def file_of(folder: Path, kind: str) -> bytes:
    table = pd.DataFrame(ROWS, columns=NAMES)
    if kind == "parquet":
        table.to_parquet(folder / "sound")
        return (folder / "sound").read_bytes()
    if kind == "json":
        return table.to_json(orient="records", lines=True).encode()
    return table.to_csv(index=False).encode()


def outcome(spark: SparkSession, path: Path, kind: str) -> tuple[list[tuple[str, ...]], int]:
    """The sound rows, and how many are rejected."""
    source = read_source(spark, FileSource(path=str(path), format=kind))
    columns = {name: name for name in NAMES}
    rows = map_rows(source, "events", "columns", columns, identity="item", identified_by=(), required=NAMES)
    found = with_reason(rows, NAMES, [], NAMES).selectExpr("user", "item", "CAST(time AS STRING)", "reason").collect()
    return [tuple(row)[:3] for row in found if row["reason"] is None], sum(row["reason"] is not None for row in found)


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "json", "parquet"])
def test_a_damaged_file_is_read_or_refused_in_one_line(
    spark: SparkSession, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sound, ends = file_of(tmp_path, kind.removesuffix(".gz")), Counter[str]()
    for seed in range(50):
        draw, damage = random.Random(seed), DAMAGES[seed % len(DAMAGES)]
        data = sound
        if kind.endswith(".gz") and damage in (flip, cut):
            data = damage(gzip.compress(sound), draw)
        elif kind == "parquet" and damage in (shuffled_lines, other_encoding):
            data = flip(sound, draw)
        else:
            data = damage(sound, draw)
            data = gzip.compress(data) if kind.endswith(".gz") else data
        path = tmp_path / f"{seed}.{kind}"
        path.write_bytes(data)
        try:
            with one_line_errors():
                rows, rejected = outcome(spark, path, kind.removesuffix(".gz"))
        except SystemExit as end:
            said = capsys.readouterr().err.strip().splitlines()[-1:]
            assert end.code == MENDABLE and f"{seed}.{kind}" in said[0], (seed, damage.__name__, end.code, said)
            ends["refused"] += 1
            continue
        strange = set(rows) - set(ROWS)
        changed = 60 if damage is flip and kind in ("csv.gz", "parquet") else CHANGED.get(damage, 0)
        assert len(strange) <= changed, (seed, damage.__name__, strange)
        ends["read"] += 1
        ends["rejected"] += rejected
    assert ends["refused"] and ends["read"], ends
