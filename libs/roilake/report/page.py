"""A night's report: one HTML page that holds its own style and pictures and asks no network for anything, and beside
it the models' metrics as text. Here are the sections that every pipeline's page has, and where its own stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roilake.lake import write_aside
from roilake.report import figures, leaderboard, slices
from roilake.report.changes import Change, changes
from roilake.report.data import ReportData
from roilake.report.formatting import listed
from roilake.report.headline import headline
from roilake.report.night import NightData
from roilake.report.pictures import calibration_pictures, curve_pictures, metric_pictures
from roilake.report.section import Section, environment, render_section
from roilake.report.summary import whole_text
from roilake.runtime.pipeline import load


def write_page(data: ReportData, path: Path) -> None:
    """Write the page, and the whole table of metrics as ``.txt`` beside it, so that nobody sees half of one."""
    page, text = render(data), whole_text(data.night)
    write_aside(path, lambda aside: aside.write_text(page))
    write_aside(path.with_suffix(".txt"), lambda aside: aside.write_text(text))


def move_page(source: Path, target: Path) -> None:
    """Move a page and its text."""
    for suffix in (target.suffix, ".txt"):
        source.with_suffix(suffix).replace(target.with_suffix(suffix))


def render(data: ReportData) -> str:
    """The page as HTML: the frame, with its headline and sections."""
    page = environment().get_template("page.html.j2")
    return page.render(data=data, night=data.night, headline=headline(data), sections=list(sections(data)))


def sections(data: ReportData) -> Iterator[Section]:
    """All sections of a page, in their order."""
    found = [
        gates(data.night),
        tiles(data.night),
        *(since(data, earlier) for earlier in (data.since, data.before) if earlier),
        compared(data.night),
        by_slice(data),
        training(data.night),
        *(load(reference)(data) for reference in data.night.pipeline.sections),
        tables(data),
        spent(data),
        upstreams(data.night),
        render_section("Versions", "versions.html.j2", night=data.night),
    ]
    return (section for section in found if section is not None)


def gates(night: NightData) -> Section | None:
    """What had to hold, the failed first."""
    return render_section("", "gates.html.j2", gates=night.gates) if night.gates else None


def tiles(night: NightData) -> Section | None:
    """The default model's main metrics."""
    found = leaderboard.tiles(night)
    return render_section("", "tiles.html.j2", night=night, tiles=found) if found else None


def since(data: ReportData, earlier: NightData) -> Section | None:
    """What changed since an earlier night, on each evaluation set."""
    night = data.night
    found = [(on, change_rows(night.at(on), earlier.at(on))) for on in night.evaluated]
    last = ", the night published last" if earlier is data.before else ""
    if not any(rows for _, rows in found):
        return None
    title = f"Since {earlier.ds}{last}"
    return render_section(title, "since.html.j2", night=night, earlier=earlier, found=found)


def change_rows(night: NightData, before: NightData) -> list[dict[str, Any]]:
    """Each metric's change of the default model, and how many of the other models moved beyond noise, up or down."""
    found = changes(before.measures, night.measures)
    return [
        {"own": own, "others": _moves([c for c in found if c.metric == own.metric and c is not own])}
        for own in found
        if own.model == night.default_model
    ]


def _moves(others: list[Change]) -> str:
    up = sum(change.beyond and change.value > 0 for change in others)
    down = sum(change.beyond and change.value < 0 for change in others)
    parts = [f"{count} {way}" for count, way in ((up, "up"), (down, "down")) if count]
    return f"{listed(parts) if parts else 'none'} of {len(others)}" if others else "–"


def compared(night: NightData) -> Section | None:
    """All models by all metrics, of each evaluation set."""
    found = [_leaderboard(night.at(on)) for on in night.evaluated]
    if not any(board["models"] for board in found):
        return None
    pictures = metric_pictures(night)
    return render_section("Models compared", "models.html.j2", night=night, boards=found, pictures=pictures)


def _leaderboard(night: NightData) -> dict[str, Any]:
    names = leaderboard.metric_names(night)
    return {
        "on": night.on,
        "measures": night.measures,
        "models": leaderboard.model_order(night.measures, night.default_model),
        "tables": leaderboard.metric_tables(names),
        "best": {name: leaderboard.best_value(night, name) for name in names},
    }


def by_slice(data: ReportData) -> Section | None:
    """The default model's slices, those that moved most first."""
    night, other = data.night, data.other
    groups = slices.groups(night, other)
    if not groups:
        return None
    names, (shown, folded) = leaderboard.slice_metrics(night), slices.unfolded(groups)
    moves = [move for _, group in groups for one in group for move in one.changes.values() if move.low is not None]
    first = [one for _, group in shown for one in group]
    return render_section(
        f"Where {night.default_model} does well, and where not",
        "slices.html.j2",
        night=night,
        other=other,
        names=names,
        shown=shown,
        folded=folded,
        moves=(sum(move.beyond for move in moves), len(moves)),
        scales={name: slices.scale(night, first, name) for name in names},
    )


def training(night: NightData) -> Section | None:
    """Learning curves and calibration."""
    curves, calibrated = curve_pictures(night), calibration_pictures(night)
    if not curves and not calibrated:
        return None
    title = "Training and calibration" if calibrated else "Training"
    note = night.texts.calibration if calibrated else ""
    return render_section(title, "training.html.j2", note=note, pictures={**curves, **calibrated})


def tables(data: ReportData) -> Section:
    """Rows by table, rejected rows, and what became of every row of the source."""
    night, other = data.night, data.other
    reconciled = [run for step in night.pipeline.steps if step.reconciles and (run := night.run(step.name))]
    sources = {name: found for run in night.runs for name, found in run["details"].get("sources", {}).items()}
    described = {name: found for run in night.runs for name, found in run["details"].get("described", {}).items()}
    counts = figures.table_counts(night, other)
    return render_section(
        "Data",
        "data.html.j2",
        night=night,
        other=other,
        counts=counts,
        reconciled=reconciled,
        sources=sources,
        described=described,
    )


def spent(data: ReportData) -> Section:
    """Steps: planned against spent."""
    night, times = data.night, figures.times(data.night, data.before)
    return render_section(
        "Time",
        "costs.html.j2",
        before=data.before,
        times=times,
        slowest=max((max(time.seconds, time.meant or 0) for time in times), default=1) or 1,
        seconds=sum(time.seconds for time in times),
        meant=sum(time.meant for time in times if time.meant is not None),
        planned=any(time.planned for time in times),
        wait=figures.waiting(night),
    )


def upstreams(night: NightData) -> Section | None:
    """Which publications of other pipelines were read."""
    purposes: dict[str, list[str]] = {}
    for upstream in night.pipeline.upstreams:
        purposes.setdefault(upstream.pipeline, []).append(f"{upstream.table}: {upstream.purpose}")
    for name in night.upstreams:
        purposes.setdefault(name, [])
    if not purposes:
        return None
    return render_section("Other pipelines", "upstreams.html.j2", read=night.upstreams, purposes=purposes)
