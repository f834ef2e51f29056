"""The data dictionary is made from the definitions, and the committed one is that of today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import roilake
from roilake.lake import Table
from roilake.reading import read, read_arrow
from roilake.runtime.dictionary import markdown
from roilake.runtime.pipeline import PUBLISH
from roilake.runtime.registry import pipelines, tables, writers
from tests.retrieval.two_nights import Nights

COMMITTED = Path(roilake.__file__).with_name("DICTIONARY.md")
TABLES = tables()
STEPS = {f"{p.name}.{step}" for p in pipelines().values() for step in p.step_names}


def test_the_committed_dictionary_is_the_one_that_the_definitions_give() -> None:
    assert COMMITTED.read_text() == markdown(), "run make dictionary and commit what it writes"


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_is_told_in_full(table: Table) -> None:
    section = markdown().split(f"## {table.name}\n", 1)[1].split("\n## ")[0]
    assert table.meaning in section and "layout 4" in markdown()
    for column in table.columns:
        null = "yes" if column.nullable else ""
        assert f"| `{column.name}` | {column.spark_type.simpleString()} | {null} | {column.meaning} |" in section
    assert writers(table.name) and (table.name == "runs" or set(writers(table.name)) <= STEPS)
    assert {*table.key, *table.partitions} <= set(table.names)
    may_be_null = {column.name for column in table.columns if column.nullable}
    assert not may_be_null.intersection(table.key) - {"query"}  # a request without a query is one of its own


def test_only_these_tables_add_up_over_nights() -> None:
    assert {table.name for table in TABLES.values() if table.cumulative} == {"events", "histories", "node_ids"}


@pytest.mark.slow
def test_jobs_read_and_write_what_the_dictionary_says(nights: Nights) -> None:
    """Of the runs of two nights, and no null where none may be."""
    folder = nights.lake.folder
    steps = {step.name: step for step in pipelines()["retrieval"].steps}
    for row in read("runs", lake=folder, ds="all").to_dict("records"):
        if row["step"] != PUBLISH:
            step = steps[row["step"]]
            assert set(json.loads(row["inputs"])) <= set(step.reads), step
            assert set(json.loads(row["outputs"])) <= set(step.writes), step
    for name in nights.published[-1].versions:
        rows = read_arrow(name, lake=folder)
        assert not [c.name for c in TABLES[name].columns if rows[c.name].null_count and not c.nullable], name
