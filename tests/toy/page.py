"""What the page of a toy night shows beside what every page does."""

from __future__ import annotations

from roilake.report import ReportData, Section, render_section


def volume(data: ReportData) -> str:
    return f"{data.night.rows['points']} points came in"


def section(data: ReportData) -> Section:
    return render_section("Points", "points.html.j2", package="tests.toy", count=data.night.rows["points"])
