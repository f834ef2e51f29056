"""What the page calls a relation."""

from __future__ import annotations

import pytest

from roilake.pipelines.knowledge_graph.report.examples import relation_name


@pytest.mark.parametrize(
    ("key", "text", "name"),
    [
        ("P106", "occupation", "occupation (P106)"),
        ("_has_part", "has part", "_has_part"),
        ("madeBy", "made by", "madeBy"),
    ],
)
def test_a_relation_has_its_text_where_its_key_says_something_else(key: str, text: str, name: str) -> None:
    assert relation_name(key, text) == name
