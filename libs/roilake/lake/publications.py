"""What a publication is, and its row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa

from roilake.lake.tables import PUBLICATIONS


@dataclass(frozen=True)
class Publication:
    """A published night of a pipeline: the versions of all tables that belong together. ``upstreams`` maps the
    pipelines that it read to ``{"ds": ..., "run_id": ..., "tables": {name: version}}``; ``config`` is JSON."""

    pipeline: str
    ds: date
    run_id: str
    versions: dict[str, int]
    config: str
    code_revision: str
    upstreams: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Publication:
        """From its row of ``publications``."""
        return cls(**{**row, "versions": dict(row["versions"]), "upstreams": json.loads(row["upstreams"])})

    def to_arrow(self) -> pa.Table:
        """As its row of ``publications``."""
        row = {
            **asdict(self),
            "versions": sorted(self.versions.items()),
            "upstreams": json.dumps(self.upstreams, sort_keys=True),
        }
        return pa.Table.from_pylist([row], schema=PUBLICATIONS.arrow_schema)
