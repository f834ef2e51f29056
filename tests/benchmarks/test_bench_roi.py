from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from roilake.lake import Lake
from tests.benchmarks import bench_roi
from tests.benchmarks.roi_graph import Sizes


def test_a_tiny_benchmark_runs_and_all_three_ways_agree(spark: SparkSession, tmp_path: Path) -> None:
    figures = bench_roi.measure(
        lambda name: Lake.open(spark, tmp_path / name, create=True),
        Sizes(users=60, queries=20, items=50, requests=40),
        cores=2,
        sql_requests=20,
        kernel_nodes=1000,
        warm_up=False,
    )
    assert all(figures[name] > 0 for name in figures if "per_second" in name or "speedup" in name)
    assert figures["nodes"] == 130
