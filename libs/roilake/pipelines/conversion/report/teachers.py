"""The teachers of conversion models."""

from __future__ import annotations

from collections.abc import Mapping

from roilake.report import ReportData, Section, render_section
from roilake.report.formatting import percent
from roilake.report.night import NightData, Row


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
