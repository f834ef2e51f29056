"""A whole night of every kind of model, run in two lakes: all that it leaves is equal to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from roilake.config import NightConfig
from roilake.lake import TABLES, Lake, Publication
from roilake.pipelines.conversion import models as conversion
from roilake.pipelines.retrieval import models as retrieval
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.runtime.night import run_night
from tests.conversion.small import DS as CLICKED
from tests.conversion.small import log_of, night_of

DS = date(2020, 1, 10)
SHORT = {"lightgcn": {"epochs": 3}, "bpr_mf": {"epochs": 3}}
OF_THE_RUN = {"runs": ["seconds", "bytes", "details"]}
"""Columns that hold times, and bytes of as many files as there were partitions."""


def retrieval_night(folder: Path) -> RetrievalConfig:
    """A dozen users, every third event without a query; users have a field, items a text."""
    draw = np.random.default_rng(4)
    hours = [f"2020-01-{day:02d} {hour:02d}:00:00" for day in range(5, 11) for hour in range(4, 24)]
    queries = draw.choice(["", "hot", "cold"], len(hours))
    lines = [
        f"u{draw.integers(12)},i{draw.integers(15)},{query},{hour}" for query, hour in zip(queries, hours, strict=True)
    ]
    tables = {
        "events": ["user,item,query,time", *lines],
        "users": ["key,age", *(f"u{n},{n % 3}" for n in range(12))],
        "items": ["key,text", *(f"i{n},word{n % 4} and word{n % 3}" for n in range(15))],
    }
    for name, rows in tables.items():
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    files = {name: {"path": str(folder / f"{name}.csv"), "format": "csv"} for name in tables}
    tree: dict[str, Any] = {
        "pipeline": "retrieval",
        "name": "twice",
        "source": {
            "events": {**files["events"], "columns": {name: name for name in ("user", "item", "query", "time")}},
            "users": {**files["users"], "key": "key", "fields": {"age": "age"}},
            "items": {**files["items"], "key": "key", "terms": "text", "title": "text"},
        },
        "windows": {"length": "1d", "train": 1},
        "models": {kind: {"kind": kind, "options": SHORT.get(kind, {})} for kind in retrieval.kinds()},
        "training": {"workers": 1, "epochs": 1, "batch_size": 64},
        "evaluation": {"bootstrap": 5},
    }
    return RetrievalConfig.model_validate(tree)


def conversion_night(folder: Path) -> NightConfig:
    """All kinds, ``ukd`` taught by an ensemble of the others."""
    teachers = {kind: {"kind": kind} for kind in conversion.kinds() if kind != "ukd"}
    return night_of(
        folder,
        log_of(),
        default_model="ukd",
        models={"ukd": {"kind": "ukd", "teacher": "all"}},
        teachers=teachers,
        ensembles={"all": list(teachers)},
        training={"workers": 1, "steps": 12, "clicks": 32, "impressions": 64, "validate_every": 6},
        evaluation={"bootstrap": 5},
    )


Nights = dict[str, tuple[NightConfig, list[tuple[Lake, Publication]]]]


@pytest.fixture(scope="module")
def twice(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    """By pipeline its config, and both lakes with what was published there; the second lake's nights had another number
    of shuffle partitions."""
    folder = tmp_path_factory.mktemp("twice")
    configs: list[tuple[NightConfig, date]] = [(conversion_night(folder), CLICKED), (retrieval_night(folder), DS)]
    found: Nights = {config.pipeline: (config, []) for config, _ in configs}
    before = str(spark.conf.get("spark.sql.shuffle.partitions"))
    for number, partitions in enumerate((before, "5")):
        spark.conf.set("spark.sql.shuffle.partitions", partitions)
        lake = Lake.open(spark, folder / f"lake{number}", create=True)
        for config, ds in configs:
            run_night(lake, config, ds)
            published = lake.publication(config.pipeline)
            assert published is not None and published.ds == ds
            found[config.pipeline][1].append((lake, published))
    spark.conf.set("spark.sql.shuffle.partitions", before)
    yield found


@pytest.mark.parametrize("pipeline", ["conversion", "retrieval"])
def test_all_tables_are_equal(twice: Nights, pipeline: str) -> None:
    config, nights = twice[pipeline]
    tables: list[dict[str, Any]] = []
    for lake, night in nights:
        read = {name: lake.to_arrow(name, version) for name, version in night.versions.items()}
        keys = {name: [(key, "ascending") for key in TABLES[name].key] for name in read}
        kept = {name: rows.drop_columns(OF_THE_RUN.get(name, [])) for name, rows in read.items()}
        tables.append({name: rows.sort_by(keys[name]).to_pylist() for name, rows in kept.items()})
    once, again = tables
    assert once.keys() == again.keys() and {"models", "metrics", "node_ids", "runs"} <= once.keys()
    for name, rows in once.items():
        assert rows == again[name], name
    assert {row["model"] for row in once["metrics"] if row["pipeline"] == pipeline} == {*config.evaluated}
    made = {"rois", "recommendations"} if pipeline == "retrieval" else {"pseudo_labels", "cvr_scores"}
    assert all(once[name] for name in made)


@pytest.mark.parametrize("pipeline", ["conversion", "retrieval"])
def test_all_weights_are_equal(twice: Nights, pipeline: str) -> None:
    config, nights = twice[pipeline]
    for name in config.evaluated:
        paths = [_path_of(lake, night, name) for lake, night in nights]
        folders = [lake.files.local(path) for (lake, _), path in zip(nights, paths, strict=True)]
        once, again = ({file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders)
        assert once.keys() == again.keys()
        assert [each for each in once if once[each] != again[each]] in ([], ["curve.json"]), name  # it has times in it


def _path_of(lake: Lake, night: Publication, model: str) -> str:
    where = {"pipeline": night.pipeline, "ds": night.ds, "name": model}
    (row,) = lake.to_arrow("models", night.versions["models"], filters=where).to_pylist()
    return str(row["path"])
