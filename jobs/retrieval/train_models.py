"""Train all models of the config in one launch and write them, with a row each in ``models``."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from roilake.feed import files_of
from roilake.lake import TABLES, Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.feed.features import read_nodes
from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary
from roilake.pipelines.retrieval.graph import Window, last_model, plan_windows
from roilake.pipelines.retrieval.roi.layout import ITEM_ROOTS, REQUEST_ROOTS, RoiLayout
from roilake.pipelines.retrieval.training.inputs import TrainingData
from roilake.pipelines.retrieval.training.rank import ModelTask, Plan
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, Recorder, recorded
from roilake.training import launch

JOB = "train_models"
INPUTS = ("rois", "nodes", "interest_vectors")


def run(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    """Learn from the train windows, keep each model's best epoch on the validation windows, and write the folders
    ``models/<name>/<ds>/<run_id>`` and table ``models``.

    A first night trains ``training.epochs`` epochs from initial weights; a later one ``training.warm_epochs`` from the
    weights of the same model in the last published night. When no train window lies between, a model is carried over.
    """
    with recorded(lake, config, ds, JOB) as record:
        parents = published_models(lake, ds)
        last = last_model(lake, config, ds)
        windows = plan_windows(config.windows, ds, last.train_end if last else None)
        plan = make_plan(record, config, windows, parents)
        record.rows_in = sum(file.rows for file in plan.data.requests)
        record.progress(f"trains {', '.join(config.models)} on {len(plan.data.train)} windows", rows=None)
        figures = launch(plan, config.training.workers, lake.spark)
        ends = [window.end for window in windows if window.split == "train"]
        until = max(ends, default=last.train_end if last else windows[0].as_of)
        record.write("models", model_rows(record, config, plan, figures, until))
        record.details |= {"models": figures, "wait_fraction": waited(figures)}
    return record.result


def make_plan(
    record: Recorder, config: RetrievalConfig, windows: tuple[Window, ...], parents: dict[str, dict[str, Any]]
) -> Plan:
    """Pin the files and name the folders of everything that the night trains."""
    lake, ds, run_id = record.lake, record.run.ds, record.run.run_id
    versions = {table: record.pin(table) for table in INPUTS}
    rois = files_of(lake, "rois", versions["rois"], ds=ds)
    nodes = files_of(lake, "nodes", versions["nodes"], ds=ds)
    starts = {split: tuple(w.as_of for w in windows if w.split == split) for split in ("train", "validation")}
    needed = {str(as_of) for split in starts.values() for as_of in split}
    in_use = [file for file in rois if file.partition["as_of"] in needed and file.rows]
    data = TrainingData(
        requests=tuple(file for file in in_use if file.partition["side"] == "request"),
        items=tuple(file for file in in_use if file.partition["side"] == "item"),
        nodes=nodes,
        vectors=files_of(lake, "interest_vectors", versions["interest_vectors"], ds=ds),
        **starts,
        vocabulary=Vocabulary.build(read_nodes(nodes), _last_vocabulary(lake, parents)),
        request_layout=RoiLayout.of(config.roi.request_hops, REQUEST_ROOTS),
        item_layout=RoiLayout.of(config.roi.item_hops, ITEM_ROOTS),
        shards=config.roi.shards,
        interest_dim=config.interest.dim,
        seed=config.seed,
    )
    tasks = tuple(_task(record, config, name, parents.get(name)) for name in config.models)
    key = hashlib.sha256(repr((run_id, sorted(versions.items()), parents)).encode()).hexdigest()[:16]
    return Plan(data, config.training, tasks, key)


def waited(figures: dict[str, dict[str, Any]]) -> float:
    """Part of the time of all training steps of the night that was spent waiting for input."""
    seconds = sum(found["seconds"] for found in figures.values())
    lost = sum(found["seconds"] * found["wait_fraction"] for found in figures.values())
    return round(lost / seconds, 5) if seconds else 0.0


def published_models(lake: Lake, ds: date) -> dict[str, dict[str, Any]]:
    """The rows of ``models`` of the last night published before ``ds``, by name."""
    published = lake.publication(before=ds)
    if published is None or "models" not in published.versions:
        return {}
    where: dict[str, object] = {"ds": published.ds, "run_id": published.run_id}
    rows = lake.to_arrow("models", published.versions["models"], filters=where).to_pylist()
    return {row["name"]: {"path": row["path"], "config": json.loads(row["config"])} for row in rows}


def model_rows(
    record: Recorder, config: RetrievalConfig, plan: Plan, figures: dict[str, dict[str, Any]], until: date
) -> pa.Table:
    """A row of table ``models`` for each trained model."""
    folder = Path(record.lake.path)
    rows = [
        {
            "ds": record.run.ds,
            "name": task.name,
            "run_id": record.run.run_id,
            "path": str(Path(task.folder).relative_to(folder)),
            "config": json.dumps(task.config.model_dump(mode="json"), sort_keys=True),
            "parents": json.dumps(
                {
                    "model": str(Path(task.parent).relative_to(folder)) if task.parent else None,
                    "tables": {table: record.run.inputs[table] for table in INPUTS},
                },
                sort_keys=True,
            ),
            "metrics": json.dumps(figures[task.name]["metrics"], sort_keys=True),
            "train_end": until,
        }
        for task in plan.tasks
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["models"].arrow_schema)


def _task(record: Recorder, config: RetrievalConfig, name: str, parent: dict[str, Any] | None) -> ModelTask:
    """A model whose config has changed since the last published night starts cold."""
    model, lake = config.models[name], record.lake
    warm = parent is not None and parent["config"] == model.model_dump(mode="json")
    return ModelTask(
        name=name,
        config=model,
        epochs=config.training.warm_epochs if warm else config.training.epochs,
        folder=str(Path(lake.path) / "models" / name / str(record.run.ds) / record.run.run_id),
        checkpoints=str(lake.scratch(f"{JOB}/{record.run.run_id}") / name),
        parent=str(Path(lake.path) / parent["path"]) if parent and warm else None,
    )


def _last_vocabulary(lake: Lake, parents: dict[str, dict[str, Any]]) -> Vocabulary | None:
    """All models of a night share one vocabulary, so any of the last night's will do."""
    if not parents:
        return None
    return Vocabulary.from_json(
        (Path(lake.path) / parents[min(parents)]["path"] / "vocabulary.json").read_text()
    )


if __name__ == "__main__":
    main(run, "retrieval")
