from __future__ import annotations

import pytest

from roilake.errors import ConfigError
from roilake.pipelines.retrieval.roi import REQUEST_ROOTS, RoiLayout


def test_slots_come_hop_by_hop_then_by_parent_then_in_config_order() -> None:
    hops = ({"query_item": 3, "user_item": 2, "user_query": 1}, {"item_user": 2, "item_query": 1})
    layout = RoiLayout.of(hops, REQUEST_ROOTS)
    assert [(slot.name, slot.start, slot.size, slot.parent) for slot in layout.slots] == [
        ("user/user_item", 0, 2, None),
        ("user/user_query", 2, 1, None),
        ("query/query_item", 3, 3, None),
        ("user/user_item/item_user", 6, 4, 0),
        ("user/user_item/item_query", 10, 2, 0),
        ("query/query_item/item_user", 12, 6, 2),
        ("query/query_item/item_query", 18, 3, 2),
    ]
    assert layout.size == 21
    assert layout.children(0) == (3, 4)
    assert layout.edge_types == ("user_item", "user_query", "query_item", "item_user", "item_query")


def test_similarity_edges_stay_between_items() -> None:
    layout = RoiLayout.of(({"item_item_similar": 2}, {"item_item": 3}), ("item",))
    assert [(slot.src_type, slot.dst_type, slot.size) for slot in layout.slots] == [
        ("item", "item", 2),
        ("item", "item", 6),
    ]


def test_an_edge_type_that_starts_nowhere_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"hop 2 .* 'query_item', but no node before it is a query"):
        RoiLayout.of(({"user_item": 2}, {"query_item": 3}), REQUEST_ROOTS)
