"""Configs of the knowledge graph: what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from roilake.errors import ConfigError
from tests.knowledge_graph.small import night_of, triples_of

FACTS = triples_of(Path("triples.tsv"))
COMPLEX = {"compl_ex": {"kind": "compl_ex"}}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"graph": {"triples": {}}}, "at least 1 item"),
        ({"graph": {"entities": {}}}, "without graph.entities every entity is unknown; name files of entities, or say"),
        ({"graph": {"split": {"validation": 0.5, "test": 0.5}}}, "leave nothing to learn from"),
        ({"graph": {"triples": {"facts": {**FACTS, "split": "valid"}}}}, "'train', 'validation' or 'test'"),
        ({"models": {}}, "name at least one model"),
        ({"default_model": "simkgc"}, r"'simkgc' is not among the models \(compl_ex\)"),
        (
            {"hybrids": {"both": {"text": "simkgc", "structure": "compl_ex"}}},
            r"hybrids.both.text: 'simkgc' is not among",
        ),
        ({"hybrids": {"compl_ex": {"text": "compl_ex", "structure": "compl_ex"}}}, "is a model's name, too"),
        ({"completion": {"sought": []}}, "at least 1 item"),
        ({"completion": {"top": 0}}, "greater than 0"),
        ({"gates": {"bounds": [{"metric": "hits@5", "minimum": 0.1}]}}, "the night has no metric 'hits@5'"),
    ],
)
def test_a_night_that_cannot_be_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        night_of(Path("."), **sections)


def test_bounds_may_name_slices_and_hybrids() -> None:
    bounds = [
        {"metric": "hits@10", "slice": "relation=has genre", "minimum": 0.1},
        {"metric": "filtered_mrr", "slice": "delta_vs_default on sought=tail", "model": "both", "maximum": 0.1},
    ]
    hybrids = {"both": {"text": "compl_ex", "structure": "compl_ex"}}
    night = night_of(Path("."), gates={"bounds": bounds}, hybrids=hybrids, default_model="both")
    assert night.evaluated == ("compl_ex", "both")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"kind": "distmult"}, "unknown kind 'distmult': one of compl_ex, rotat_e, simkgc, trans_e"),
        ({"kind": "compl_ex", "options": {"width": 3}}, "compl_ex: option 'width'"),
    ],
)
def test_an_unknown_model_or_option_is_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        night_of(Path("."), models={"one": model}).check()
