"""Training on a GPU: every trainable kind of both pipelines by the one trainer, on batches that numpy draws. Run by
``make bench-gpu``, or ``python -m tests.benchmarks.bench_gpu --device cpu`` to try it without one. Progress on stderr,
one JSON object last on stdout; exit code 1 where bits differ or a kind failed.

Of each case: two strict runs and one that was cut off and resumed must give the same weights and losses to the bit.
``gap`` is the largest difference of the losses of a run to those of the strict one over their mean, in the first tenth
of the run and in all of it: on the CPU, with ``fast`` kernels, in bfloat16 (and, of ``ranks``, on two ranks that are
processes and exchange tensors by Gloo). These runs are without dropout, whose draws differ between devices.
``steps_per_second`` leaves out the first tenth of a run and its validations.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
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
from roilake.training.context import threads
from tests.benchmarks.gpu_data import SEED, SHARDS, SIZES, HeldInputs, Size, impressions
from tests.benchmarks.gpu_ranks import on_two_ranks
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


def measure(case: Case, device: str) -> dict[str, Any]:
    """All figures of a case."""
    context = context_on(device)
    first, second = (run(case, context, calm=False) for _ in range(2))
    resumed = cut_and_resumed(case, context)
    calm = run(case, context) if case.calm else first
    others = {
        "cpu": run(case, context_on("cpu")),
        "fast": run(case, context, determinism="fast"),
        "bf16": run(case, context, mixed_precision=True),
    }
    rates = {"strict": max(first.rate, second.rate), **{name: other.rate for name, other in others.items()}}
    return {
        "equal": first.equals(second),
        "resumed_equal": first.equals(resumed),
        "gap": {name: other.gap(calm) for name, other in others.items()},
        "losses": [round(float(first.losses[place]), 4) for place in (0, -1)],
        "validation": {name: _best(one) for name, one in {"strict": calm, **others}.items()},
        "steps_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "rows_per_second": {name: round(rate * case.rows) for name, rate in rates.items()},
        "gpu_to_cpu": round(rates["strict"] / rates["cpu"], 2),
        "fast_to_strict": round(rates["fast"] / rates["strict"], 2),
    }


def _best(one: Run) -> float:
    return round(max(point.get("auc", -point.get("error", 0.0)) for point in one.progress.validations), 4)


def cut_and_resumed(case: Case, context: Context) -> Run:
    """A run that ends at its first checkpoint and goes on from there."""
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        try:
            run(case, context, checkpoints=Cut(Path(folder), "k"), calm=False)
        except InterruptedError:
            return run(case, context, checkpoints=Checkpoints(Path(folder), "k"), calm=False)
    raise AssertionError("no checkpoint was written")


def ranked(names: tuple[str, ...], device: str, steps: int) -> dict[str, list[float]]:
    """The gap of two ranks on one device to a single one, by case."""
    alone = {name: run(cases("small", steps)[name], context_on(device)) for name in names}
    curves = on_two_ranks(device, _train_rank, names, steps)
    return {name: gap(torch.tensor(curves[name]), alone[name].losses) for name in names}


def _train_rank(context: Context, names: tuple[str, ...], steps: int) -> dict[str, list[float]]:
    made = cases("small", steps)
    return {name: run(made[name], context).losses.tolist() for name in names}


def main() -> int:
    args = _arguments()
    where = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    found: dict[str, Any] = {"device": where, "torch": torch.__version__, "cpu_threads": torch.get_num_threads()}
    for size, steps in (("small", args.steps), ("large", args.large_steps)):
        wanted = {name: case for name, case in cases(size, steps).items() if args.only in name} if steps else {}
        found[size] = {name: tried(name, lambda case=case: measure(case, args.device)) for name, case in wanted.items()}
    if args.ranks:
        ranks = ("toy", "retrieval/zoomer", "conversion/base")
        found["ranks"] = tried("ranks", lambda: ranked(ranks, args.device, 40))
    told = [figures for part in ("small", "large") for figures in found[part].values()]
    fine = all(figures.get("equal") and figures.get("resumed_equal") for figures in told)
    print(json.dumps({**found, "all_equal": fine}), flush=True)
    return 0 if fine else 1


def tried(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Figures, or the error: one kind that fails leaves the others."""
    began = time.perf_counter()
    try:
        figures = work()
    except Exception as error:
        figures = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    told = f"{name}  {time.perf_counter() - began:.1f} s  {json.dumps(figures)}"
    print(f"bench-gpu  {told}", file=sys.stderr, flush=True)
    return figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--steps", type=int, default=160, help="of a run at a night's own size; 0: none")
    parser.add_argument("--large-steps", type=int, default=12, help="of a run of large steps; 0: none")
    parser.add_argument("--only", default="", help="measure cases whose name holds this")
    parser.add_argument("--ranks", action=argparse.BooleanOptionalAction, default=True, help="two ranks on the device")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device here; --device cpu tries all of it without one")
    return args


if __name__ == "__main__":
    with threads(torch.get_num_threads()):
        sys.exit(main())
