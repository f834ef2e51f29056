"""The one definition of every table: columns, types, key, partitions, and what each column means.

``roilake.lake`` writes nothing that is not defined here. The meaning of a column travels with it, as the
comment in the Delta schema.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import types as T

_TYPES: dict[str, tuple[T.DataType, pa.DataType]] = {
    "string": (T.StringType(), pa.string()),
    "date": (T.DateType(), pa.date32()),
    "timestamp": (T.TimestampType(), pa.timestamp("us", tz="UTC")),
    "boolean": (T.BooleanType(), pa.bool_()),
    "byte": (T.ByteType(), pa.int8()),
    "int": (T.IntegerType(), pa.int32()),
    "long": (T.LongType(), pa.int64()),
    "float": (T.FloatType(), pa.float32()),
    "double": (T.DoubleType(), pa.float64()),
    "byte[]": (T.ArrayType(T.ByteType()), pa.list_(pa.int8())),
    "int[]": (T.ArrayType(T.IntegerType()), pa.list_(pa.int32())),
    "float[]": (T.ArrayType(T.FloatType()), pa.list_(pa.float32())),
    "string[]": (T.ArrayType(T.StringType()), pa.list_(pa.string())),
    "string->string": (T.MapType(T.StringType(), T.StringType()), pa.map_(pa.string(), pa.string())),
    "string->long": (T.MapType(T.StringType(), T.LongType()), pa.map_(pa.string(), pa.int64())),
}


@dataclass(frozen=True)
class Column:
    """One column: its name, its type (a key of ``_TYPES``), its meaning in a line, and whether it may be null."""

    name: str
    type: str
    meaning: str
    nullable: bool = False

    @property
    def spark_type(self) -> T.DataType:
        return _TYPES[self.type][0]

    @property
    def arrow_type(self) -> pa.DataType:
        return _TYPES[self.type][1]


@dataclass(frozen=True)
class Table:
    """One table. Rows are unique by ``key``; files are cut by ``partitions``; jobs write and read it
    (``publish_night`` reads them all).

    A night replaces its own rows. What it shows is those rows, or, of a ``cumulative`` table, all up to it.
    """

    name: str
    meaning: str
    key: tuple[str, ...]
    partitions: tuple[str, ...]
    columns: tuple[Column, ...]
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]
    cumulative: bool
    since: int  # layout of the lake that first had it
    encodings: dict[str, str]  # parquet encoding of columns that are smaller by another than a dictionary

    def column(self, name: str) -> Column:
        """The column of that name. Raises KeyError."""
        return {column.name: column for column in self.columns}[name]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def spark_schema(self) -> T.StructType:
        return T.StructType([T.StructField(c.name, c.spark_type) for c in self.columns])

    @property
    def arrow_schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.arrow_type) for c in self.columns])


def _table(
    name: str,
    meaning: str,
    *,
    key: str,
    partitions: str = "ds",
    columns: str,
    written_by: str,
    read_by: str = "",
    cumulative: bool = False,
    since: int = 1,
    encodings: str = "",
) -> Table:
    """``columns`` has one line each: name, type (with ``?`` when it may be null), meaning, parted by the first two
    runs of blanks. The other lists are parted by blanks; jobs are named without ``jobs.``."""
    rows = [line.split(None, 2) for line in columns.strip().splitlines()]
    return Table(
        name,
        meaning,
        tuple(key.split()),
        tuple(partitions.split()),
        tuple(Column(n, kind.rstrip("?"), text, kind.endswith("?")) for n, kind, text in rows),
        tuple(written_by.split()),
        tuple(read_by.split()),
        cumulative,
        since,
        dict(zip(encodings.split()[::2], encodings.split()[1::2], strict=True)),
    )


_JOBS = (
    "ingest_events build_graph build_requests embed_interests build_rois train_models score_requests "
    "evaluate_models build_impressions train_cvr_teacher write_pseudo_labels train_cvr score_conversions "
    "evaluate_conversions publish_night"
)
_DS = "ds date logical date of the night that made the row"

_ALL = (
    _table(
        "events",
        "What users did, as ingested: each night adds only the events that no earlier night holds. The events of a "
        "user and session lie together in one file, in order of (time, event_id).",
        key="ds event_id",
        encodings="event_id DELTA_BYTE_ARRAY time DELTA_BINARY_PACKED",
        written_by="ingest_events",
        read_by="ingest_events build_graph build_requests embed_interests",
        cumulative=True,
        columns=f"""{_DS}
        event_id string identity of the event in its source, or a hash of its whole row
        time timestamp when it happened, UTC
        user string key of the user
        query string? key of the query; null when the event has none
        item string key of the item
        event_type string kind of interaction, as the config says
        value double strength of the interaction (1 unless the config says otherwise)
        session string key of the session: from the source, or user and start after a gap""",
    ),
    _table(
        "node_ids",
        "Dense integer id of each key, by node type. Append-only: an id stays for good.",
        key="node_type key",
        written_by="build_graph",
        read_by="build_graph build_requests embed_interests build_rois score_requests",
        cumulative=True,
        columns="""node_type string user, query or item
        key string key of the node in the events
        id int dense from 0 in each type, in order of first appearance
        ds date night that gave the id""",
    ),
    _table(
        "nodes",
        "Attributes of every node known by the end of the night.",
        key="ds node_type id",
        written_by="build_graph",
        read_by="train_models score_requests evaluate_models",
        columns=f"""{_DS}
        node_type string user, query or item
        id int node id
        key string key of the node in the events
        fields string->string categories by field name
        terms string[] distinct lower-cased words of the node's text, in order""",
    ),
    _table(
        "edges",
        "The graph as of each window's start: one row per pair and edge type, from events before as_of only.",
        key="ds as_of edge_type src dst",
        partitions="ds as_of",
        written_by="build_graph",
        read_by="embed_interests score_requests evaluate_models",
        columns=f"""{_DS}
        as_of date midnight UTC whose past the edge sums up
        edge_type string SOURCE_TARGET node types; *_similar from terms
        src int node id of the source
        dst int node id of the target
        weight float sum over events of 2^(-(as_of - time) / half_life), or Jaccard similarity of terms
        first_time timestamp earliest event of the pair (similarity: when both nodes had been seen)
        last_time timestamp latest event of the pair (similarity: when both nodes had been seen)""",
    ),
    _table(
        "adjacency",
        "Up to graph.max_neighbours neighbours of a node by edge type, by (weight descending, id ascending).",
        key="ds as_of edge_type src",
        partitions="ds as_of",
        written_by="build_graph",
        read_by="embed_interests build_rois",
        columns=f"""{_DS}
        as_of date midnight UTC whose past the lists sum up
        edge_type string SOURCE_TARGET node types
        src int node id of the source
        neighbours int[] node ids of the targets
        weights float[] edge weights of the targets""",
    ),
    _table(
        "interest_vectors",
        "What a node is about, as of each window's start; nodes without an event before as_of are absent.",
        key="ds as_of node_type id",
        partitions="ds as_of",
        written_by="embed_interests",
        read_by="build_rois train_models score_requests evaluate_models",
        columns=f"""{_DS}
        as_of date midnight UTC whose past the vector sums up
        node_type string user, query or item
        id int node id
        vector float[] interest.dim coordinates in 1/1024ths, unit length
        norm float Euclidean length before scaling to unit length
        degree int number of events of the node before as_of""",
    ),
    _table(
        "requests",
        "What is asked, and what was chosen: one row per positive event, or per pair to score (serve).",
        key="ds split request_id event_id",
        partitions="ds split",
        written_by="build_requests",
        read_by="build_rois evaluate_models",
        columns=f"""{_DS}
        split string train, validation, test or serve
        as_of date start of the request's window: its graph, ROI and vectors are those of this instant
        request_id long keyed 63-bit hash of (user, query, as_of)
        user int node id of the user
        query int node id of the query, -1 when there is none
        item int node id of the chosen item, -1 in the serve split
        label float? 1 for a positive; null in the serve split
        time timestamp time of the event (serve: the end of the night)
        event_id string the event behind the row (serve: empty)""",
    ),
    _table(
        "rois",
        "Region of interest of each request and each item: fixed-size trees of neighbour ids, no features.",
        key="ds side as_of root",
        partitions="ds side as_of shard",
        written_by="build_rois",
        read_by="train_models score_requests evaluate_models",
        columns=f"""{_DS}
        side string request or item
        as_of date instant whose graph the tree is cut from
        shard int keyed hash(root) mod roi.shards for requests, 0 for items
        split string split of the request; item for items
        root long request_id or item id
        user int node id of the user, -1 for items
        query int node id of the query, -1 when there is none
        positives int[] chosen items of the request in time order; empty for items
        neighbours int[] node ids in the slot order of roilake.pipelines.retrieval.roi.layout, -1 padded
        relevance byte[] Tanimoto relevance of each neighbour in 1/127ths""",
    ),
    _table(
        "models",
        "Trained models: where the weights lie and where they come from.",
        key="ds name run_id",
        written_by="train_models train_cvr_teacher train_cvr",
        read_by="build_graph build_requests embed_interests train_models score_requests evaluate_models "
        "write_pseudo_labels train_cvr score_conversions",
        columns=f"""{_DS}
        name string name of the model in the config
        run_id string run that trained it
        path string folder of the weights, relative to the lake
        config string configuration as JSON
        parents string model it started from and table versions it was trained on, as JSON
        metrics string validation metrics as JSON
        train_end date end (exclusive) of the last window it learnt from""",
    ),
    _table(
        "recommendations",
        "Best items for each user and query of the night. Keys, not ids: consumers read this.",
        key="ds user query rank",
        written_by="score_requests",
        columns=f"""{_DS}
        user string key of the user
        query string? key of the query; null when there is none
        rank int 1 is best
        item string key of the item
        score double score of the model, comparable within a user and query
        model string name@ds of the model""",
    ),
    _table(
        "impressions",
        "What was shown, clicked and bought in the days that a night looks at; a late conversion changes a later "
        "night's row.",
        key="ds split impression_id",
        partitions="ds split labelled shard",
        written_by="build_impressions",
        read_by="train_cvr_teacher write_pseudo_labels train_cvr score_conversions evaluate_conversions",
        columns=f"""{_DS}
        split string train, validation, test, or unbiased (pairs drawn at random: the entire space)
        labelled int 1 if the conversion is known: clicked, or drawn at random and logged
        shard int keyed hash(impression_id) mod impressions.shards
        impression_id string identity of the impression in its source, or a hash of its whole row
        time timestamp when it was shown, UTC
        user string key of the user
        item string key of the item
        categories int[] 31-bit hash of each (field, value): user, item, then fields as configured; -1 missing
        click int? 1 if clicked, 0 if not; null in split unbiased where it is not known
        conversion int? 1 if converted by the end of the night; null where it cannot be known
        delay_seconds double? from impression to conversion
        sampling_rate double probability with which the log kept such a row
        propensity double? logged probability of the click or exposure, where known""",
    ),
    _table(
        "conversion_truth",
        "Probabilities behind generated impressions. Only evaluate_conversions may read it.",
        key="ds impression_id",
        written_by="build_impressions",
        read_by="evaluate_conversions",
        columns=f"""{_DS}
        impression_id string a row of impressions in split test or unbiased
        click_probability double probability of a click
        conversion_probability double probability of a conversion if clicked""",
    ),
    _table(
        "pseudo_labels",
        "What a teacher says of unclicked impressions, with all that a student learns from.",
        key="ds teacher impression_id",
        partitions="ds teacher shard",
        written_by="write_pseudo_labels",
        read_by="train_cvr",
        columns=f"""{_DS}
        teacher string name of the teacher in the config
        shard int as in impressions
        impression_id string a row of impressions in split train, unclicked
        categories int[] as in impressions
        sampling_rate double as in impressions
        propensity double? as in impressions
        probability double the teacher's probability of a conversion, if clicked
        disagreement double KL divergence of the teacher's two heads, or of its members from it, in nats; 0 for one head
        version string name@ds/run_id of the teacher""",
    ),
    _table(
        "cvr_scores",
        "Probabilities of click and conversion of the impressions that the night judges, by every model.",
        key="ds model split impression_id",
        partitions="ds model split",
        written_by="score_conversions",
        read_by="evaluate_conversions",
        columns=f"""{_DS}
        model string name of the model in the config
        split string validation, test or unbiased
        impression_id string a row of impressions
        user string key of the user
        item string key of the item
        pctr double? probability of a click; null for a model that has none
        pcvr double probability of a conversion, if clicked
        pctcvr double? probability of a click and a conversion; null for a model without pctr
        uncertainty double? KL divergence of the model's two heads expected over dropout, in nats; null for one head
        version string name@ds/run_id of the model""",
    ),
    _table(
        "metrics",
        "How well each model did, with an interval.",
        key="ds run model split slice metric",
        written_by="evaluate_models evaluate_conversions",
        columns=f"""{_DS}
        run string run that measured it
        model string name of the model
        split string validation, test or unbiased (pairs drawn at random)
        slice string which requests or impressions: all, or a group
        metric string name of the metric
        value double? its value; null where it is not defined
        low double? lower end of the 95 % interval
        high double? upper end of the 95 % interval
        n long number of observations""",
    ),
    _table(
        "gates",
        "What had to hold before the night was published, and whether it did.",
        key="ds gate metric model split slice bound",
        written_by="publish_night",
        columns=f"""{_DS}
        run string run that was held against the gate
        gate string name of the check, or the kind of the bound
        metric string name of the bounded metric; empty for a check of tables
        model string name of the model, or empty
        split string validation, test or unbiased, or empty
        slice string which requests or impressions, or empty
        bound string what must hold, in words
        value double? what was found; null where it is not defined or no number
        low double? lower end of the value's 95 % interval
        high double? upper end of the value's 95 % interval
        passed boolean whether it held
        detail string why it failed, and the slice that moved most; or a remark; or empty""",
    ),
    _table(
        "runs",
        "What each job of a night did.",
        key="ds job",
        partitions="ds job",
        written_by=_JOBS,
        columns=f"""{_DS}
        run_id string hash of config, ds and code revision
        job string name of the job
        status string succeeded or failed
        inputs string table versions read, as JSON
        outputs string table versions written, as JSON
        rows_in long rows read
        rows_out long rows written
        rows_quarantined long rows rejected
        seconds double wall-clock time, in seconds
        bytes long size of what was written, in bytes
        config_hash string digest of the night's config
        details string figures of the job's own, as JSON""",
    ),
    _table(
        "quarantine",
        "Rows that no table could take, and why.",
        key="ds job row",
        partitions="ds job",
        written_by="ingest_events build_impressions",
        columns=f"""{_DS}
        job string job that rejected the row
        row string the row as JSON
        reason string why""",
    ),
    _table(
        "publications",
        "Which versions of the tables belong together: one row a night, committed last. Readers start here.",
        key="ds",
        written_by="publish_night",
        read_by="build_graph build_requests embed_interests train_models",
        columns=f"""{_DS}
        run_id string run that published
        versions string->long version of each table
        config string the night's config as JSON
        code_revision string revision of the code that ran""",
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _ALL}
