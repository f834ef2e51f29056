"""The facts, what was named, and examples, on the page of a night of the knowledge graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from roilake.pipelines.knowledge_graph.report.examples import read_facts
from roilake.report import ReportData, Section, Texts, render_section
from roilake.report.formatting import number, plural
from roilake.report.headline import against

__all__ = ["TEXTS", "knowledge_section", "read_facts", "volume"]

SHOWN = 30
"""Relations that have a row of their own."""
TEXTS = Texts(
    tiles="{own}, with 95 % intervals over triples; level means that the paired interval of the difference holds 0.",
    models="The best value of a column is bold. Ranks are among all entities, of which the other right ones are left "
    "out; no model has seen a test triple.",
    slices="By what is looked for (tails or heads), by whether the right entity is in a triple that was learnt from, "
    "and by relation.",
)


def volume(data: ReportData) -> str:
    """Facts, entities and relations."""
    rows = data.night.rows
    facts, relations = plural(rows.get("triples", 0), "fact"), plural(rows.get("relations", 0), "relation")
    return f"{facts}{against(data, 'triples')} by {relations}, of {number(rows.get('entities', 0))} entities"


def knowledge_section(data: ReportData) -> Section | None:
    """Known and new facts by relation, and examples."""
    if data.night.run("complete_triples") is None:
        return None
    return render_section(
        "Facts",
        "knowledge.html.j2",
        package=__package__,
        relations=list(_rows(data)),
        examples=data.night.own.examples,
        model=data.night.default_model,
    )


def _rows(data: ReportData) -> Iterator[dict[str, Any]]:
    """A row a relation, those with most facts first; the rest is ``other``."""
    known = _details(data, "ingest_triples", "relations")
    named = _details(data, "complete_triples", "named")
    order = sorted(known, key=lambda name: (-sum(known[name].values()), name))
    shown = [((name,), data.night.own.relations.get(name, name)) for name in order[:SHOWN]]
    for names, label in (*shown, (tuple(order[SHOWN:]), "other")):
        splits = {split: sum(known[name].get(split, 0) for name in names) for split in ("train", "validation", "test")}
        if names:
            yield {"relation": label, **splits, "named": sum(named.get(name, 0) for name in names)}


def _details(data: ReportData, step: str, key: str) -> Mapping[str, Any]:
    run = data.night.run(step)
    found: Mapping[str, Any] = run["details"].get(key, {}) if run else {}
    return found
