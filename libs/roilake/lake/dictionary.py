"""The data dictionary, made from ``tables``: ``python -m roilake.lake.dictionary`` prints it as Markdown."""

from __future__ import annotations

from roilake.lake.tables import TABLES, Column, Table

_HEAD = """# Data dictionary

Made by `make dictionary` from `libs/roilake/lake/tables.py`; do not edit. A lake is a folder with one Delta table per
section. `roilake.read(TABLE)` gives the rows of the last published night, of any other, or of all of them.

* Times are UTC; `ds` is a date, the logical date of the night that made the row.
* *Each night replaces its own rows*: running a night again leaves the same table. What a reader of night `ds` sees are
  the rows of that `ds`; of a *cumulative* table, the rows of that `ds` and of all before it.
* A column is never null unless it is marked so.
* `publish_night` reads every table: it audits them and makes their versions visible together.
"""


def markdown(tables: dict[str, Table] = TABLES) -> str:
    """All tables as one Markdown text: first an overview, then a section for each."""
    rows = [f"| [`{t.name}`](#{t.name}) | {_one_line(t.meaning)} |" for t in tables.values()]
    overview = "\n".join(["| table | holds |", "|---|---|", *rows]) + "\n"
    return "\n".join([_HEAD, overview, *(_section(table) for table in tables.values())])


def _section(table: Table) -> str:
    facts = [
        f"* Key: {_names(table.key)}. Partitioned by {_names(table.partitions)}.",
        f"* Written by {_names(table.written_by)}. Read by {_names((*table.read_by, 'publish_night'))}.",
        f"* {'Cumulative' if table.cumulative else 'Each night replaces its own rows'}; "
        f"since layout {table.since} of the lake.",
    ]
    columns = ["| column | type | null | meaning |", "|---|---|---|---|", *map(_row, table.columns)]
    return "\n".join([f"## {table.name}", "", table.meaning, "", *facts, "", *columns, ""])


def _row(column: Column) -> str:
    kind, null = column.spark_type.simpleString(), "yes" if column.nullable else ""
    return f"| `{column.name}` | {kind} | {null} | {_one_line(column.meaning)} |"


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def _one_line(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    print(markdown(), end="")
