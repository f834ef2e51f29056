"""Lists that the night serves, with reasons, and why neighbours of histories were kept."""

from __future__ import annotations

from roilake.pipelines.retrieval.config import RelevanceWeights
from roilake.pipelines.retrieval.report.graph import edge_label, seen_items
from roilake.pipelines.retrieval.report.reasons import read_reasons
from roilake.report import ReportData, Section, render_section
from roilake.report.formatting import number


def lists_section(data: ReportData) -> Section | None:
    """None for a night that served nobody and judged nothing."""
    night, served, built = data.night, data.night.own.served, data.night.run("build_rois")
    if served is None or built is None or "weights" not in built["details"]:
        return None
    weights = RelevanceWeights.model_validate(built["details"]["weights"])
    shown, reasons = served.shown(weights), read_reasons(served)
    if not shown and reasons is None:
        return None
    return render_section(
        "What was recommended, and why",
        "lists.html.j2",
        package=__package__,
        shown=shown,
        reasons=reasons,
        model=night.default_model,
        edge_label=edge_label,
        weights=", ".join(f"{name} {number(value, 2)}" for name, value in weights),
        seen=list(seen_items(night)),
    )
