"""What a night's node models are trained from, pinned, and a trained one read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from roilake.config import ModelConfig
from roilake.pipelines.node_labels import models
from roilake.pipelines.node_labels.config import NodeLabelsConfig, NodeTrainingConfig
from roilake.pipelines.node_labels.training.inputs import (
    SEEN,
    Graph,
    NodeInputs,
    WholeGraph,
    classes_of,
    label_numbers,
    read_graph,
    read_nodes,
)
from roilake.pipelines.node_labels.training.size import GraphSize, fits
from roilake.pipelines.node_labels.training.task import NodeTask
from roilake.pipelines.node_labels.trees.graph import Trees
from roilake.pipelines.node_labels.trees.layout import lay_out_night
from roilake.pipelines.node_labels.trees.task import TreeTask
from roilake.runtime.step import Recorder
from roilake.training import Artifacts, Context, Plan, Settings, night
from roilake.training.artifacts import WEIGHTS, read_manifest
from roilake.training.context import pick_device
from roilake.training.temperature import fit_temperature


def plan_models(record: Recorder, config: NodeLabelsConfig, folder: Path) -> Plan[NodeInputs]:
    """The night's graph and the labels that may be seen, as files in ``folder``, and all that is trained on them.
    Raises ConfigError for a graph that is to be trained on whole and does not fit."""
    nodes = read_nodes(record)
    record.rows_in = nodes.num_rows
    classes = classes_of(nodes)
    own = {split: torch.from_numpy(label_numbers(nodes, classes, (split,))) for split in SEEN}
    known = {split: (label_N >= 0).nonzero()[:, 0] for split, label_N in own.items()}
    save_file({"label": torch.maximum(own["train"], own["validation"]), **known}, folder / _LABELS)
    trees = None
    if not fits(GraphSize.of(record, config), config, len(classes)):
        trees = {**config.training.trees.model_dump(mode="json", include={"fan_out", "batch"}), "seed": config.seed}
        record.progress("trains on trees: the whole graph is too large, or not wanted")
    opens = lay_out(record, config, nodes.num_rows, trees, folder)
    entries = []
    for name, model in config.models.items():
        settings = Settings.of(name, config.seed, config.training, one_thread=True)
        task = partial(_task, config=model, training=config.training, seed=config.seed)
        artifacts = partial(_artifacts, classes=classes, trees=trees)
        entries.append(night.make_entry(record, model, settings, task, artifacts))
    return night.make_plan(record, partial(_open, folder, opens, len(classes)), entries)


_LABELS = "labels.safetensors"


def open_graph(
    record: Recorder, config: NodeLabelsConfig, nodes: int, trees: Mapping[str, Any] | None, folder: Path
) -> Graph:
    """The night's graph as its models were trained on it. ``folder`` must stay where it is."""
    return lay_out(record, config, nodes, trees, folder)() if trees else read_graph(record)


def lay_out(
    record: Recorder, config: NodeLabelsConfig, nodes: int, trees: Mapping[str, Any] | None, folder: Path
) -> Callable[[], Graph]:
    """Write the night's graph to ``folder``, whole or for ``trees`` with these settings. Returns what opens it, which
    is plain data."""
    if trees is None:
        read_graph(record).save(folder / "graph.safetensors")
        return partial(WholeGraph.open, folder / "graph.safetensors")
    lay_out_night(record, nodes, config.distribution, folder / "graph")
    features = record.rows("graph_features", columns=["feature"]).num_rows
    return partial(Trees.open, folder / "graph", features, **trees)


def _open(folder: Path, opens: Callable[[], Graph], classes: int, context: Context) -> NodeInputs:
    known = load_file(folder / _LABELS)
    return NodeInputs(opens(), known["label"], known["train"], known["validation"], classes)


def _task(inputs: NodeInputs, config: ModelConfig, training: NodeTrainingConfig, seed: int) -> NodeTask:
    labels = inputs.label_N, inputs.train_T, inputs.validation_V, inputs.classes
    if isinstance(inputs.graph, Trees):
        trees = inputs.graph
        return TreeTask(trees.none(), *labels, config, training, seed, trees=trees, passes=training.trees.passes)
    assert isinstance(inputs.graph, WholeGraph)
    return NodeTask(inputs.graph.graph, *labels, config, training, seed)


def _artifacts(
    inputs: NodeInputs,
    task: NodeTask,
    model: nn.Module,
    folder: str,
    classes: tuple[str, ...],
    trees: Mapping[str, Any] | None,
) -> Artifacts:
    log_VC = inputs.graph.predict(model, inputs.validation_V, next(model.parameters()).device)
    temperature = fit_temperature(log_VC, inputs.label_N[inputs.validation_V])
    return {"classes": classes, "temperature": temperature, "trees": trees}, {}


@dataclass(frozen=True)
class Trained:
    """A trained model of the night, as plain data: the labels that it knows, and the settings of the trees that it was
    trained on, if it was."""

    folder: Path
    kind: str
    options: Mapping[str, Any]
    classes: tuple[str, ...]
    temperature: float
    trees: Mapping[str, Any] | None

    @classmethod
    def read(cls, folder: Path) -> Trained:
        """Raises LakeError if the folder holds none."""
        manifest = read_manifest(folder)
        model, classes = manifest["model"], tuple(manifest["classes"])
        return cls(folder, model["kind"], model["options"], classes, manifest["temperature"], manifest.get("trees"))

    def model(self, graph: Graph) -> nn.Module:
        """With its weights, on the device that there is."""
        with torch.random.fork_rng(devices=[]):
            model = models.build(self.kind, dict(self.options), graph.shape(len(self.classes)))
        model.load_state_dict(load_file(self.folder / WEIGHTS))
        return model.to(pick_device(0))

    def probabilities(self, model: nn.Module, graph: Graph, node_M: NDArray[np.integer]) -> NDArray[np.float64]:
        """Of some nodes [M, C], at the temperature that its validation nodes ask for."""
        nodes: Tensor = torch.from_numpy(node_M.astype(np.int64))
        log_MC = graph.predict(model, nodes, next(model.parameters()).device)
        return (log_MC.double() / self.temperature).softmax(dim=1).numpy()
