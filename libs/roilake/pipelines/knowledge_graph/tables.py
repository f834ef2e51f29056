"""Tables of the pipeline of the knowledge graph: columns, types, key, partitions, and what each column means."""

from __future__ import annotations

from roilake.lake.tables import DS, table

ENTITY_TEXTS = table(
    "entity_texts",
    "The entities of the knowledge graph, with what is said of them.",
    key="ds entity",
    columns=f"""{DS}
    entity int number of the entity, dense from 0, by key
    key string key of the entity in its source
    text string its text, best as "name: description"; empty where there is none
    items string[] keys of the items that the entity is, ascending; empty for other entities""",
)

RELATIONS = table(
    "relations",
    "The relations of the knowledge graph.",
    key="ds relation",
    columns=f"""{DS}
    relation int number of the relation, dense from 0, by key
    key string key of the relation in its source
    text string its text: that of graph.relations, or the words of its key""",
)

TRIPLES = table(
    "triples",
    "What is known, each fact once.",
    key="ds head relation tail",
    columns=f"""{DS}
    head string key of the entity that the fact is about
    relation string key of the relation
    tail string key of the entity that it names
    split string train, validation or test: models learn from train alone""",
)

ENTITIES = table(
    "entities",
    "The entities of the knowledge graph, with text and vector.",
    key="ds key",
    columns=f"""{DS}
    entity int number of the entity, dense from 0, by key
    key string key of the entity in its source
    text string its text; empty where there is none
    items string[] keys of the items that the entity is, ascending; empty for other entities
    triples int known triples that have it as head or tail
    vector float[] the entity as the model that serves has it
    model string name@ds of the model""",
)

COMPLETED_EDGES = table(
    "completed_edges",
    "Facts that nobody said and that the model that serves finds likeliest.",
    key="ds sought head relation tail",
    columns=f"""{DS}
    head string key of the entity that the fact is about
    relation string key of the relation
    tail string key of the entity that it names
    sought string tail: among the best new tails of (head, relation); head: among the new heads of (relation, tail)
    rank int 1 is best, of the new entities that were sought; the asked entity itself is none
    score double score of the model, comparable within what was asked
    probability double that the next fact of what was asked is this one, at the temperature of validation
    model string name@ds of the model""",
)
