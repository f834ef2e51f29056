"""The data dictionary is made from the definitions, and the committed one is that of today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import jobs
import roilake.lake
from roilake.lake import TABLES, Table
from roilake.lake.dictionary import markdown
from roilake.reading import read, read_arrow
from tests.retrieval.two_nights import Nights

COMMITTED = Path(roilake.lake.__file__).with_name("DICTIONARY.md")
JOBS = {path.stem for path in Path(jobs.__file__).parent.glob("*.py")} - {"__init__", "run_night"}


def test_the_committed_dictionary_is_the_one_that_the_definitions_give() -> None:
    assert COMMITTED.read_text() == markdown(), "run make dictionary and commit what it writes"


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_is_told_in_full(table: Table) -> None:
    section = markdown().split(f"## {table.name}\n", 1)[1].split("\n## ")[0]
    assert table.meaning in section and "since layout 1" in section
    for column in table.columns:
        null = "yes" if column.nullable else ""
        assert (
            f"| `{column.name}` | {column.spark_type.simpleString()} | {null} | {column.meaning} |" in section
        )
    assert {*table.written_by, *table.read_by} <= JOBS and table.written_by
    assert {*table.key, *table.partitions} <= set(table.names)
    may_be_null = {column.name for column in table.columns if column.nullable}
    assert not may_be_null.intersection(table.key) - {"query"}  # a request without a query is one of its own


def test_only_these_tables_add_up_over_nights() -> None:
    assert {table.name for table in TABLES.values() if table.cumulative} == {"events", "node_ids"}


@pytest.mark.slow
def test_jobs_read_and_write_what_the_dictionary_says(nights: Nights) -> None:
    """Of the runs of two nights, and no null where none may be."""
    folder = nights.lake.folder
    for row in read("runs", lake=folder, ds="all").to_dict("records"):
        job, read_tables, written = row["job"], json.loads(row["inputs"]), json.loads(row["outputs"])
        assert all(job in {*TABLES[table].read_by, "publish_night"} for table in read_tables), job
        assert all(job in TABLES[table].written_by for table in written), job
    for name in nights.published[-1].versions:
        rows = read_arrow(name, lake=folder)
        assert not [c.name for c in TABLES[name].columns if rows[c.name].null_count and not c.nullable], name
