"""Quality against training time of one model on the regions of one night, with the suite's own feed, losses and models.

Legend: R judged requests, P positives (flat), B requests of a part, I items.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roilake.hashing import keyed_hash
from roilake.lake import DataFile
from roilake.metrics.ranking import Ranks
from roilake.pipelines.retrieval.config import GraphModelConfig, RetrievalConfig
from roilake.pipelines.retrieval.histories import Histories, Ids
from roilake.pipelines.retrieval.models import RequestBatch, TwinTower
from roilake.pipelines.retrieval.models.batch import split
from roilake.pipelines.retrieval.scoring.negatives import Linked
from roilake.pipelines.retrieval.seen import Had, Seen
from roilake.pipelines.retrieval.training import Inputs, RetrievalTask, TrainingData
from roilake.pipelines.retrieval.training.inputs import Step
from roilake.pipelines.retrieval.training.validation import embed_all_items
from roilake.training import Checkpoints, Context, Feed, LocalContext, Settings, train

NDCG, IN_QUERY = "ndcg", "auc_in_query"
METRICS = (NDCG, IN_QUERY)
DEPTH, PART, POSITIVES = 20, 512, 32
Values = dict[str, NDArray[np.float64]]
"""By metric, a value for each judged request [R]; NaN where it has none."""


@dataclass(frozen=True)
class Point:
    """Where a run stands after ``seconds`` of training."""

    step: int
    seconds: float
    test: Values

    def means(self) -> dict[str, float]:
        return {name: float(np.nanmean(values)) for name, values in self.test.items()}


@dataclass
class Curve:
    """A run of one variant with one seed."""

    variant: str
    seed: int
    points: list[Point] = field(default_factory=list)
    wait_fraction: float = 0.0


@dataclass(frozen=True)
class _Window:
    """The judged requests of a window, with the items that are no candidates for them, and those linked to queries."""

    as_of: date
    batch: RequestBatch
    hidden: Seen
    linked: Linked


class Judge:
    """The same requests of some windows for every run: at most ``requests``, chosen by keyed hash.

    With ``drop_seen``, what a user had before is no candidate, and no positive; a request without another positive is
    left out. NDCG is that of the first 20 of all candidates. The AUC in the query is the share of the candidates linked
    to the query, as of the window's start, that rank below a positive (ties a half), mean over positives."""

    def __init__(
        self, data: TrainingData, config: RetrievalConfig, windows: tuple[date, ...], requests: int,
        adjacency: list[DataFile], *, drop_seen: bool,
    ) -> None:  # fmt: skip
        training = config.training.model_copy(update={"positives": POSITIVES})
        self.inputs = Inputs(replace(data, train=(), validation=windows), training, LocalContext())
        batches: dict[date, list[RequestBatch]] = {}
        for as_of, batch in self.inputs.validation.batches(0):
            batches.setdefault(as_of, []).append(batch)
        keys = {as_of: _keys(_joined(parts)) for as_of, parts in batches.items()}
        bound = np.sort(np.concatenate(list(keys.values())))[: requests + 1][-1]
        had = Had.of(Histories.read(data.histories))
        self.windows = []
        for as_of, parts in batches.items():
            whole = _joined(parts)
            chosen = torch.from_numpy(np.flatnonzero((whole.weight_B.numpy() > 0) & (keys[as_of] < bound)))
            mine = RequestBatch(**{name: getattr(whole, name)[chosen] for name in RequestBatch.__dataclass_fields__})
            lists = [file for file in adjacency if file.partition["as_of"] == as_of.isoformat()]
            hidden = had.before(mine.user_B.numpy(), mine.time_B.numpy()) if drop_seen else Seen.nothing(len(chosen))
            self.windows.append(_Window(as_of, mine, hidden, Linked.read(lists, mine.query_B.numpy())))
        self.user_R = np.concatenate([window.batch.user_B.numpy() for window in self.windows])

    @torch.no_grad()
    def __call__(self, model: TwinTower) -> Values:
        model.eval()
        found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in METRICS}
        for window in self.windows:
            item_ID, features = (
                embed_all_items(model, self.inputs, window.as_of),
                self.inputs.store.features(window.as_of),
            )
            first = 0
            for part in split(window.batch, PART):
                score_BI = model.embed_requests(part, features) @ item_ID.T
                for name, values in self._values(window, part, first, score_BI).items():
                    found[name].append(values)
                first += len(part.user_B)
        model.train()
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def _values(self, window: _Window, part: RequestBatch, first: int, score_BI: Tensor) -> Values:
        positive_BP, known = part.positives_BP.numpy(), self.inputs.items(window.as_of).item_I.numpy()
        scores_BI, rows = score_BI.numpy(), len(positive_BP)
        column = np.full(int(known.max()) + 1, -1)
        column[known] = np.arange(len(known))
        hidden_BI = _marked(scores_BI.shape, *window.hidden.hidden(slice(first, first + rows)), column)
        row_P, place_P = np.nonzero(positive_BP >= 0)
        item_P = column[positive_BP[row_P, place_P]]
        kept_P = ~hidden_BI[row_P, item_P]
        row_P, item_P = row_P[kept_P], item_P[kept_P]
        own_P = scores_BI[row_P, item_P]
        hidden_BI[row_P, item_P] = True  # from here on, other positives are no candidates
        others_BI = np.where(hidden_BI, np.nan, scores_BI)
        above_P = _share(others_BI[row_P], own_P, np.greater)
        order = np.lexsort((-own_P, row_P))
        position_P = np.empty(len(row_P), np.int64)
        position_P[order] = np.arange(len(row_P)) - np.searchsorted(row_P[order], row_P[order])
        ranks = Ranks.of(np.floor(above_P).astype(np.int64) + 1 + position_P, row_P, rows)
        first_B, last_B = window.linked.spans(part.query_B.numpy())
        linked_BI = np.zeros(scores_BI.shape, bool)
        for row, (start, end) in enumerate(zip(first_B, last_B, strict=True)):
            linked_BI[row, column[window.linked.item_E[start:end]]] = True
        inside_PI = np.where(linked_BI, others_BI, np.nan)[row_P]
        below_P, count_P = _share(inside_PI, own_P, np.less), (~np.isnan(inside_PI)).sum(1)
        share_P = np.divide(below_P, count_P, out=np.full(len(row_P), np.nan), where=count_P > 0)
        return {NDCG: np.asarray(ranks.ndcg(DEPTH)), IN_QUERY: _mean_by_row(share_P, row_P, rows)}


def _share(others_PI: NDArray, own_P: NDArray, beyond: Any) -> NDArray[np.float64]:
    """How many of the others are beyond each positive, ties a half."""
    with np.errstate(invalid="ignore"):
        return beyond(others_PI, own_P[:, None]).sum(1) + 0.5 * (others_PI == own_P[:, None]).sum(1)


def _marked(shape: tuple[int, ...], first_B1: NDArray[np.int64], item_E: Ids, column: NDArray) -> NDArray[np.bool_]:
    """Which candidates [B, I] are among the items of each row; an item that is new in the window is no candidate."""
    row_E = np.repeat(np.arange(shape[0]), np.diff(first_B1))
    column_E = np.where(item_E < len(column), column[np.minimum(item_E, len(column) - 1)], -1)
    marked_BI = np.zeros(shape, bool)
    marked_BI[row_E[column_E >= 0], column_E[column_E >= 0]] = True
    return marked_BI


def _mean_by_row(value_P: NDArray, row_P: NDArray, rows: int) -> NDArray[np.float64]:
    known_P = ~np.isnan(value_P)
    count_B = np.bincount(row_P[known_P], minlength=rows)
    total_B = np.bincount(row_P[known_P], value_P[known_P], rows)
    return np.where(count_B > 0, total_B / np.maximum(count_B, 1), np.nan)


def _keys(batch: RequestBatch) -> NDArray[np.uint64]:
    return keyed_hash(7, batch.user_B.numpy(), batch.query_B.numpy(), batch.time_B.numpy())


def _joined(parts: list[RequestBatch]) -> RequestBatch:
    names = RequestBatch.__dataclass_fields__
    return RequestBatch(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True, kw_only=True)
class JudgedTask(RetrievalTask):
    """Judged ``points`` times; the time that this takes is left out."""

    judge: Judge
    points: int
    curve: list[Point] = field(default_factory=list)
    clock: dict[str, float] = field(default_factory=dict)

    def feed(self, context: Context) -> Feed[Step]:
        feed, self.clock["started"] = super().feed(context), time.perf_counter()
        return replace(feed, validate_every=max(1, -(-feed.steps // self.points)))

    def validate(self, model: Any, context: Context) -> dict[str, float]:
        paused = time.perf_counter()
        self.curve.append(Point(0, paused - self.clock["started"], self.judge(model)))
        self.clock["started"] += time.perf_counter() - paused
        return {"auc": 0.0, "hit_rate@50": 0.0}


def learn(
    name: str, data: TrainingData, config: RetrievalConfig, model: GraphModelConfig, judge: Judge, epochs: int,
    points: int,
) -> Curve:  # fmt: skip
    """Train one model and judge it ``points`` times; judging costs no training time."""
    inputs = Inputs(data, config.training, LocalContext())
    task = JudgedTask(inputs, name, model, epochs, judge=judge, points=points)
    training = config.training.model_copy(update={"checkpoint_every": 1 << 62})
    settings = Settings.of(name, data.seed, training, keep="last", divide_gradients=True)
    _, progress = train(task, LocalContext(), Checkpoints(Path("never"), ""), settings)
    steps = [int(point["step"]) for point in progress.validations]
    points_ = [replace(point, step=step) for point, step in zip(task.curve, steps, strict=True)]
    return Curve(name, data.seed, points_, progress.wait_fraction)


def mean_curve(curves: list[Curve]) -> Iterator[dict[str, Any]]:
    """Means over seeds, point by point."""
    for points in zip(*(curve.points for curve in curves), strict=True):
        means = [point.means() for point in points]
        yield {
            "step": points[0].step,
            "seconds": float(np.mean([point.seconds for point in points])),
            **{name: float(np.mean([each[name] for each in means])) for name in METRICS},
        }
