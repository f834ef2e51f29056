"""Row counts of a night against those of an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from roilake.report.formatting import percent
from roilake.report.night import NightData


@dataclass(frozen=True)
class Count:
    """A count of this night beside that of an earlier one (None where there is none)."""

    name: str
    now: int
    before: int | None

    @property
    def change(self) -> str:
        """In per cent, or as a factor where that reads better; empty where there is nothing to compare with."""
        if not self.before or self.now == self.before:
            return "" if self.before != self.now or self.before is None else "same"
        ratio = self.now / self.before
        if ratio >= 3:
            return f"× {ratio:.1f}"
        if 0 < ratio < 0.1:
            return f"÷ {1 / ratio:.0f}"
        return f"{'+' if ratio > 1 else '−'}{percent(abs(ratio - 1), 1 if abs(ratio - 1) < 0.1 else 0)}"


def counts(now: Mapping[str, int], before: Mapping[str, int] | None) -> list[Count]:
    """A count by name, beside the earlier one of that name."""
    return [Count(name, count, (before or {}).get(name)) for name, count in now.items()]


def table_counts(night: NightData, before: NightData | None) -> list[Count]:
    """The night's own rows of each table."""
    return counts(dict(sorted(night.rows.items())), before.rows if before else None)


def rejected(night: NightData) -> int:
    """Rows in quarantine."""
    return sum(bad["rows"] for bad in night.quarantine)


def later(night: NightData) -> int:
    """Rows of the source from after the night's end, which no table has yet."""
    return sum(run.get("rows_later", 0) for run in night.runs)
