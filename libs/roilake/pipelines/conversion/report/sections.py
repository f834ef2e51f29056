"""What the page of a conversion night shows beside what every page does: its impressions and its teachers, and how it
explains its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from roilake.lake import Lake, Publication, count_by
from roilake.report import ReportData, Section, Texts, render_section
from roilake.report.formatting import number, percent, plural
from roilake.report.headline import against
from roilake.report.night import NightData, Row

TEXTS = Texts(
    tiles="{own}, with 95 % intervals over users; level means that the paired interval of the difference holds 0. All "
    "pairs are drawn at random, clicked or not: a model that learns from clicks is served on them all.",
    models="The best value of a column is bold; the calibration ratio, predicted over true conversions, is best at 1. "
    "A model without a click task has no CTR and CTCVR.",
    slices="By whether a pair is clicked, or how likely it would be.",
    calibration="Calibration: mean predicted and true probability of a conversion, in tenths of the rows by "
    "prediction; a bin on the dashed line means what it says.",
    slice_names={"clicked": ("click", "clicked"), "unclicked": ("click", "not clicked")},
)

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


def teachers_section(data: ReportData) -> Section | None:
    """How good each teacher is, and what it predicted."""
    found = teachers(data.night)
    return render_section("Teachers", "teachers.html.j2", package=__package__, teachers=found) if found else None


def teachers(night: NightData) -> list[Row]:
    """Each teacher's validation and its predictions for unclicked impressions: ``name, auc, domain_auc, domain_loss,
    rows, mean_probability, mean_disagreement, disagreement_90``; None where it is not known, as of the disagreement of
    a teacher with one head. An ensemble is named with the weights of its members."""
    runs = [night.run(step) for step in ("train_cvr_teacher", "write_pseudo_labels")]
    trained, labels = (run["details"] if run else {} for run in runs)
    predicted, ensembles = labels.get("teachers", {}), labels.get("ensembles", {})
    alone = [_teacher(name, figures, predicted.get(name, {})) for name, figures in trained.get("models", {}).items()]
    return alone + [_teacher(_weighted(name, of), {}, predicted[name]) for name, of in ensembles.items()]


def _weighted(name: str, members: Mapping[str, float]) -> str:
    weights = sorted(members.items(), key=lambda member: -member[1])
    return f"{name} ({', '.join(f'{member} {percent(weight)}' for member, weight in weights if weight >= 0.01)})"


def _teacher(name: str, figures: Row, predicted: Row) -> Row:
    terms, metrics = figures.get("terms", {}), figures.get("metrics", {})
    losses = [terms.get(f"domain_{side}") for side in ("clicked", "unclicked")]
    return {
        "name": name,
        "auc": metrics.get("auc"),
        "domain_auc": metrics.get("domain_auc"),
        "domain_loss": None if None in losses else sum(losses) / 2,
        **{key: predicted.get(key) for key in ("rows", "mean_probability")},
        **{key: predicted.get(key) or None for key in ("mean_disagreement", "disagreement_90")},
    }
