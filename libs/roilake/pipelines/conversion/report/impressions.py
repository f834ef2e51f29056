"""The impressions that a night looks at, with their clicks and conversions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from roilake.lake import Lake, Publication, count_by
from roilake.report import ReportData, Section, render_section
from roilake.report.formatting import number, percent, plural
from roilake.report.headline import against

SPLITS = {"train": "train", "validation": "validation", "test": "test", "unbiased": "drawn at random"}
Impressions = Mapping[tuple[str, int | None, int | None], int]
"""Rows by (split, click, conversion)."""


def count_impressions(lake: Lake, night: Publication) -> Impressions:
    """Only clicked rows are opened: of the others the log knows how many there are."""
    if "impressions" not in night.versions:
        return {}
    version, keys = night.versions["impressions"], ("split", "click", "conversion")
    counts = count_by(lake, "impressions", version, keys, filters={"ds": night.ds, "labelled": 1})
    for file in lake.active_files("impressions", version, ds=night.ds, labelled=0):
        split = file.partition["split"]
        counts[split, None if split == "unbiased" else 0, None] += file.rows
    return dict(counts)


def traffic(shown: Impressions, split: str) -> tuple[int, int, int]:
    """Impressions of a split, and how many of them were clicked and converted."""
    own = {(click, bought): count for (name, click, bought), count in shown.items() if name == split}
    clicked = sum(count for (click, _), count in own.items() if click == 1)
    return sum(own.values()), clicked, sum(count for (_, bought), count in own.items() if bought == 1)


def volume(data: ReportData) -> str:
    """Impressions, clicks and conversions."""
    night, source = data.night, data.night.pipeline.source
    logged = [traffic(night.own, split) for split in ("train", "validation", "test")]
    clicks, conversions = (sum(counts) for counts in list(zip(*logged, strict=True))[1:])
    rows = plural(night.rows.get(source, 0), "impression")
    positives = f"{plural(clicks, 'click')} and {plural(conversions, 'conversion')}"
    return f"{rows} looked at{against(data, source)}, with {positives}"


def impressions_section(data: ReportData) -> Section | None:
    """Impressions, clicks and conversions by split."""
    found = list(came_in(data.night.own))
    return render_section("Impressions", "impressions.html.j2", package=__package__, came_in=found) if found else None


def came_in(shown: Impressions) -> Iterator[tuple[str, str]]:
    """Figures of each split that has rows, with what each is."""
    for split, title in SPLITS.items():
        rows, clicked, bought = traffic(shown, split)
        if rows:
            yield f"impressions, {title}", number(rows)
        if clicked:
            yield f"clicks, {title}", f"{number(clicked)} ({percent(clicked / rows, 1)})"
            yield f"conversions, {title}", f"{number(bought)} ({percent(bought / clicked, 1)} of clicks)"
