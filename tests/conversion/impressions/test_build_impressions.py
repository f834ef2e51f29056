"""Logs of any form become impressions; what cannot is kept with its reason; no night knows what comes after it."""

from __future__ import annotations

import zlib
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.conversion import build_impressions
from roilake.errors import AuditError, SourceError
from roilake.lake import Lake
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.conversion.impressions.ingest import category
from roilake.runtime.registry import load_config
from roilake.runtime.step import StepResult

DS = date(2020, 1, 10)
CONF = Path(__file__).parents[3] / "conf" / "nights" / "conversion"
HEADER = "id,user,item,time,click,conversion,delay,rate,propensity,country\n"
GOOD = (
    "a,ann,tea,2020-01-02 10:00:00,1,1,60,1.0,0.5,fr\n"
    "b,bob,milk,2020-01-03 10:00:00,1,0,,1.0,0.5,\n"
    "c,ann,milk,2020-01-10 23:59:59,0,0,,0.1,,de\n"
)


def night(folder: Path, text: str, **impressions: Any) -> ConversionConfig:
    """A night over ``text`` as the one file of its log."""
    (folder / "log.csv").write_text(text)
    columns = {
        "impression_id": "id",
        "user": "user",
        "item": "item",
        "time": "time",
        "click": "click",
        "conversion": "conversion",
        "delay_seconds": "delay",
        "sampling_rate": "rate",
        "propensity": "propensity",
    }
    tree = {
        "source": {"files": {"log": {"path": str(folder / "log.csv"), "format": "csv"}}, "columns": columns},
        "fields": {"user": {"country": "country"}},
        "split": {"by": "time", "validation": 2, "test": 1},
    }
    return ConversionConfig.model_validate(
        {
            "pipeline": "conversion",
            "name": "test",
            "default_model": "base",
            "models": {"base": {"kind": "base"}},
            "impressions": tree | impressions,
        }
    )


def impressions(lake: Lake, ds: date = DS) -> dict[str, dict[str, Any]]:
    rows = lake.to_arrow("impressions", lake.version("impressions"), filters={"ds": ds}).to_pylist()
    assert len({(row["split"], row["impression_id"]) for row in rows}) == len(rows)
    return {row["impression_id"]: row for row in rows}


def node_ids(lake: Lake) -> list[dict[str, Any]]:
    return lake.to_arrow("node_ids", lake.version("node_ids")).to_pylist()


def quarantine(lake: Lake) -> Counter[str]:
    rows = lake.to_arrow("quarantine", lake.version("quarantine")).to_pylist()
    return Counter(row["reason"] for row in rows)


def reconciled(result: StepResult) -> bool:
    return result.rows_in == result.rows_out + result.rows_quarantined + result.rows_later


def test_a_row_becomes_an_impression(lake: Lake, tmp_path: Path) -> None:
    result = build_impressions.run(lake, night(tmp_path, HEADER + GOOD), DS)
    assert (result.rows_in, result.rows_out, result.rows_quarantined) == (3, 3, 0)
    rows = impressions(lake)
    found = rows["a"]
    assert found["time"] == datetime(2020, 1, 2, 10, tzinfo=UTC)
    assert {k: found[k] for k in ("user", "item", "click", "conversion", "delay_seconds", "propensity")} == {
        "user": "ann", "item": "tea", "click": 1, "conversion": 1, "delay_seconds": 60.0, "propensity": 0.5
    }  # fmt: skip
    ids = {(row["node_type"], row["key"]): row["id"] for row in node_ids(lake)}
    assert sorted(ids.items()) == [
        (("item", "milk"), 1), (("item", "tea"), 0), (("user", "ann"), 0), (("user", "bob"), 1)
    ]  # by first time  # fmt: skip
    assert found["categories"] == [ids["user", "ann"], ids["item", "tea"], hashed("country", "fr")]
    assert rows["b"]["categories"][2] == -1  # an empty cell of CSV is missing
    assert {k: (row["split"], row["labelled"], row["conversion"]) for k, row in rows.items()} == {
        "a": ("train", 1, 1),
        "b": ("train", 1, 0),
        "c": ("test", 0, None),  # not clicked: nobody knows
    }
    assert rows["c"]["sampling_rate"] == 0.1


def hashed(field: str, value: str) -> int:
    return zlib.crc32(f"{field}={value}".encode()) & 0x7FFFFFFF


def test_a_category_is_a_hash_of_field_and_value(spark: SparkSession) -> None:
    values = ["ann", "", "Zoë ☃", None, " x ", "1.0"]
    rows = spark.createDataFrame([(v,) for v in values], "value string")
    found = [row[0] for row in rows.select(category("country", F.col("value"))).collect()]
    assert found == [-1 if value is None else hashed("country", value) for value in values]
    assert len(set(found)) == len(values) and hashed("country", "fr") != hashed("city", "fr")


def test_what_makes_no_impression_is_kept_with_its_reason(lake: Lake, tmp_path: Path) -> None:
    time = "2020-01-04 10:00:00"
    bad = [
        f"u,,tea,{time},1,0,,1,,fr",
        f"i,ann, ,{time},1,0,,1,,fr",
        "t,ann,tea,yesterday,1,0,,1,,fr",
        f",ann,tea,{time},1,0,,1,,fr",
        f"v,ann,tea,{time},0,1,,1,,fr",
        f"k,ann,tea,{time},2,0,,1,,fr",
        f"n,ann,tea,{time},,0,,1,,fr",
        f"m,ann,tea,{time},1,,,1,,fr",
        f"l,ann,tea,{time},1,0.5,,1,,fr",
        f"d,ann,tea,{time},1,1,-1,1,,fr",
        f"r,ann,tea,{time},1,0,,0,,fr",
        f"q,ann,tea,{time},1,0,,1.5,,fr",
        f"p,ann,tea,{time},1,0,,1,0,fr",
        f"o,ann,tea,{time},1,0,,1,NaN,fr",
        f"a,ann,tea,{time},1,0,,1,,fr",
        f"x,ann,tea,{time},1,0,,1,,fr,one,too,many",
    ]
    text = HEADER + GOOD + "\n".join(bad) + "\n"
    result = build_impressions.run(lake, night(tmp_path, text, quarantine_budget=1.0), DS)
    assert quarantine(lake) == result.details["rejected"] == {
        "no user": 1,
        "no item": 1,
        "no time": 1,
        "no impression id": 1,
        "a conversion without a click": 1,
        "click is neither 0 nor 1": 1,
        "no click, or none of its conversion": 2,
        "conversion is neither 0 nor 1": 1,
        "a negative delay": 1,
        "a sampling rate outside (0, 1]": 2,
        "a propensity outside (0, 1]": 2,
        "repeats an impression id": 1,
        "does not parse": 1,
    }  # fmt: skip
    assert reconciled(result) and set(impressions(lake)) == {"a", "b", "c"}
    assert impressions(lake)["a"]["time"].day == 2  # the first of two rows of one id stays


def test_above_the_budget_nothing_but_the_rejected_rows_is_written(lake: Lake, tmp_path: Path) -> None:
    text = HEADER + GOOD + "v,ann,tea,2020-01-04 10:00:00,0,1,,1,,fr\n"
    with pytest.raises(AuditError, match=r"1 of 4 rows were rejected \(1 a conversion without a click\), above"):
        build_impressions.run(lake, night(tmp_path, text), DS)
    assert quarantine(lake) == {"a conversion without a click": 1}
    assert not lake.exists("impressions")


def test_a_night_knows_nothing_of_what_comes_after_it(lake: Lake, tmp_path: Path) -> None:
    log = (
        "late,ann,tea,2020-01-10 20:00:00,1,1,14400,1,,fr\n"  # converts at the very end of the night: not known yet
        "soon,ann,tea,2020-01-10 20:00:00,1,1,14399,1,,fr\n"
        "next,ann,tea,2020-01-11 00:00:00,1,1,60,1,,fr\n"
    )
    text = HEADER + GOOD + log
    first = build_impressions.run(lake, night(tmp_path, text), DS)
    assert first.rows_later == 1 and first.details["left_out"] == {} and reconciled(first)
    rows = impressions(lake)
    assert set(rows) == {"a", "b", "c", "late", "soon"}
    assert (rows["late"]["conversion"], rows["late"]["delay_seconds"]) == (0, None)
    assert (rows["soon"]["conversion"], rows["soon"]["delay_seconds"]) == (1, 14399.0)
    build_impressions.run(lake, night(tmp_path, text), DS + timedelta(days=1))
    later = impressions(lake, DS + timedelta(days=1))
    assert later["late"]["conversion"] == 1 and later["next"]["split"] == "test"
    assert impressions(lake) == rows


def test_days_and_maturity_bound_what_a_night_looks_at(lake: Lake, tmp_path: Path) -> None:
    days = [f"{n},ann,tea,2020-01-{n:02d} 12:00:00,1,0,,1,,fr\n" for n in range(1, 11)]
    result = build_impressions.run(lake, night(tmp_path, HEADER + "".join(days), days=7, maturity_hours=24), DS)
    assert result.details["left_out"] == {"too old": 3, "too young": 1} and reconciled(result)
    assert (result.rows_in, result.rows_later) == (6, 0)
    splits = {int(k): row["split"] for k, row in impressions(lake).items()}
    assert splits == {4: "train", 5: "train", 6: "train", 7: "validation", 8: "validation", 9: "test"}


def test_splits_by_hash_are_shares_and_depend_on_the_seed(lake: Lake, tmp_path: Path) -> None:
    text = HEADER + "".join(f"{n},u{n},tea,2020-01-02 10:00:00,1,0,,1,,fr\n" for n in range(2000))
    config = night(tmp_path, text, split={"by": "hash", "validation": 0.2, "test": 0.1})
    build_impressions.run(lake, config, DS)
    splits = {key: row["split"] for key, row in impressions(lake).items()}
    shares = Counter(splits.values())
    assert abs(shares["validation"] - 400) < 60 and abs(shares["test"] - 200) < 45
    build_impressions.run(lake, config.model_copy(update={"seed": 1}), DS)
    assert {key: row["split"] for key, row in impressions(lake).items()} != splits


def test_files_are_in_order_and_the_same_however_the_log_is_cut(lake: Lake, tmp_path: Path) -> None:
    lines = [f"{n},u{n % 7},i{n % 5},2020-01-{2 + n % 9:02d} 10:00:00,{n % 2},0,,1,,fr\n" for n in range(300)]
    build_impressions.run(lake, night(tmp_path, HEADER + "".join(lines)), DS)
    before = impressions(lake)
    files = lake.active_files("impressions", lake.version("impressions"))
    assert len({tuple(sorted(file.partition.items())) for file in files}) == len(files) == 3 * 2 * 2
    for file in files:
        table = pa.parquet.read_table(file.path.removeprefix("file://"), columns=["impression_id"])
        assert (names := table["impression_id"].to_pylist()) == sorted(names) and names
    build_impressions.run(lake, night(tmp_path, HEADER + "".join(reversed(lines))), DS)
    assert impressions(lake) == before


def test_random_pairs_from_after_the_night_or_too_young_are_left_out(lake: Lake, tmp_path: Path) -> None:
    config = night(tmp_path, HEADER + GOOD, maturity_hours=12)
    drawn = (
        "".join(
            f"{name},ann,tea,2020-01-{day} 10:00:00,,1,,1,,fr\n" for name, day in (("x", "01"), ("y", 10), ("z", 11))
        )
        + "w,ann,tea,2020-01-10 13:00:00,,0,,1,,fr\nno,ann,tea,2020-01-01 10:00:00,1,,,1,,fr\n"
    )
    (tmp_path / "drawn.csv").write_text(HEADER + drawn)
    source = config.impressions.source
    assert source is not None
    unbiased = source.model_dump() | {"files": {"drawn": {"path": str(tmp_path / "drawn.csv"), "format": "csv"}}}
    config = night(tmp_path, HEADER + GOOD, maturity_hours=12, days=5, unbiased=unbiased, quarantine_budget=0.5)
    result = build_impressions.run(lake, config, DS)
    assert reconciled(result) and result.details["rejected"] == {"no conversion": 1}
    assert result.rows_later == 1 and result.details["left_out"] == {"too old": 2, "too young": 2}
    found = {key: row for key, row in impressions(lake).items() if row["split"] == "unbiased"}
    assert set(found) == {"x", "y"}  # of any age: all are judged on them
    assert [(row["labelled"], row["click"], row["conversion"]) for row in found.values()] == [(1, None, 1)] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": {"user": "buyer"}}, r"log.csv: impressions.source.columns.user: 'buyer' does not fit"),
        ({"rows": "SELECT * FROM logs"}, r"impressions.source.rows: .*logs.*; the files are log"),
        ({"files": {"log": {"path": "none.csv", "format": "csv"}}}, "none.csv: no such file"),
    ],
)
def test_what_does_not_fit_is_named(lake: Lake, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    config = night(tmp_path, HEADER + GOOD)
    assert config.impressions.source is not None
    source = config.impressions.source.model_dump()
    source |= {key: source[key] | value if isinstance(value, dict) else value for key, value in change.items()}
    with pytest.raises(SourceError, match=message):
        build_impressions.run(lake, night(tmp_path, HEADER + GOOD, source=source), DS)


def test_a_field_that_does_not_fit_is_named(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"impressions.fields.item.brand: 'brand' does not fit"):
        build_impressions.run(lake, night(tmp_path, HEADER + GOOD, fields={"item": {"brand": "brand"}}), DS)


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_is_sound(path: Path) -> None:
    assert load_config(path, "conversion").name == path.stem


def test_a_preset_brings_the_suite_where_the_night_has_no_keys_of_its_own(tmp_path: Path) -> None:
    config = load_config(CONF / "own_data.yaml", "conversion")
    assert isinstance(config, ConversionConfig)
    assert config.labelling_teachers == ("ensemble",) and len(config.teachers) == 7
    assert config.models["ukd"].teacher == "ensemble" and config.models["ukd"].steps == 800
    tree = yaml.safe_load((CONF / "own_data.yaml").read_text())
    tree |= {"preset": str(CONF / tree["preset"]), "models": {"ukd": {"kind": "base"}}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(tree | {"gates": {}}))
    own = load_config(tmp_path / "own.yaml", "conversion")
    assert isinstance(own, ConversionConfig)
    assert own.models["ukd"].kind == "base" and own.teachers == config.teachers
