"""All that a night's page shows: the night itself, and the nights that it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from roilake.errors import LakeError
from roilake.lake import Lake, Publication
from roilake.report.night import NightData, read_night
from roilake.report.nights import nearest, publications


@dataclass(frozen=True)
class ReportData:
    """``problems`` are the failed checks: empty means published. ``before`` is the pipeline's night published last, and
    ``since`` the one chosen to compare with, if any. ``seen`` is what readers of the pipeline see of this night, or
    else of its latest one, as ``publications`` has it."""

    night: NightData
    problems: tuple[str, ...] = ()
    before: NightData | None = None
    since: NightData | None = None
    seen: Publication | None = None

    @property
    def kept(self) -> str:
        """What readers see where this attempt is not published, in words."""
        if self.seen is None:
            return "and readers still see no night at all"
        if self.seen.ds == self.night.ds:
            return f"so readers still see this night as run {self.seen.run_id} published it"
        return f"so readers still see the night of {self.seen.ds}"

    @property
    def other(self) -> NightData | None:
        """The night to compare with: the chosen one, or else the one before."""
        return self.since or self.before


def gather(lake: Lake, night: Publication, problems: tuple[str, ...] = (), *, since: date | None = None) -> ReportData:
    """Read what the page needs. Raises LakeError when the pipeline's night ``since`` was not published."""
    last = lake.publication(night.pipeline, before=night.ds)
    twice = last is not None and since == last.ds
    chosen = published(lake, night.pipeline, since) if since is not None and not twice else None
    return ReportData(
        night=read_night(lake, night),
        problems=problems,
        before=read_night(lake, last) if last else None,
        since=read_night(lake, chosen) if chosen else None,
        seen=lake.publication(night.pipeline, ds=night.ds) or lake.publication(night.pipeline),
    )


def published(lake: Lake, pipeline: str | None, ds: date) -> Publication:
    """The publication of a night; ``pipeline`` may be left out where one alone published it. Raises LakeError, which
    names the pipelines that there are, or the nearest nights."""
    known = publications(lake, pipeline)
    found = [night for night in known if night.ds == ds]
    if not found:
        by = f" by {pipeline}" if pipeline else ""
        close = nearest(ds, [night.ds for night in known])
        raise LakeError(f"{lake.path}: night {ds} is not published{by}; {close}")
    return the_one(lake, found, str(ds))


def the_one(lake: Lake, found: list[Publication], name: str) -> Publication:
    """The only one. Raises LakeError where several pipelines published what ``name`` says."""
    if len(found) > 1:
        names = ", ".join(night.pipeline for night in found)
        raise LakeError(f"{lake.path}: {name} was published by {names}; say which one by --pipeline")
    return found[0]
