"""The benchmark of training on a GPU, on the CPU and at sizes of no account."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from roilake.training.context import threads
from tests.benchmarks import bench_gpu, gpu_cases
from tests.benchmarks.gpu_data import SIZES, Size

TINY = Size(60, 5, 80, 64, 32, 40, 2, 600, 16, 48)


@pytest.fixture()
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, gpu_cases.Case]]:
    monkeypatch.setitem(SIZES, "small", TINY)
    yield gpu_cases.cases("small", 4)


@pytest.mark.parametrize("name", ["retrieval/zoomer", "conversion/ukd"])
def test_figures_of_a_case(tiny: dict[str, gpu_cases.Case], name: str) -> None:
    with threads(1):
        figures = bench_gpu.measure(tiny[name], "cpu")
    assert figures["equal"] and figures["resumed_equal"]
    assert figures["gap"]["cpu"] == figures["gap"]["bf16"] == [0.0, 0.0]  # bfloat16 only on a GPU
    assert set(figures["steps_per_second"]) == {"strict", "cpu", "fast", "bf16"}


def test_a_kind_that_fails_leaves_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> dict[str, object]:
        raise RuntimeError("no kernel\nfor this")

    assert bench_gpu.tried("odd", fail) == {"error": "RuntimeError: no kernel"}
    assert "bench-gpu  odd" in capsys.readouterr().err


def test_every_trainable_kind_is_measured(tiny: dict[str, gpu_cases.Case]) -> None:
    wanted = {"toy", "retrieval/zoomer", "retrieval/gat", "conversion/base", "conversion/ukd_teacher"}
    assert wanted | set(gpu_cases.LARGE) <= set(tiny)
