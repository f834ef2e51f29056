"""Ids of keys in one table for all pipelines: dense, given once, and given anew only where nobody built on them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest

from roilake.config import NightConfig
from roilake.ingest import give_ids
from roilake.lake import Lake, Publication
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.runtime.run import make_run
from roilake.runtime.step import recorded
from tests.conversion.small import generated_night, table

DS = date(2020, 1, 10)
NEXT = DS + timedelta(days=1)
Ids = dict[tuple[str, str], int]
Give = Callable[..., Ids]


@pytest.fixture
def configs(make_night: Callable[..., RetrievalConfig]) -> dict[str, NightConfig]:
    return {"retrieval": make_night(""), "conversion": generated_night()}


@pytest.fixture
def give(lake: Lake, configs: dict[str, NightConfig]) -> Give:
    """``give(pipeline, "user 1", "item 50", ...)`` lets a step of that pipeline give ids; all ids of the lake."""

    def run(pipeline: str, *keys: str, ds: date = DS) -> Ids:
        start = datetime(2020, 1, 1, tzinfo=UTC)
        rows = [(*key.split(), start + timedelta(hours=n)) for n, key in enumerate(keys)]
        with recorded(lake, configs[pipeline], ds, "step") as record:
            seen = lake.spark.createDataFrame(rows, "node_type string, key string, first_time timestamp")
            named = give_ids(record, seen)
            assert {*keys} <= {f"{row.node_type} {row.key}" for row in named.collect()}
        return ids(lake)

    return run


def ids(lake: Lake) -> Ids:
    """All ids: from 0 on, without a gap."""
    found = {(row["node_type"], row["key"]): row["id"] for row in table(lake, "node_ids").to_pylist()}
    for kind in {kind for kind, _ in found}:
        own = sorted(number for (of, _), number in found.items() if of == kind)
        assert own == list(range(len(own))), kind
    return found


def test_two_pipelines_give_ids_at_once(lake: Lake, give: Give) -> None:
    """One after the other: no id is given twice, none is left out."""
    keys = {"retrieval": [f"user r{n}" for n in range(9)], "conversion": [f"user c{n}" for n in range(9)]}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda pipeline: give(pipeline, "user both", *keys[pipeline]), keys))
    assert len(ids(lake)) == 19


def test_pipelines_give_ids_to_what_no_other_has_named(lake: Lake, give: Give) -> None:
    events = ("user zoe", "item 50", "user 1", "item 9")
    before = give("retrieval", *events)
    assert before == {("user", "zoe"): 0, ("user", "1"): 1, ("item", "50"): 0, ("item", "9"): 1}
    log = ("user 1", "user 800", "item 50", "item 1000")
    given = give("conversion", *log)
    assert given == before | {("user", "800"): 2, ("item", "1000"): 2}
    owners = {row["key"]: row["pipeline"] for row in table(lake, "node_ids").to_pylist()}
    assert owners["800"] == "conversion" and owners["1"] == "retrieval"
    assert give("retrieval", *events) == given == give("conversion", *log)  # again
    assert give("retrieval", *events, "user 800", "item 1000", ds=NEXT) == given
    assert give("conversion", "user 7", "user 1") == given | {("user", "7"): 3}  # another log: ids stay


def test_ids_that_nobody_built_on_are_given_anew_with_a_corrected_source(
    lake: Lake, give: Give, configs: dict[str, NightConfig]
) -> None:
    give("retrieval", "user wrong", "user 1")
    assert give("retrieval", "user right", "user 1") == {("user", "right"): 0, ("user", "1"): 1}
    before = give("conversion", "user 2")
    after = give("retrieval", "user late", "user 1")
    assert after == before | {("user", "late"): 3}  # the other pipeline may have built on them
    run = make_run(configs["retrieval"], DS, "publish_night")
    versions = {"node_ids": lake.version("node_ids")}
    lake.publish(Publication("retrieval", DS, run.run_id, versions, "{}", run.code_revision), run)
    assert give("retrieval", "user corrected") == after | {("user", "corrected"): 4}
