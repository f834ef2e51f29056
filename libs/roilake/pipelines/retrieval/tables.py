"""Tables of the retrieval pipeline: columns, types, key, partitions, and what each column means."""

from __future__ import annotations

from roilake.lake.tables import DS, table

EVENTS = table(
    "events",
    "What users did, as ingested: each night adds only the events that no earlier night holds. The events of a "
    "user and session lie together in one file, in order of (time, event_id).",
    key="ds event_id",
    encodings="event_id DELTA_BYTE_ARRAY time DELTA_BINARY_PACKED",
    cumulative=True,
    columns=f"""{DS}
    event_id string identity of the event in its source, or a hash of its whole row
    time timestamp when it happened, UTC
    user string key of the user
    query string? key of the query; null when the event has none
    item string key of the item
    event_type string kind of interaction, as the config says
    value double strength of the interaction (1 unless the config says otherwise)
    session string key of the session: from the source, or user and start after a gap""",
)

HISTORIES = table(
    "histories",
    "What each user did, by ids, in time order: each night adds what its own events say. Equal rows count once. Files "
    "are cut by ranges of users and sorted by (user, time, item, query).",
    key="ds user time item query",
    encodings="user DELTA_BINARY_PACKED time DELTA_BINARY_PACKED",
    cumulative=True,
    columns=f"""{DS}
    user int node id of the user
    time timestamp when it happened, UTC
    item int node id of the item
    query int node id of the query, -1 when there is none""",
)

NODES = table(
    "nodes",
    "Attributes of every node that the pipeline's events name up to the end of the night.",
    key="ds node_type id",
    columns=f"""{DS}
    node_type string user, query or item
    id int node id
    key string key of the node in the events
    fields string->string categories by field name
    terms string[] distinct lower-cased words of the node's text, in order
    title string? what people call the node, as the source has it; null where it has none
    vector float[]? coordinates of what published facts tell of the item (graph.facts); null where there are none""",
)

EDGES = table(
    "edges",
    "The graph as of each window's start: one row per pair and edge type, from events before as_of only.",
    key="ds as_of edge_type src dst",
    partitions="ds as_of",
    columns=f"""{DS}
    as_of date midnight UTC whose past the edge sums up
    edge_type string SOURCE_TARGET node types; *_similar from terms, *_known from published facts
    src int node id of the source
    dst int node id of the target
    weight float sum over events of 2^(-(as_of - time) / half_life), Jaccard similarity of terms, or what is shared
    first_time timestamp earliest event of the pair (similar: when both had been seen; known: when the target had been)
    last_time timestamp latest event of the pair (similar and known: as first_time)""",
)

ADJACENCY = table(
    "adjacency",
    "Up to graph.max_neighbours neighbours of a node by edge type, by (weight descending, id ascending).",
    key="ds as_of edge_type src",
    partitions="ds as_of",
    columns=f"""{DS}
    as_of date midnight UTC whose past the lists sum up
    edge_type string SOURCE_TARGET node types
    src int node id of the source
    neighbours int[] node ids of the targets
    weights float[] edge weights of the targets""",
)

INTEREST_VECTORS = table(
    "interest_vectors",
    "What a node is about, as of each window's start; nodes without an event before as_of are absent.",
    key="ds as_of node_type id",
    partitions="ds as_of",
    columns=f"""{DS}
    as_of date midnight UTC whose past the vector sums up
    node_type string user, query or item
    id int node id
    vector float[] interest.dim coordinates in 1/1024ths, unit length
    norm float Euclidean length before scaling to unit length
    degree int number of events of the node before as_of""",
)

REQUESTS = table(
    "requests",
    "What is asked, and what was chosen: one row per positive event, or per pair to score (serve). Events of one user, "
    "query and instant are one request.",
    key="ds split request_id event_id",
    partitions="ds split",
    columns=f"""{DS}
    split string train, validation, test or serve
    as_of date start of the request's window: its graph and vectors are those of this instant
    request_id long keyed 63-bit hash of (user, query, time)
    user int node id of the user
    query int node id of the query, -1 when there is none
    item int node id of the chosen item, -1 in the serve split
    label float? 1 for a positive; null in the serve split
    time timestamp time of the event (serve: the end of the night); the request's history is what came before it
    event_id string the event behind the row (serve: empty)
    known_user boolean whether the user has an event before as_of; if not, he is one of slice cold_users""",
)

ROIS = table(
    "rois",
    "Region of interest of each request and each item: fixed-size trees of neighbour ids, no features.",
    key="ds side as_of root",
    partitions="ds side as_of shard",
    columns=f"""{DS}
    side string request or item
    as_of date instant whose graph the tree is cut from
    shard int keyed hash(root) mod roi.shards for requests, 0 for items
    split string split of the request; item for items
    root long request_id or item id
    user int node id of the user, -1 for items
    query int node id of the query, -1 when there is none
    time timestamp? instant of the request, null for items
    positives int[] chosen items of the request, in an order drawn by a keyed hash; empty for items
    repeats int how many of the positives are in the history
    neighbours int[] node ids in the slot order of roilake.pipelines.retrieval.roi.layout, -1 padded
    relevance byte[] Tanimoto relevance of each neighbour in 1/127ths
    linked byte[] of the history slots only: 1 where the neighbour is linked to the query, else 0
    ages byte[] of the history slots only: age of the neighbour's newest event in eighths of an octave, less 128""",
)

RECOMMENDATIONS = table(
    "recommendations",
    "Best items for each user and query of the night. Keys, not ids: consumers read this.",
    key="ds user query rank",
    columns=f"""{DS}
    user string key of the user
    query string? key of the query; null when there is none
    rank int 1 is best
    item string key of the item
    title string? title of the item; null where the source has none
    score double score of the model, comparable within a user and query
    pcvr double? probability of a conversion, if clicked, by the conversion pipeline; null where it knows no such pair
    model string name@ds of the model""",
)
