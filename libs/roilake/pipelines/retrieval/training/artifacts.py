"""The folder of a trained model: weights, manifest, learning curve, vocabulary and interest vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary
from roilake.training.checkpoint import write_aside

WEIGHTS, INTEREST = "weights.safetensors", "interest.safetensors"


@dataclass(frozen=True)
class Artifacts:
    """What a run leaves behind. ``interest`` holds a [N, D] tensor by node type, if the model makes any."""

    weights: Mapping[str, Tensor]
    manifest: Mapping[str, Any]
    curve: Mapping[str, Any]
    vocabulary: Vocabulary
    interest: Mapping[str, Tensor]

    def write(self, folder: Path) -> None:
        """Write each file aside and rename it; the manifest last."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, tensors in ((WEIGHTS, self.weights), (INTEREST, self.interest)):
            if tensors:
                write_tensors(folder / name, tensors)
        texts = {
            "vocabulary.json": self.vocabulary.to_json(),
            "curve.json": json.dumps(self.curve),
            "manifest.json": json.dumps(self.manifest, indent=1, sort_keys=True),
        }
        write_texts(folder, texts)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """As safetensors, written aside and renamed."""
    contents = {key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}
    write_aside(path, partial(save_file, contents))


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Files by name, in this order, each written aside and renamed."""
    for name, text in texts.items():
        write_aside(folder / name, partial(_write_text, text))


@torch.no_grad()
def warm_start(model: nn.Module, folder: Path) -> None:
    """Copy the weights in ``folder`` by name. A tensor that has grown along its first dimension (new nodes, words,
    categories) takes the old rows and keeps its initial values behind them.

    Raises ValueError for names or shapes that fit in no such way.
    """
    old, new = load_file(folder / WEIGHTS), model.state_dict()
    if old.keys() != new.keys():
        raise ValueError(
            f"{folder / WEIGHTS}: parameters {sorted(old.keys() ^ new.keys())} do not match the model's"
        )
    for name, tensor in new.items():  # all checked before any is copied
        if old[name].shape[1:] != tensor.shape[1:] or old[name].shape[:1] > tensor.shape[:1]:
            raise ValueError(
                f"{name}: shape {tuple(old[name].shape)} does not fit into {tuple(tensor.shape)}"
            )
    for name, tensor in new.items():
        part = tensor[: len(old[name])] if tensor.ndim else tensor
        part.copy_(old[name])


def _write_text(text: str, path: Path) -> None:
    path.write_text(text)
