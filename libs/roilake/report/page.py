"""Renders a night's report: one HTML page that holds its own style and pictures and asks no network for anything, and
beside it the models' metrics as text."""

from __future__ import annotations

from pathlib import Path

from roilake.lake import write_aside
from roilake.report.data import ReportData
from roilake.report.headline import headline
from roilake.report.section import environment
from roilake.report.sections import sections
from roilake.report.summary import whole_text


def write_page(data: ReportData, path: Path) -> None:
    """Write the page, and the whole table of metrics as ``.txt`` beside it, so that nobody sees half of one."""
    page, text = render(data), whole_text(data.night)
    write_aside(path, lambda aside: aside.write_text(page))
    write_aside(path.with_suffix(".txt"), lambda aside: aside.write_text(text))


def render(data: ReportData) -> str:
    """The page as HTML: the frame, with its headline and sections."""
    page = environment().get_template("page.html.j2")
    return page.render(data=data, night=data.night, headline=headline(data), sections=list(sections(data)))
