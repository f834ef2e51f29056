"""Train all models of the config in one launch and write them, with a row each in ``models``."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from functools import partial
from typing import Any

import pyarrow as pa

from roilake.feed import files_of
from roilake.lake import TABLES, Lake, model_folder
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.feed import Vocabulary, read_nodes
from roilake.pipelines.retrieval.graph import Window, last_model, plan_windows
from roilake.pipelines.retrieval.roi.layout import ITEM_ROOTS, REQUEST_ROOTS, RoiLayout
from roilake.pipelines.retrieval.training import Inputs, RetrievalTask, TrainingData, artifacts, settings_of
from roilake.pipelines.retrieval.training.task import VOCABULARY
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded
from roilake.training import Entry, Plan, launch
from roilake.training.plan import wait_fraction

JOB = "train_models"
INPUTS = ("rois", "nodes", "interest_vectors")


def run(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    """Learn from the train windows, keep each model's best epoch on the validation windows, and write a folder for each
    (``roilake.lake.model_folder``) and table ``models``.

    A first night trains ``training.epochs`` epochs from initial weights; a later one ``training.warm_epochs`` from the
    weights of the same model in the last published night. When no train window lies between, a model is carried over.
    """
    with recorded(lake, config, ds, JOB) as record:
        parents = published_models(lake, config, ds)
        last = last_model(lake, config, ds)
        windows = plan_windows(config.windows, ds, last.train_end if last else None)
        data = pin_data(record, config, windows, parents)
        record.rows_in = sum(file.rows for file in data.requests)
        record.progress(f"trains {', '.join(config.models)} on {len(data.train)} windows", rows=None)
        warm = warm_starts(config, parents)
        plan = make_plan(record, config, data, warm)
        figures = launch(plan, config.training.workers, lake.spark)
        ends = [window.end for window in windows if window.split == "train"]
        until = max(ends, default=last.train_end if last else windows[0].as_of)
        record.write("models", model_rows(record, config, plan, warm, figures, until))
        record.details |= {"models": figures, "wait_fraction": wait_fraction(figures)}
    return record.result


def pin_data(
    record: Recorder, config: RetrievalConfig, windows: tuple[Window, ...], parents: dict[str, dict[str, Any]]
) -> TrainingData:
    """Pin the files of everything that the night trains on."""
    lake, ds = record.lake, record.run.ds
    rois, nodes, vectors = (files_of(lake, table, record.pin(table), ds=ds) for table in INPUTS)
    starts = {split: tuple(w.as_of for w in windows if w.split == split) for split in ("train", "validation")}
    needed = {str(as_of) for split in starts.values() for as_of in split}
    in_use = [file for file in rois if file.partition["as_of"] in needed and file.rows]
    return TrainingData(
        requests=tuple(file for file in in_use if file.partition["side"] == "request"),
        items=tuple(file for file in in_use if file.partition["side"] == "item"),
        nodes=nodes,
        vectors=vectors,
        **starts,
        vocabulary=Vocabulary.build(read_nodes(nodes), _last_vocabulary(lake, parents)),
        request_layout=RoiLayout.of(config.roi.request_hops, REQUEST_ROOTS),
        item_layout=RoiLayout.of(config.roi.item_hops, ITEM_ROOTS),
        shards=config.roi.shards,
        interest_dim=config.interest.dim,
        seed=config.seed,
    )


def published_models(lake: Lake, config: RetrievalConfig, ds: date) -> dict[str, dict[str, Any]]:
    """The rows of ``models`` of the last night published before ``ds``, by name."""
    published = lake.publication(config.pipeline, before=ds)
    if published is None or "models" not in published.versions:
        return {}
    where = {"pipeline": config.pipeline, "ds": published.ds, "run_id": published.run_id}
    rows = lake.to_arrow("models", published.versions["models"], filters=where).to_pylist()
    return {row["name"]: {"path": row["path"], "config": json.loads(row["config"])} for row in rows}


def warm_starts(config: RetrievalConfig, parents: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Folders of the models to start from, by name. A model whose config has changed since the last published night has
    none."""
    own = {name: model.model_dump(mode="json") for name, model in config.models.items()}
    return {name: p["path"] for name, p in parents.items() if name in own and p["config"] == own[name]}


def make_plan(
    record: Recorder, config: RetrievalConfig, data: TrainingData, warm: dict[str, str]
) -> Plan[Inputs]:
    """All that the night trains, and the folders of it."""
    lake, run, training = record.lake, record.run, config.training
    checkpoints, entries = lake.lasting(JOB), []
    for name, model in config.models.items():
        folder = str(lake.files.local(model_folder(config.pipeline, name, run.ds, run.run_id)))
        parent = str(lake.files.local(warm[name])) if name in warm else None
        epochs = training.warm_epochs if parent else training.epochs
        task = partial(RetrievalTask, name=name, config=model, epochs=epochs, parent=parent)
        settings = settings_of(name, training, config.seed)
        extra = partial(artifacts, folder=folder)
        entries.append(Entry(folder, str(checkpoints / f"{run.run_id}-{name}"), settings, task, extra))
    key = hashlib.sha256(repr((run.run_id, sorted(run.inputs.items()), warm)).encode()).hexdigest()[:16]
    return Plan(partial(Inputs, data, training), tuple(entries), key)


def model_rows(
    record: Recorder,
    config: RetrievalConfig,
    plan: Plan[Inputs],
    warm: dict[str, str],
    figures: dict[str, dict[str, Any]],
    until: date,
) -> pa.Table:
    """A row of table ``models`` for each trained model."""
    tables = {table: record.run.inputs[table] for table in INPUTS}
    rows = [
        {
            "ds": record.run.ds,
            "name": entry.name,
            "run_id": record.run.run_id,
            "path": record.lake.files.name(entry.folder),
            "config": json.dumps(config.models[entry.name].model_dump(mode="json"), sort_keys=True),
            "parents": json.dumps({"model": warm.get(entry.name), "tables": tables}, sort_keys=True),
            "metrics": json.dumps(figures[entry.name]["metrics"], sort_keys=True),
            "train_end": until,
        }
        for entry in plan.entries
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["models"].arrow_schema)


def _last_vocabulary(lake: Lake, parents: dict[str, dict[str, Any]]) -> Vocabulary | None:
    """All models of a night share one vocabulary, so any of the last night's will do."""
    if not parents:
        return None
    return Vocabulary.from_json(lake.files.read_text(f"{parents[min(parents)]['path']}/{VOCABULARY}"))


if __name__ == "__main__":
    main(run, "retrieval")
