from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark import TaskContext

from jobs.retrieval import build_rois
from roilake.errors import ConfigError
from roilake.lake import Lake, Run
from roilake.pipelines.retrieval.roi import (
    ITEM_ROOTS,
    REQUEST_ROOTS,
    RoiLayout,
    Tables,
    build,
    cache,
    explode_roi,
    item_events,
    planned,
    request_events,
)
from roilake.pipelines.retrieval.roi.layout import OWN_EDGES
from tests.retrieval.roi.small_lake import AS_OFS, DS, HOPS, SmallNight, content, night_config, write_tables

RUN = Run("test", "retrieval", DS, "build_rois", "-", "-")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process's stores; workers keep theirs where the session's environment says."""
    monkeypatch.setenv("ROILAKE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def night(lake: Lake) -> SmallNight:
    return write_tables(lake)


@pytest.mark.parametrize(
    ("plan", "sampler"),
    [("local", "roi"), ("local", "weighted"), ("local", "uniform"), ("shuffled", "roi"), ("shuffled", "uniform")],
)
def test_both_plans_write_what_the_definition_says(lake: Lake, night: SmallNight, plan: str, sampler: str) -> None:
    config = night_config(plan=plan, sampler=sampler)
    result = build_rois.run(lake, config, DS)
    found, expected = content(lake), night.expected(config)
    assert found.keys() == expected.keys()
    assert [key for key, row in expected.items() if found[key] != row] == []
    assert any(max(row[6]) >= 0 for row in expected.values())
    assert {row[5] for row in expected.values()} >= {0, 1} and any(1 in row[8] for row in expected.values())
    assert result.rows_out == len(expected)
    assert result.details["plan"] == plan and result.details["bytes_per_roi"] > 0


def test_a_shard_holds_its_requests_and_nothing_else(lake: Lake, night: SmallNight) -> None:
    build_rois.run(lake, night_config(), DS)
    rows = lake.to_arrow("rois", lake.version("rois"), columns=["side", "root", "shard"]).to_pylist()
    shards = {r["root"]: r["shard"] for r in rows if r["side"] == "request"}
    assert set(shards.values()) == {0, 1}
    assert {r["shard"] for r in rows if r["side"] == "item"} == {0}
    for file in lake.active_files("rois", lake.version("rois")):
        assert f"/shard={file.partition['shard']}/" in file.path


@pytest.mark.parametrize("plan", ["local", "shuffled"])
def test_rows_do_not_depend_on_the_partitions(
    lake: Lake, night: SmallNight, plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "ROWS_A_TASK", 45)
    config = night_config(plan=plan)
    build_rois.run(lake, config, DS)
    assert content(lake) == night.expected(config)


@pytest.mark.parametrize("plan", ["local", "shuffled"])
def test_a_task_that_fails_once_and_is_retried_leaves_the_same_rows(lake: Lake, night: SmallNight, plan: str) -> None:
    config = night_config(plan=plan)
    versions = Tables(*map(lake.version, Tables._fields))
    events = request_events(lake.read("requests"), config.roi.shards), item_events(lake.read("nodes"), AS_OFS)
    retried = lake.spark.sparkContext.accumulator(0)
    with planned(lake, config, DS, *events, 0, AS_OFS, versions, config.roi.weights) as (chosen, _):
        finish = chosen.finish

        def make(part: pa.Table) -> Iterator[tuple[str, pa.Table]]:
            for rows in finish(part):
                yield "rois", rows.append_column("ds", pa.repeat(pa.scalar(DS), len(rows)))
            task = TaskContext.get()
            if task.partitionId() % 2 == 1 and task.attemptNumber() == 0:
                raise RuntimeError("this attempt is meant to fail")  # when its files are written
            retried.add(task.attemptNumber())

        lake.write_from_tasks(("rois",), chosen.parts, make, where={"ds": DS}, run=RUN)
    assert retried.value > 0
    assert content(lake) == night.expected(config)


def test_the_planner_takes_the_local_plan_only_where_the_stores_fit(
    lake: Lake, night: SmallNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {name: lake.version(name) for name in ("adjacency", "interest_vectors")}
    files = [lake.active_files(name, version) for name, version in versions.items()]
    config = night_config()
    roomy = build.choose_plan(lake.spark, config, *files)
    assert roomy.plan == "local" and roomy.store_bytes > 0 and "fit half of the free memory" in roomy.why
    monkeypatch.setattr("roilake.pipelines.retrieval.roi.build.free_memory", lambda spark, slots: roomy.store_bytes)
    tight = build.choose_plan(lake.spark, config, *files)
    assert tight.plan == "shuffled" and "exceed half of the free memory" in tight.why
    assert build.choose_plan(lake.spark, night_config(plan="local"), *files).plan == "local"


def test_a_store_is_laid_out_once_and_old_ones_go(lake: Lake, night: SmallNight, own_cache: Path) -> None:
    versions = {name: lake.version(name) for name in ("adjacency", "interest_vectors")}
    stores = cache.store_files(AS_OFS, *(lake.active_files(name, v) for name, v in versions.items()))
    files = stores[AS_OFS[1]]
    cache.open_store.cache_clear()
    first = cache.open_store(files)
    written = {path: path.stat().st_mtime_ns for path in own_cache.rglob("*.npy")}
    cache.open_store.cache_clear()
    assert cache.open_store(files).nbytes == first.nbytes > 0
    assert {path: path.stat().st_mtime_ns for path in own_cache.rglob("*.npy")} == written
    cache.remove_stores(stores)
    assert not list(own_cache.rglob("*.npy"))


def test_hops_that_lead_nowhere_stop_the_job_before_it_writes(lake: Lake, night: SmallNight) -> None:
    with pytest.raises(ConfigError, match="names 'query_item', but no node before it is a query"):
        build_rois.run(lake, night_config(item_hops=[{"item_user": 2}, {"query_item": 1}]), DS)
    assert not lake.exists("rois")


def test_a_night_without_requests_writes_no_row(lake: Lake, night: SmallNight) -> None:
    nothing = lake.to_arrow("requests", lake.version("requests")).slice(0, 0)
    lake.write("requests", nothing, where={"ds": DS}, run=RUN)
    assert build_rois.run(lake, night_config(**HOPS), DS).rows_out == 0


def test_exploded_rois_name_the_parent_of_every_neighbour(lake: Lake, night: SmallNight) -> None:
    config = night_config()
    build_rois.run(lake, config, DS)
    for hops, kinds in ((config.roi.request_hops, REQUEST_ROOTS), (config.roi.item_hops, ITEM_ROOTS)):
        layout = RoiLayout.of(hops, kinds)
        rows = [row.asDict() for row in explode_roi(lake.read("rois"), layout).collect()]
        side = "item" if kinds == ITEM_ROOTS else "request"
        expected = [row for key, row in night.expected(config).items() if key[0] == side]
        assert len(rows) == sum(neighbour >= 0 for row in expected for neighbour in row[6])
        for row in rows:
            if side == "request" and row["edge_type"] in OWN_EDGES and row["hop"] == 1:
                column = 3 if row["edge_type"] == "user_query" else 2
                assert row["neighbour"] in {event[column] for event in night.events if event[0] == row["parent"]}
            else:
                assert row["neighbour"] in night.graphs[row["as_of"]][row["edge_type"]][row["parent"]]
        assert {row["hop"] for row in rows} == set(range(1, len(hops) + 1))
        assert min(row["position"] for row in rows) == 0
