"""The folder of a trained conversion model: weights, category index, manifest and curve. Nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from roilake.errors import LakeError
from roilake.pipelines.conversion.feed.categories import CategoryIndex
from roilake.pipelines.conversion.models import ConversionModel, ImpressionSchema, build
from roilake.pipelines.retrieval.training.artifacts import WEIGHTS, write_tensors, write_texts
from roilake.training.checkpoint import write_aside

INDEX, MANIFEST = "categories.safetensors", "manifest.json"


def write_model(
    folder: Path,
    model: ConversionModel,
    index: CategoryIndex,
    manifest: Mapping[str, Any],
    curve: Mapping[str, Any],
) -> None:
    """Write each file aside and rename it; the manifest last."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, model.state_dict())
    write_aside(folder / INDEX, index.save)
    texts = {"curve.json": json.dumps(curve), MANIFEST: json.dumps(manifest, indent=1, sort_keys=True)}
    write_texts(folder, texts)


def load_model(folder: Path) -> tuple[ConversionModel, CategoryIndex]:
    """A model ready to predict, and what makes its rows of categories. Raises LakeError if the folder holds none."""
    if not (folder / MANIFEST).exists():
        raise LakeError(f"{folder}: no trained model (no {MANIFEST}): train it first")
    manifest = json.loads((folder / MANIFEST).read_text())
    weights, index = load_file(folder / WEIGHTS), CategoryIndex.load(folder / INDEX)
    prefix = "embeddings.graph_"
    vectors = {
        name.removeprefix(prefix): tensor[:-1] for name, tensor in weights.items() if name.startswith(prefix)
    }
    schema = ImpressionSchema(index.fields, manifest["click_rate"], vectors)
    with torch.random.fork_rng(devices=[]):
        model = build(manifest["model"]["kind"], dict(manifest["model"]["options"]), schema)
    model.load_state_dict(weights)
    return model.eval(), index
