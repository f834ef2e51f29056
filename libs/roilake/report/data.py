"""All that a night's page shows: the night itself, and the nights that it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from roilake.errors import LakeError
from roilake.lake import Lake, Publication
from roilake.report.night import Night, read_fanout, read_night
from roilake.report.nights import nearest


@dataclass(frozen=True)
class ReportData:
    """``problems`` are the failed checks: empty means published. ``before`` is the night published last, and
    ``since`` the one chosen to compare with, if any."""

    night: Night
    problems: tuple[str, ...] = ()
    before: Night | None = None
    since: Night | None = None
    fanout: tuple[dict[str, Any], ...] = ()

    @property
    def others(self) -> tuple[Night, ...]:
        """The nights to compare with, the chosen one first."""
        return tuple(night for night in (self.since, self.before) if night is not None)


def gather(
    lake: Lake, night: Publication, problems: tuple[str, ...] = (), *, since: date | None = None
) -> ReportData:
    """Read what the page needs. Raises LakeError when the night ``since`` was not published."""
    last = lake.publication(before=night.ds)
    chosen = None
    if since is not None and (last is None or since != last.ds):
        chosen = published(lake, since)
    return ReportData(
        night=read_night(lake, night),
        problems=problems,
        before=read_night(lake, last) if last else None,
        since=read_night(lake, chosen) if chosen else None,
        fanout=tuple(read_fanout(lake.folder)),
    )


def published(lake: Lake, ds: date) -> Publication:
    """The publication of a night. Raises LakeError, which names the nearest nights that there are."""
    found = lake.publication(ds=ds)
    if found is None:
        known = nearest(ds, [other.ds for other in lake.publications()])
        raise LakeError(f"{lake.path}: night {ds} is not published; {known}")
    return found
