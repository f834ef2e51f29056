"""Hybrids of a night: two trained models, and the weight that validation prefers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from roilake.pipelines.knowledge_graph.config import HybridConfig, KnowledgeGraphConfig
from roilake.pipelines.knowledge_graph.evaluation.hybrid import choose_weight
from roilake.pipelines.knowledge_graph.evaluation.saved import PARTS, opened
from roilake.pipelines.knowledge_graph.models import both_ways
from roilake.pipelines.knowledge_graph.training.inputs import KgInputs
from roilake.runtime.step import Recorder
from roilake.training.artifacts import write_model

Row = Mapping[str, Any]


def hybrid_rows(
    record: Recorder, config: KnowledgeGraphConfig, trained: Sequence[Row], inputs: KgInputs
) -> Iterator[dict[str, Any]]:
    """Rows of ``models`` of the night's hybrids, whose folders are written: a manifest, which names the folders of the
    two models and the weight."""
    rows = {row["name"]: row for row in trained}
    for name, parts in config.hybrids.items():
        with record.stage(f"weight of {name}"):
            yield _hybrid_row(record, name, parts, (rows[parts.text], rows[parts.structure]), inputs)


def _hybrid_row(
    record: Recorder, name: str, parts: HybridConfig, rows: tuple[Row, Row], inputs: KgInputs
) -> dict[str, Any]:
    folders = [Path(record.lake.files.local(row["path"])) for row in rows]
    text, structure = (opened(folder, inputs.graph).scorer() for folder in folders)
    query_V3 = both_ways(inputs.validation_V3, inputs.graph.relations)
    weight = choose_weight(text, structure, query_V3, inputs.known, inputs.graph.entities)
    root = folders[0].parents[2]
    folder = root / name / folders[0].parent.name / folders[0].name
    manifest = {"name": name, PARTS: [str(part.relative_to(root)) for part in folders], "weight": weight}
    write_model(folder, {}, manifest, {}, {})
    chosen = json.dumps({"weight": weight})
    config = parts.model_dump_json()
    return {**rows[0], "name": name, "path": record.lake.files.name(str(folder)), "config": config, "metrics": chosen}
