from __future__ import annotations

from tests.benchmarks import bench_sampling


def test_a_tiny_benchmark_runs_without_a_peer() -> None:
    figures = bench_sampling.measure(2000, 500, 1, None)
    assert all(rate > 0 for rate in figures["roots_per_second_per_core"].values())
    assert figures["edges_sampled_per_second_per_core"].keys() == {"uniform", "roi"}
    assert "uniform_over_peer" not in figures
