"""Lists that the night serves, with reasons, and why neighbours of histories were kept."""

from __future__ import annotations

from roilake.pipelines.retrieval.config import HistoryConfig, RelevanceWeights, RoiConfig
from roilake.pipelines.retrieval.report.graph import edge_label, seen_items
from roilake.pipelines.retrieval.report.reasons import read_reasons
from roilake.report import ReportData, Section, render_section
from roilake.report.formatting import number


def lists_section(data: ReportData) -> Section | None:
    """None for a night that served nobody and judged nothing."""
    night, served = data.night, data.night.own.served
    if served is None:
        return None
    roi = RoiConfig.model_validate(night.config["roi"])
    built = night.run("build_rois")
    weights = RelevanceWeights.model_validate((built["details"] if built else {}).get("weights", roi.weights))
    shown = served.shown(roi, weights)
    reasons = read_reasons(served, roi, HistoryConfig.model_validate(night.config["history"]))
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
