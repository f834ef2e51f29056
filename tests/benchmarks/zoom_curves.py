"""Quality against training time of one model on the ROIs of one night, with the suite's own feed, losses and models.

Legend: B requests, P positives, N negatives, I items.
"""

from __future__ import annotations

import time
from argparse import Namespace
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from roilake.feed import files_of
from roilake.hashing import keyed_hash
from roilake.lake import Lake
from roilake.metrics.classification import auc
from roilake.metrics.ranking import draw_negatives
from roilake.pipelines.retrieval.config import GraphModelConfig, RetrievalConfig
from roilake.pipelines.retrieval.feed.features import read_nodes
from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary
from roilake.pipelines.retrieval.graph import plan_windows
from roilake.pipelines.retrieval.models import RequestBatch, TwinTower, is_trainable
from roilake.pipelines.retrieval.roi.layout import Layouts
from roilake.pipelines.retrieval.training import Inputs, RetrievalTask, TrainingData
from roilake.pipelines.retrieval.training.inputs import Step
from roilake.pipelines.retrieval.training.validation import embed_all_items
from roilake.training import Checkpoints, Context, Feed, LocalContext, Settings, train

NEGATIVES = 50
HITS_AT = 50


@dataclass(frozen=True)
class Point:
    """Where a run stands after ``seconds`` of training."""

    step: int
    seconds: float
    validation: dict[str, float]
    test: dict[str, float]


@dataclass
class Curve:
    """A run of one variant with one seed."""

    variant: str
    seed: int
    points: list[Point] = field(default_factory=list)
    wait_fraction: float = 0.0
    trained: bool = True

    @property
    def best(self) -> Point:
        """The point with the best validation AUC."""
        return max(self.points, key=lambda point: point.validation["auc"])


def open_night(lake: Lake, config: RetrievalConfig, ds: date, versions: dict[str, int]) -> TrainingData:
    """All pinned files of a night that was cut by ``build_rois`` with this config."""
    windows = plan_windows(config.windows, ds, None)
    rois = [file for file in files_of(lake, "rois", versions["rois"], ds=ds) if file.rows]
    nodes = files_of(lake, "nodes", versions["nodes"], ds=ds)
    return TrainingData(
        requests=tuple(file for file in rois if file.partition["side"] == "request"),
        items=tuple(file for file in rois if file.partition["side"] == "item"),
        nodes=nodes,
        vectors=files_of(lake, "interest_vectors", versions["interest_vectors"], ds=ds),
        train=tuple(window.as_of for window in windows if window.split == "train"),
        validation=tuple(window.as_of for window in windows if window.split == "validation"),
        vocabulary=Vocabulary.build(read_nodes(nodes), None),
        layouts=Layouts.of(config.roi),
        shards=config.roi.shards,
        interest_dim=config.interest.dim,
        seed=config.seed,
    )


class Judge:
    """The same sample of requests of one split, with the same negatives, for every run."""

    def __init__(self, data: TrainingData, config: RetrievalConfig, as_of: date, requests: int) -> None:
        training = config.training.model_copy(update={"positives": 32})
        self.inputs = Inputs(replace(data, train=(), validation=(as_of,)), training, LocalContext())
        self.as_of = as_of
        batches = [batch for _, batch in self.inputs.validation.batches(0)]
        columns = {name: torch.cat([getattr(b, name) for b in batches]) for name in RequestBatch.__dataclass_fields__}
        keys = keyed_hash(7, columns["user_B"].numpy(), columns["query_B"].numpy())
        real = np.flatnonzero(columns["weight_B"].numpy() > 0)
        chosen = torch.from_numpy(np.sort(real[np.argsort(keys[real], kind="stable")[:requests]]))
        self.batch = RequestBatch(**{name: column[chosen] for name, column in columns.items()})
        events_I = self.inputs.store.degrees("item", as_of).astype(np.float64)
        request_B, positives_BP = keys[chosen.numpy()].view(np.int64), self.batch.positives_BP.numpy()
        self.negatives = {
            "auc": draw_negatives(1, request_B, positives_BP, np.ones_like(events_I), NEGATIVES),
            "auc_popularity_negatives": draw_negatives(2, request_B, positives_BP, events_I, NEGATIVES),
        }

    @torch.no_grad()
    def __call__(self, model: TwinTower) -> dict[str, float]:
        """AUC against uniform and popularity-drawn negatives, pooled; HitRate@50 over all items."""
        model.eval()
        item_ID = embed_all_items(model, self.inputs, self.as_of)
        features = self.inputs.store.features(self.as_of)
        score_BI = (model.embed_requests(self.batch, features) @ item_ID.T).numpy()
        model.train()
        positives_BP = self.batch.positives_BP.numpy()
        row, place = np.nonzero(positives_BP >= 0)
        score_P = score_BI[row, positives_BP[row, place]]
        found = {name: _auc(score_P, score_BI, drawn) for name, drawn in self.negatives.items()}
        np.put_along_axis(score_BI, np.where(positives_BP < 0, positives_BP[:, :1], positives_BP), -np.inf, axis=1)
        above_P = (score_BI[row] > score_P[:, None]).sum(1) + 0.5 * (score_BI[row] == score_P[:, None]).sum(1)
        return {**found, f"hit_rate@{HITS_AT}": float((above_P < HITS_AT).mean())}


def _auc(score_P: NDArray, score_BI: NDArray, negative_BN: NDArray[np.int64]) -> float:
    score_E = np.concatenate([score_P, np.take_along_axis(score_BI, negative_BN, axis=1).ravel()])
    return auc(np.arange(len(score_E)) < len(score_P), score_E)


@dataclass(frozen=True)
class JudgedTask(RetrievalTask):
    """Judged ``points`` times; the time that this takes is left out."""

    judges: dict[str, Judge] = field(default_factory=dict)
    points: int = 1
    curve: list[Point] = field(default_factory=list)
    clock: dict[str, float] = field(default_factory=dict)

    def feed(self, context: Context) -> Feed[Step]:
        feed, self.clock["started"] = super().feed(context), time.perf_counter()
        return replace(feed, validate_every=max(1, -(-feed.steps // self.points)))

    def validate(self, model: Any, context: Context) -> dict[str, float]:
        paused = time.perf_counter()
        found = {split: judge(model) for split, judge in self.judges.items()}
        seconds = paused - self.clock["started"]
        self.curve.append(Point(0, seconds, found["validation"], found["test"]))
        self.clock["started"] += time.perf_counter() - paused
        return {"auc": found["validation"]["auc"]}


def learn(
    name: str,
    data: TrainingData,
    config: RetrievalConfig,
    model: GraphModelConfig,
    judges: dict[str, Judge],
    args: Namespace,
) -> Curve:
    """Train one model for ``args.epochs`` and judge it ``args.points`` times; judging costs no training time."""
    inputs = Inputs(data, config.training, LocalContext())
    task = JudgedTask(inputs, name, model, args.epochs, judges=judges, points=args.points)
    if not is_trainable(model.kind):
        found = {split: judge(task.model()) for split, judge in judges.items()}
        return Curve(name, data.seed, [Point(0, 0.0, found["validation"], found["test"])], trained=False)
    training = config.training.model_copy(update={"checkpoint_every": 1 << 62})
    settings = Settings.of(name, data.seed, training, keep="last", divide_gradients=True)
    _, progress = train(task, LocalContext(), Checkpoints(Path("never"), ""), settings)
    steps = [int(point["step"]) for point in progress.validations]
    points = [replace(point, step=step) for point, step in zip(task.curve, steps, strict=True)]
    return Curve(name, data.seed, points, progress.wait_fraction)
