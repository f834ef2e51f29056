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
import time
from collections.abc import Callable
from typing import Any

import torch

from roilake.training import Context
from roilake.training.context import threads
from tests.benchmarks.gpu_cases import Case, cases, context_on, cut_and_resumed, gap, run
from tests.benchmarks.gpu_ranks import on_two_ranks


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
        "validation": {name: one.best for name, one in {"strict": calm, **others}.items()},
        "steps_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "rows_per_second": {name: round(rate * case.rows) for name, rate in rates.items()},
        "gpu_to_cpu": round(rates["strict"] / rates["cpu"], 2),
        "fast_to_strict": round(rates["fast"] / rates["strict"], 2),
    }


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
