"""The folder of a trained model: weights, manifest, learning curve, and what else its pipeline puts there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from roilake.errors import LakeError
from roilake.lake import write_aside

WEIGHTS, MANIFEST, CURVE = "weights.safetensors", "manifest.json", "curve.json"


def write_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    manifest: Mapping[str, Any],
    curve: Mapping[str, Any],
    files: Mapping[str, Callable[[Path], object]],
) -> None:
    """Write each file aside and rename it; the manifest last. A model without weights has no file of them. Nothing is
    pickled."""
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, Callable[[Path], object]] = {**files, CURVE: lambda path: path.write_text(json.dumps(curve))}
    if weights:
        written[WEIGHTS] = partial(write_tensors, weights)
    text = json.dumps(manifest, indent=1, sort_keys=True)
    written[MANIFEST] = lambda path: path.write_text(text)
    for name, write in written.items():
        write_aside(folder / name, write)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a trained model. Raises LakeError if the folder holds none."""
    if not (folder / MANIFEST).exists():
        raise LakeError(f"{folder}: no trained model (no {MANIFEST}): train it first")
    return json.loads((folder / MANIFEST).read_text())


@torch.no_grad()
def warm_start(model: nn.Module, folder: Path) -> None:
    """Copy the weights in ``folder`` by name. A tensor that has grown along its first dimension (new nodes, words,
    categories) takes the old rows and keeps its initial values behind them.

    Raises ValueError for names or shapes that fit in no such way; then nothing is copied."""
    old, new = load_file(folder / WEIGHTS), model.state_dict()
    if old.keys() != new.keys():
        names = sorted(old.keys() ^ new.keys())
        raise ValueError(f"{folder / WEIGHTS}: parameters {names} do not match the model's")
    for name, tensor in new.items():
        if old[name].shape[1:] != tensor.shape[1:] or old[name].shape[:1] > tensor.shape[:1]:
            was, wanted = tuple(old[name].shape), tuple(tensor.shape)
            raise ValueError(f"{name}: shape {was} does not fit into {wanted}")
    for name, tensor in new.items():
        part = tensor[: len(old[name])] if tensor.ndim else tensor
        part.copy_(old[name])


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """As safetensors."""
    save_file({key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}, path)
