"""The job on a tiny lake: two nights, in this process."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.torch import load_file

from jobs.retrieval import train_models
from roilake.errors import ConfigError
from roilake.lake import TABLES, Lake, Publication
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary
from roilake.pipelines.retrieval.graph import plan_windows
from roilake.pipelines.retrieval.roi.layout import ITEM_ROOTS, REQUEST_ROOTS, RoiLayout
from roilake.runtime.registry import load_config
from roilake.runtime.run import make_run
from roilake.training.night import wait_fraction

DS = date(2020, 3, 10)
DIM = 4
CONFIG = RetrievalConfig.model_validate(
    {
        "pipeline": "retrieval",
        "name": "tiny",
        "source": {"events": {"path": "none", "format": "csv", "columns": {"user": "u", "item": "i", "time": "t"}}},
        "windows": {"length": "7d", "train": 2},
        "interest": {"dim": DIM},
        "roi": {"request_hops": [{"user_item": 2, "query_item": 2}], "item_hops": [{"item_user": 2}]},
        "models": {
            "zoomer": {"kind": "zoomer", "options": {"dim": 8}},
            "no_graph": {"kind": "no_graph", "options": {"dim": 8}, "loss": "focal"},
            "sasrec": {"kind": "sasrec", "options": {"dim": 8, "history_length": 3}},
            "popularity": {"kind": "popularity"},
        },
        "training": {"workers": 1, "epochs": 2, "batch_size": 16, "positives": 2, "checkpoint_every": 2},
    }
)


def write_tables(lake: Lake, ds: date, until: date | None, users: int, items: int) -> None:
    """ROIs, nodes and interest vectors of a night, drawn at random."""
    random, run = np.random.default_rng(ds.toordinal()), make_run(CONFIG, ds, "test")
    counts = {"user": users, "query": 3, "item": items}
    windows = plan_windows(CONFIG.windows, ds, until)
    nodes = [
        {
            "ds": ds,
            "node_type": kind,
            "id": n,
            "key": f"{kind}{n}",
            "fields": [("f", f"v{n % 2}")],
            "terms": [f"w{n % 5}"],
        }
        for kind, count in counts.items()
        for n in range(count)
    ]
    vectors = [
        {
            "ds": ds,
            "as_of": w.as_of,
            "node_type": kind,
            "id": n,
            "vector": random.standard_normal(DIM),
            "norm": 1.0,
            "degree": 1 + n,
        }
        for w in windows
        for kind, count in counts.items()
        for n in range(count)
    ]
    rois = []
    for side, roots, hops in (
        ("request", REQUEST_ROOTS, CONFIG.roi.request_hops),
        ("item", ITEM_ROOTS, CONFIG.roi.item_hops),
    ):
        layout = RoiLayout.of(hops, roots)
        for window in windows:
            for root in range(30 if side == "request" else items):
                rois.append(
                    {
                        "ds": ds, "side": side, "as_of": window.as_of, "shard": root % 2 if side == "request" else 0,
                        "split": window.split if side == "request" else "item", "root": root,
                        "user": root % users if side == "request" else -1,
                        "query": root % 3 if side == "request" else -1,
                        "time": datetime.combine(window.as_of, time(root % 24)) if side == "request" else None,
                        "positives": [root % items] if side == "request" else [], "repeats": 0,
                        "neighbours": random.integers(-1, 3, layout.size),
                        "relevance": random.integers(0, 100, layout.size),
                        "linked": random.integers(0, 2, layout.places), "ages": random.integers(0, 99, layout.places),
                    }
                )  # fmt: skip
    start = datetime(2020, 1, 1)
    histories = [{"ds": ds, "user": user, "time": start, "item": 0, "query": -1} for user in range(users)]
    tables = {"nodes": nodes, "histories": histories, "interest_vectors": vectors, "rois": rois}
    for table, rows in tables.items():
        schema = TABLES[table].arrow_schema
        lake.write(table, pa.Table.from_pylist(rows, schema=schema), where={"ds": ds}, run=run)


def publish(lake: Lake, ds: date) -> None:
    """Publish the table of models as the night's."""
    run = make_run(CONFIG, ds, "publish_night")
    versions = {"models": lake.version("models")}
    night = Publication("retrieval", ds, run.run_id, versions, CONFIG.model_dump_json(), run.code_revision)
    lake.publish(night, run)


def rows_of(lake: Lake, ds: date) -> dict[str, dict[str, object]]:
    rows = lake.to_arrow("models", lake.version("models"), filters={"ds": ds}).to_pylist()
    return {str(row["name"]): row for row in rows}


@pytest.fixture()
def first(lake: Lake) -> Lake:
    write_tables(lake, DS, None, users=10, items=15)
    train_models.run(lake, CONFIG, DS)
    return lake


def test_two_nights(first: Lake) -> None:
    lake, next_ds = first, DS + timedelta(days=1)
    models = rows_of(lake, DS)
    (run,) = lake.to_arrow("runs", lake.version("runs"), filters={"ds": DS}).to_pylist()
    assert json.loads(run["details"])["seen"] == {"rule": "drop", "repeats": 0, "positives": 150, "share": 0.0}
    assert set(models) == {"zoomer", "no_graph", "sasrec", "popularity"}
    assert 0 < json.loads(str(models["sasrec"]["metrics"]))["auc"] < 1
    assert {row["train_end"] for row in models.values()} == {DS + timedelta(days=1 - 14)}
    folder = lake.files.local(str(models["zoomer"]["path"]))
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "weights.safetensors", "interest.safetensors", "relevance.json", "manifest.json", "curve.json",
        "vocabulary.json",
    }  # fmt: skip
    assert 0 < json.loads(str(models["zoomer"]["metrics"]))["auc"] < 1
    interest = load_file(folder / "interest.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in interest.items()} == {
        "user": (10, DIM), "query": (3, DIM), "item": (15, DIM),
    }  # fmt: skip
    assert len(json.loads((folder / "curve.json").read_text())["validations"]) == 2
    assert not any(path.is_file() for path in lake.lasting("train_models").rglob("*"))  # checkpoints are gone
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    train_models.run(lake, CONFIG, DS)  # again: the same weights
    for name in ("weights.safetensors", "interest.safetensors", "vocabulary.json", "manifest.json"):
        assert (folder / name).read_bytes() == before[name]

    publish(lake, DS)
    write_tables(lake, next_ds, DS + timedelta(days=1 - 14), users=12, items=18)
    train_models.run(lake, CONFIG, next_ds)
    later = rows_of(lake, next_ds)
    assert json.loads(str(later["zoomer"]["parents"]))["model"] == models["zoomer"]["path"]
    assert {row["train_end"] for row in later.values()} == {next_ds + timedelta(days=1 - 14)}
    new_folder = lake.files.local(str(later["zoomer"]["path"]))
    old, new = load_file(folder / "weights.safetensors"), load_file(new_folder / "weights.safetensors")
    grown = [name for name in new if new[name].shape != old[name].shape]
    assert any(len(new[name]) == 12 and len(old[name]) == 10 for name in grown)
    assert set(rows_of(lake, DS)) == set(models)  # the first night's rows stay
    manifest = json.loads((new_folder / "manifest.json").read_text())
    assert manifest["epochs"] == CONFIG.training.warm_epochs and len(manifest["train"]) == 1
    words = Vocabulary.from_json((new_folder / "vocabulary.json").read_text()).terms
    known = Vocabulary.from_json((folder / "vocabulary.json").read_text()).terms
    assert words[: len(known)] == known


def test_a_carried_over_model_keeps_its_weights(first: Lake) -> None:
    """The same day again under another config: no train window lies between."""
    lake = first
    run = make_run(CONFIG, DS - timedelta(days=1), "publish_night")
    row = next(iter(rows_of(lake, DS).values()))
    rows = lake.to_arrow("models", lake.version("models"), filters={"ds": DS})
    earlier = DS - timedelta(days=1)
    moved = rows.set_column(rows.column_names.index("ds"), "ds", pa.array([earlier] * len(rows), pa.date32()))
    moved = moved.set_column(rows.column_names.index("run_id"), "run_id", pa.array([run.run_id] * len(rows)))
    lake.write("models", moved, where={"ds": earlier}, run=run)
    publish(lake, earlier)
    until = row["train_end"]
    assert isinstance(until, date)
    old = load_file(lake.files.local(f"{rows_of(lake, earlier)['zoomer']['path']}/weights.safetensors"))
    write_tables(lake, DS, until, users=10, items=15)
    result = train_models.run(lake, CONFIG, DS)
    assert result.details["models"]["zoomer"]["steps"] == 0
    new = load_file(lake.files.local(f"{rows_of(lake, DS)['zoomer']['path']}/weights.safetensors"))
    assert all((old[name] == new[name]).all() for name in old)
    assert {r["train_end"] for r in rows_of(lake, DS).values()} == {until}


def test_sizes_that_do_not_divide_are_one_line(tmp_path: Path) -> None:
    tree = CONFIG.model_dump(mode="json") | {"roi": {"shards": 3}}
    (tmp_path / "bad.yaml").write_text(json.dumps(tree))
    message = r"bad\.yaml: training\.batch_size \(16\) must be a multiple of roi\.shards \(3\)"
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "bad.yaml")


def test_waiting_is_weighed_by_training_time() -> None:
    figures = {"long": {"seconds": 3.0, "wait_fraction": 0.0}, "short": {"seconds": 1.0, "wait_fraction": 0.2}}
    assert wait_fraction(figures) == 0.05
    assert wait_fraction({"carried over": {"seconds": 0.0, "wait_fraction": 0.0}}) == 0.0
