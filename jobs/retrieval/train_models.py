"""Train all models of the config in one launch and write them, with a row each in ``models``."""

from __future__ import annotations

import json
from datetime import date
from functools import partial
from typing import Any

from roilake.feed import files_of
from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.feed import Vocabulary, read_nodes
from roilake.pipelines.retrieval.graph.windows import Window, last_model, plan_windows, published_models
from roilake.pipelines.retrieval.histories import history_files
from roilake.pipelines.retrieval.models import history_length
from roilake.pipelines.retrieval.roi.layout import Layouts
from roilake.pipelines.retrieval.seen import SeenRule
from roilake.pipelines.retrieval.training import Inputs, RetrievalTask, TrainingData, artifacts
from roilake.pipelines.retrieval.training.task import VOCABULARY
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded
from roilake.training import Entry, Settings, night

JOB = "train_models"
INPUTS = ("rois", "nodes", "interest_vectors")


def run(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    """Learn from the train windows, keep each model's best epoch on the validation windows, and write a folder for each
    (``roilake.lake.model_folder``) and table ``models``.

    A first night trains ``training.epochs`` epochs from initial weights; a later one ``training.warm_epochs`` from the
    weights of the same model in the last published night. When no train window lies between, a model is carried over.
    """
    with recorded(lake, config, ds, JOB) as record:
        _, parents = published_models(lake, config, ds)
        last = last_model(lake, config, ds)
        windows = plan_windows(config.windows, ds, last.train_end if last else None)
        known = _last_vocabulary(lake, parents)
        data = pin_data(record, config, windows, known)
        record.rows_in = sum(file.rows for file in data.requests)
        fit = known is not None and known.field_names == data.vocabulary.field_names
        entries = [_entry(record, config, name, parents.get(name) if fit else None) for name in config.models]
        plan = night.make_plan(record, partial(Inputs, data, config.training), entries)
        ends = [window.end for window in windows if window.split == "train"]
        until = max(ends, default=last.train_end if last else windows[0].as_of)
        night.write_models(record, night.train_models(record, plan, config.training.workers, until))
    return record.result


def pin_data(
    record: Recorder, config: RetrievalConfig, windows: tuple[Window, ...], known: Vocabulary | None
) -> TrainingData:
    """Pin the files of everything that the night trains on. ``known`` words keep their ids."""
    lake, ds = record.lake, record.run.ds
    rois, nodes, vectors = (files_of(lake, table, record.pin(table), ds=ds) for table in INPUTS)
    starts = {split: tuple(w.as_of for w in windows if w.split == split) for split in ("train", "validation")}
    needed = {str(as_of) for split in starts.values() for as_of in split}
    in_use = [file for file in rois if file.partition["as_of"] in needed and file.rows]
    rule = SeenRule.of(config.evaluation.seen, rois)
    record.details["seen"] = rule.details
    return TrainingData(
        requests=tuple(file for file in in_use if file.partition["side"] == "request"),
        items=tuple(file for file in in_use if file.partition["side"] == "item"),
        nodes=nodes,
        vectors=vectors,
        **starts,
        vocabulary=Vocabulary.build(read_nodes(nodes), known),
        layouts=Layouts.of(config.roi),
        shards=config.roi.shards,
        interest_dim=config.interest.dim,
        seed=config.seed,
        histories=history_files(lake, record.pin("histories"), ds),
        history_length=max(history_length(model.kind, dict(model.options)) for model in config.models.values()),
        max_events=config.history.max_events,
        drop_seen=rule.drop,
    )


def _entry(record: Recorder, config: RetrievalConfig, name: str, parent: dict[str, Any] | None) -> Entry[Inputs]:
    """A model starts from initial weights where its config has changed since the last published night, and all do
    where nodes have other fields."""
    model, training = config.models[name], config.training
    warm = parent["path"] if parent and json.loads(parent["config"]) == model.model_dump(mode="json") else None
    folder = str(record.lake.files.local(warm)) if warm else None
    epochs = training.warm_epochs if warm else training.epochs
    task = partial(RetrievalTask, name=name, config=model, epochs=epochs, parent=folder)
    settings = Settings.of(name, config.seed, training, divide_gradients=True)
    return night.make_entry(record, model, settings, task, artifacts, model=warm)


def _last_vocabulary(lake: Lake, parents: dict[str, dict[str, Any]]) -> Vocabulary | None:
    """All models of a night share one vocabulary, so any of the last night's will do."""
    if not parents:
        return None
    return Vocabulary.from_json(lake.files.read_text(f"{parents[min(parents)]['path']}/{VOCABULARY}"))


if __name__ == "__main__":
    main(run, "retrieval")
