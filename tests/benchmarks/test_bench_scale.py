from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from roilake.runtime.registry import load_config
from tests.benchmarks import bench_night, bench_scale, bench_scale_rois


def test_tiny_graphs_are_measured_and_spark_sql_agrees_and_so_do_both_plans_of_their_regions(
    spark: SparkSession, tmp_path: Path
) -> None:
    """The regions are those of a graph that was measured before, as ``make bench-scale-rois`` finds it."""
    config = load_config(bench_scale.ROOT / "conf" / "nights" / "retrieval" / "expanded.yaml", "retrieval")
    where = tmp_path, tmp_path / "local"
    figures = bench_scale.measure(spark, config, [2_000, 8_000], *where, sql=True, warm_up=None)
    assert figures["speedup_vs_spark_sql"] > 0 and "growth_exponent" in figures
    for size, run in figures["sizes"].items():
        assert abs(run["events"] - float(size)) < 300
        assert run["seconds"] > 0 and run["peak_memory_gib"] > 0 and run["bytes_written"] > 0
    night = figures["next_night"]
    assert night["events"] - run["events"] == night["new_events"] > 900 and night["seconds"] > 0

    figures = bench_scale_rois.measure(spark, config, 8_000, 300, *where, warm_up=None)
    rois = 300 + figures["nodes"]["item"]
    for run in figures["plans"].values():
        assert run["rois"] == rois and run["seconds"] > 0 and run["peak_memory_gib"] > 0


def test_the_night_at_size_can_run() -> None:
    """Its steps are those of tests/retrieval/test_night.py; three nights would take minutes."""
    bench_night.night_config().check()
