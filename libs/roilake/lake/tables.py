"""What a table is, and the tables that all pipelines share. Each other table is defined by the pipeline that owns it.

``roilake.lake`` writes nothing that is not defined by ``table``. The meaning of a column travels with it, as the
comment in the Delta schema. Light to import: no pyspark."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa

from roilake.errors import LakeError

if TYPE_CHECKING:
    from pyspark.sql import types as T

_ARROW: dict[str, pa.DataType] = {
    "string": pa.string(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "boolean": pa.bool_(),
    "byte": pa.int8(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
}


@dataclass(frozen=True)
class Column:
    """One column: its name, its type (a key of ``_ARROW``, or ``TYPE[]`` or ``TYPE->TYPE`` of such), its meaning in
    a line, and whether it may be null."""

    name: str
    type: str
    meaning: str
    nullable: bool = False

    @property
    def spark_type(self) -> T.DataType:
        from pyspark.sql.pandas.types import from_arrow_type

        return from_arrow_type(self.arrow_type)

    @property
    def arrow_type(self) -> pa.DataType:
        if self.type.endswith("[]"):
            return pa.list_(_ARROW[self.type[:-2]])
        key, _, value = self.type.partition("->")
        return pa.map_(_ARROW[key], _ARROW[value]) if value else _ARROW[self.type]


@dataclass(frozen=True)
class Table:
    """One table. Rows are unique by ``key``; files are cut by ``partitions``.

    A night replaces its own rows. What it shows is those rows, or, of a ``cumulative`` table, all up to it. A table
    that pipelines share has a column ``pipeline``, by which it is cut: each pipeline replaces its own rows."""

    name: str
    meaning: str
    key: tuple[str, ...]
    partitions: tuple[str, ...]
    columns: tuple[Column, ...]
    cumulative: bool
    encodings: dict[str, str]  # parquet encoding of columns that are smaller by another than a dictionary

    def column(self, name: str) -> Column:
        """The column of that name. Raises KeyError."""
        return {column.name: column for column in self.columns}[name]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def shared(self) -> bool:
        """Whether several pipelines write it."""
        return "pipeline" in self.names

    def own(self, pipeline: str, ds: date) -> dict[str, object]:
        """Columns and values of the rows of a pipeline's night."""
        return {"ds": ds, **({"pipeline": pipeline} if self.shared else {})}

    @property
    def spark_schema(self) -> T.StructType:
        from pyspark.sql.pandas.types import from_arrow_schema

        return from_arrow_schema(self.arrow_schema)

    @property
    def arrow_schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.arrow_type) for c in self.columns])


TABLES: dict[str, Table] = {}
"""All tables defined in this process: the shared ones, and those of the pipelines that are loaded."""


def table(
    name: str,
    meaning: str,
    *,
    key: str,
    partitions: str = "ds",
    columns: str,
    cumulative: bool = False,
    encodings: str = "",
) -> Table:
    """Define a table. ``columns`` has one line each: name, type (with ``?`` when it may be null), meaning, parted by
    the first two runs of blanks. The other lists are parted by blanks. Raises LakeError for a name that is taken."""
    rows = [line.split(None, 2) for line in columns.strip().splitlines()]
    made = Table(
        name,
        meaning,
        tuple(key.split()),
        tuple(partitions.split()),
        tuple(Column(n, kind.rstrip("?"), text, kind.endswith("?")) for n, kind, text in rows),
        cumulative,
        dict(zip(encodings.split()[::2], encodings.split()[1::2], strict=True)),
    )
    if TABLES.setdefault(name, made) != made:
        raise LakeError(f"table {name!r} is defined twice: choose another name")
    return made


DS = "ds date logical date of the night that made the row"
_SHARED = f"pipeline string pipeline that made the row\n{DS}"

NODE_IDS = table(
    "node_ids",
    "Dense integer id of each key, by node type, for all pipelines. Append-only: an id stays for good.",
    key="node_type key",
    partitions="ds pipeline",
    cumulative=True,
    columns="""node_type string user, query or item
    key string key of the node in its source
    id int dense from 0 in each type
    ds date night that gave the id
    pipeline string pipeline that gave the id""",
)

MODELS = table(
    "models",
    "Trained models: where the weights lie and where they come from.",
    key="pipeline ds name run_id",
    partitions="pipeline ds",
    columns=f"""{_SHARED}
    name string name of the model in the config
    run_id string run that trained it
    path string folder of the weights, relative to the lake
    config string configuration as JSON
    parents string model it started from and table versions it was trained on, as JSON
    metrics string validation metrics as JSON
    train_end date end (exclusive) of the last day it learnt from""",
)

METRICS = table(
    "metrics",
    "How well each model did, with an interval.",
    key="pipeline ds run model split slice metric",
    partitions="pipeline ds",
    columns=f"""{_SHARED}
    run string run that measured it
    model string name of the model
    split string split of the rows that were evaluated
    slice string which of its rows, as in "Slice names" below: all, a group, or differences to the model that serves
    metric string name of the metric, as in "Metric definitions" below
    value double? its value; null where it is not defined
    low double? lower end of the 95 % interval
    high double? upper end of the 95 % interval
    n long number of observations""",
)

CHAMPIONS = table(
    "champions",
    "Which model serves a night, and why, in pipelines that choose it on validation.",
    key="pipeline ds",
    partitions="pipeline ds",
    columns=f"""{_SHARED}
    model string name of the model that serves
    since date first of the published nights in a row that it has served
    reason string named (by the config), first (night), gone (the one before), won (over that) or stayed
    previous string? model that served the night published last; null on a first night
    metric string name of the metric that validation goes by
    value double? the model's, on all validation rows; null where it is not defined
    runner_up string? the best other model by it; null where none has a value
    difference double? the runner-up's metric minus the model's, paired
    low double? lower end of the difference's 95 % interval
    high double? upper end of the difference's 95 % interval
    n long number of observations that the difference rests on""",
)

GATES = table(
    "gates",
    "What had to hold before the night was published, and whether it did.",
    key="pipeline ds gate metric model split slice bound",
    partitions="pipeline ds",
    columns=f"""{_SHARED}
    run string run that was held against the gate
    gate string name of the check, or the kind of the bound
    metric string name of the bounded metric; empty for a check of tables
    model string name of the model, or empty
    split string split of the rows that were evaluated, or empty
    slice string which of its rows, or empty
    bound string what must hold, in words
    value double? what was found; null where it is not defined or no number
    low double? lower end of the value's 95 % interval
    high double? upper end of the value's 95 % interval
    passed boolean whether it held
    detail string why it failed, and the slice that moved most; or a remark; or empty""",
)

RUNS = table(
    "runs",
    "What each step of a night did.",
    key="pipeline ds step",
    partitions="pipeline ds step",
    columns=f"""{_SHARED}
    run_id string hash of config, ds and code revision
    step string name of the step
    status string succeeded or failed
    inputs string table versions read, as JSON
    outputs string table versions written, as JSON
    upstreams string publications of other pipelines that were read, as JSON
    rows_in long rows read
    rows_out long rows written
    rows_quarantined long rows rejected
    rows_later long rows of the source from after the night's end
    seconds double wall-clock time, in seconds
    bytes long size of what was written, in bytes
    config_hash string digest of the night's config
    details string figures of the step's own, as JSON""",
)

QUARANTINE = table(
    "quarantine",
    "Rows that no table could take, and why.",
    key="pipeline ds step source row_id row",
    partitions="pipeline ds step",
    columns=f"""{_SHARED}
    step string step that rejected the row
    source string source that the row is of, as the config names it
    row_id string hash of the row's mapped columns, or of a line that does not parse
    row string the row as JSON
    reason string why""",
)

PUBLICATIONS = table(
    "publications",
    "Which versions of the tables belong together: one row a pipeline and night, committed last. Readers start here.",
    key="pipeline ds",
    partitions="pipeline ds",
    columns=f"""{_SHARED}
    run_id string run that published
    versions string->long version of each table
    upstreams string publications of other pipelines that the night read, as JSON
    config string the night's config as JSON
    code_revision string revision of the code that ran""",
)

SHARED = (NODE_IDS, MODELS, METRICS, CHAMPIONS, GATES, RUNS, QUARANTINE, PUBLICATIONS)
"""The tables of all pipelines."""
