"""What a night's node models are trained from, pinned, and a trained one read again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from roilake.config import ModelConfig
from roilake.pipelines.node_labels import models
from roilake.pipelines.node_labels.config import NodeLabelsConfig, NodeTrainingConfig
from roilake.pipelines.node_labels.models import GraphShape, NodeGraph
from roilake.pipelines.node_labels.training.inputs import SEEN, NodeInputs, classes_of, label_numbers, read_graph
from roilake.pipelines.node_labels.training.task import NodeTask, predict
from roilake.runtime.step import Recorder
from roilake.training import Artifacts, Context, Plan, Settings, night
from roilake.training.artifacts import WEIGHTS, read_manifest
from roilake.training.temperature import fit_temperature


def plan_models(record: Recorder, config: NodeLabelsConfig, folder: Path) -> Plan[NodeInputs]:
    """The night's graph with the labels that may be seen, as a file in ``folder``, and all that is trained on it."""
    graph, nodes = read_graph(record)
    record.rows_in = nodes.num_rows
    classes = classes_of(nodes)
    own = {split: torch.from_numpy(label_numbers(nodes, classes, (split,))) for split in SEEN}
    known = {split: (label_N >= 0).nonzero()[:, 0] for split, label_N in own.items()}
    label_N = torch.maximum(own["train"], own["validation"])
    path = folder / "graph.safetensors"
    NodeInputs(graph, label_N, known["train"], known["validation"], len(classes)).save(path)
    entries = []
    for name, model in config.models.items():
        settings = Settings.of(name, config.seed, config.training, one_thread=True)
        task = partial(_task, config=model, training=config.training, seed=config.seed)
        entries.append(night.make_entry(record, model, settings, task, partial(_artifacts, classes=classes)))
    return night.make_plan(record, partial(_open, path), entries)


def _open(path: Path, context: Context) -> NodeInputs:
    return NodeInputs.open(path)


def _task(inputs: NodeInputs, config: ModelConfig, training: NodeTrainingConfig, seed: int) -> NodeTask:
    return NodeTask(
        inputs.graph, inputs.label_N, inputs.train_T, inputs.validation_V, inputs.classes, config, training, seed
    )


def _artifacts(
    inputs: NodeInputs, task: NodeTask, model: nn.Module, folder: str, classes: tuple[str, ...]
) -> Artifacts:
    known_V = inputs.validation_V
    graph = inputs.graph.on(next(model.parameters()).device)
    log_VC = predict(model, graph).cpu()[known_V]
    return {"classes": classes, "temperature": fit_temperature(log_VC, inputs.label_N[known_V])}, {}


def probabilities(folder: Path, graph: NodeGraph) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The labels that a trained model of the same night knows, and its probabilities [N, C], at the temperature that
    its validation nodes ask for."""
    manifest = read_manifest(folder)
    classes = tuple(manifest["classes"])
    with torch.random.fork_rng(devices=[]):
        model = models.build(
            manifest["model"]["kind"], dict(manifest["model"]["options"]), GraphShape.of(graph, len(classes))
        )
    model.load_state_dict(load_file(folder / WEIGHTS))
    return classes, (predict(model, graph).double() / manifest["temperature"]).softmax(dim=1).numpy()
