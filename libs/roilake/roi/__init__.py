"""Regions of interest: the few neighbours per hop and edge type that matter most to a request or an item."""

from __future__ import annotations

from roilake.roi.layout import ITEM_ROOTS, REQUEST_ROOTS, RoiLayout, Slot, node_types

__all__ = ["ITEM_ROOTS", "REQUEST_ROOTS", "RoiLayout", "Slot", "node_types"]
