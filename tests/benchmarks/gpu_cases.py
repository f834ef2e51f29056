"""What ``bench_gpu`` trains: every trainable kind of both pipelines in its forms, and what comes of a run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import roilake.pipelines.conversion.models as conversion
import roilake.pipelines.retrieval.models as retrieval
from roilake.pipelines.conversion.config import ConversionModelConfig, ConversionTrainingConfig
from roilake.pipelines.conversion.feed.impressions import ImpressionFeed
from roilake.pipelines.conversion.training import ConversionTask
from roilake.pipelines.retrieval.config import GraphModelConfig
from roilake.pipelines.retrieval.training import RetrievalTask
from roilake.training import Checkpoints, Context, LocalContext, Progress, Settings, Task, train
from tests.benchmarks.gpu_data import SEED, SHARDS, SIZES, HeldInputs, Size, impressions
from tests.training.toy import SETTINGS as TOY
from tests.training.toy import ToyTask

VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    # name -> kind, options, and what else: hops, loss
    "zoomer_sums": ("zoomer", {"feature_attention": False}, {}),
    "zoomer_paper": ("zoomer", {"towers": "paper"}, {"loss": "focal", "hops": 2}),
    "graphsage_hops": ("graphsage", {}, {"hops": 2}),
    "graphsage_detached": ("graphsage", {"neighbours": "detached"}, {}),
    "gat_frozen": ("gat", {"neighbours": "frozen"}, {"hops": 2}),
    "no_graph_hashed": ("no_graph", {"id_buckets": 300}, {}),
}
LARGE = ("retrieval/no_graph", "retrieval/graphsage", "retrieval/gat", "retrieval/zoomer", "retrieval/zoomer_sums",
         "conversion/base", "conversion/ukd")  # fmt: skip
CALM = {"dropout": 0.0, "head_dropout": 0.0}


@dataclass(frozen=True)
class Case:
    """A model to train. ``task(context, options)``: of a rank, with these options beside its own."""

    name: str
    task: Callable[[Context, Mapping[str, Any]], Task[Any]]
    settings: Settings
    rows: int  # of a step
    calm: Mapping[str, Any] = field(default_factory=dict)  # options without dropout


@dataclass(frozen=True)
class Run:
    """What came of a training."""

    weights: dict[str, Tensor]
    progress: Progress

    @property
    def losses(self) -> Tensor:
        return torch.tensor([point["loss"] for point in self.progress.curve])

    @property
    def rate(self) -> float:
        """Steps a second, without the first tenth."""
        first, last = (self.progress.curve[place] for place in (len(self.progress.curve) // 10, -1))
        return (last["step"] - first["step"]) / (last["seconds"] - first["seconds"])

    @property
    def best(self) -> float:
        """The best validation: AUC, or the error of the toy with a minus."""
        return round(max(point.get("auc", -point.get("error", 0.0)) for point in self.progress.validations), 4)

    def equals(self, other: Run) -> bool:
        """The same weights, losses and validations to the bit."""
        same = all(torch.equal(tensor, other.weights[name]) for name, tensor in self.weights.items())
        told = [(run.losses.tolist(), run.progress.validations) for run in (self, other)]
        return same and told[0] == told[1]

    def gap(self, other: Run) -> list[float]:
        """Largest difference of two losses over their mean, in the first tenth and in the whole of the run."""
        return gap(self.losses, other.losses)


class Cut(Checkpoints):
    """Ends the run once a checkpoint is written."""

    def save(self, *arguments: Any) -> None:
        super().save(*arguments)
        raise InterruptedError


def gap(losses: Tensor, others: Tensor) -> list[float]:
    """See ``Run.gap``."""
    apart = (losses - others).abs() / others.abs().mean()
    return [float(f"{part.max():.1e}") for part in (apart[: max(1, len(apart) // 10)], apart)]


def cases(size: str, steps: int) -> dict[str, Case]:
    """By name, all of a size."""
    graphs = {kind: (kind, {}, {}) for kind in retrieval.kinds() if retrieval.is_trainable(kind)} | VARIANTS
    found = [graph_case(f"retrieval/{name}", SIZES[size], steps, *how) for name, how in graphs.items()]
    found += [click_case(f"conversion/{kind}", SIZES[size], kind, steps) for kind in conversion.kinds()]
    return {case.name: case for case in [toy_case(steps), *found] if size == "small" or case.name in LARGE}


def graph_case(name: str, size: Size, steps: int, kind: str, own: dict[str, Any], extra: dict[str, Any]) -> Case:
    def task(context: Context, options: Mapping[str, Any]) -> RetrievalTask:
        inputs = HeldInputs(size, extra.get("hops", 1), context)
        config = GraphModelConfig(kind=kind, options={**own, **options}, loss=extra.get("loss", "softmax"))
        return RetrievalTask(inputs, name, config, max(1, steps // inputs.train.steps))

    settings = Settings(name, SEED, _cut_at(steps), averaging=0.97, divide_gradients=True)
    return Case(name, task, settings, size.batch)


def click_case(name: str, size: Size, kind: str, steps: int) -> Case:
    rows, validation, schema = impressions(size)
    sizes: dict[str, Any] = {"steps": steps, "clicks": size.clicks, "impressions": size.others}
    training = ConversionTrainingConfig(**sizes, validate_every=max(1, steps // 4), checkpoint_every=_cut_at(steps))
    known = type(conversion.check(kind, {})).model_fields
    calm = {key: value for key, value in CALM.items() if key in known}

    def task(context: Context, options: Mapping[str, Any]) -> ConversionTask:
        shared = {"shards": SHARDS, "rank": context.rank, "workers": context.workers}
        feed = ImpressionFeed.of_rows(rows, clicks=size.clicks, impressions=size.others, seed=SEED, **shared)
        config = ConversionModelConfig(kind=kind, options=dict(options))
        own = validation.at(slice(context.rank, None, context.workers))
        return ConversionTask(config, training, SEED, schema, feed, own)

    return Case(name, task, Settings.of(name, SEED, training, one_thread=True), size.clicks + size.others, calm)


def toy_case(steps: int) -> Case:
    """A convolution, batch normalisation and a sparse table."""
    settings = replace(TOY, checkpoint_every=_cut_at(steps), averaging=0.9, clip_norm=0.5)
    return Case("toy", lambda context, _: ToyTask(steps, max(1, steps // 4)), settings, 16)


def _cut_at(steps: int) -> int:
    return max(1, steps * 2 // 5)


def run(
    case: Case, context: Context, *, checkpoints: Checkpoints | None = None, calm: bool = True, **changes: Any
) -> Run:
    """Train a case, with other settings."""
    task = case.task(context, case.calm if calm else {})
    settings = replace(case.settings, **changes)
    if checkpoints is None:
        settings, checkpoints = replace(settings, checkpoint_every=1 << 62), Checkpoints(Path("never"), "")
    model, progress = train(task, context, checkpoints, settings)
    return Run({name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}, progress)


def context_on(device: str) -> LocalContext:
    context = LocalContext()
    context.device = torch.device(device)
    return context


def cut_and_resumed(case: Case, context: Context) -> Run:
    """A run that ends at its first checkpoint and goes on from there."""
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        try:
            run(case, context, checkpoints=Cut(Path(folder), "k"), calm=False)
        except InterruptedError:
            return run(case, context, checkpoints=Checkpoints(Path(folder), "k"), calm=False)
    raise AssertionError("no checkpoint was written")
