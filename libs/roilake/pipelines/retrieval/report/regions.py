"""What a night's regions of interest cost, and how often they were used."""

from __future__ import annotations

from dataclasses import dataclass

from roilake.pipelines.retrieval.models import reads_regions
from roilake.report import ReportData, Section, render_section
from roilake.report.night import NightData, Row
from roilake.report.pictures import Series, line_picture

SPLITS = ("train", "validation", "test", "serve")


@dataclass(frozen=True)
class Use:
    """``count`` regions of one side and split, each read ``times`` times (on average); None where it is not known."""

    side: str
    split: str
    count: int
    times: float | None


@dataclass(frozen=True)
class Amortisation:
    """What building the regions took, beside how often they were read."""

    uses: list[Use]
    count: int
    bytes: int
    seconds: float
    details: Row

    @property
    def reads(self) -> float:
        """Reads that are known of."""
        return sum(use.count * use.times for use in self.uses if use.times is not None)

    @property
    def each(self) -> float:
        """Bytes of a region."""
        return self.bytes / self.count

    @property
    def per_million(self) -> float:
        """Seconds of the whole step for a million regions."""
        return 1e6 * self.seconds / self.count

    @property
    def anew(self) -> float:
        """Seconds that cutting a region at each read would have taken, at the same rate."""
        return self.reads * self.seconds / self.count


def regions_section(data: ReportData) -> Section | None:
    """Amortisation of the regions, and the fan-out curve where a benchmark left one."""
    roi, picture = amortisation(data.night), fanout_picture(data.night)
    if roi is None and picture is None:
        return None
    title = "Regions of interest: built once, read often"
    return render_section(title, "regions.html.j2", package=__package__, roi=roi, picture=picture)


def amortisation(night: NightData) -> Amortisation | None:
    """None for a night without regions. A training epoch reads each train request's region once, and each validation
    request's once to select; the evaluation reads validation and test regions once per model, scoring those to serve
    once by the model that serves. Item regions likewise: all items of a window are read when it is validated, evaluated
    or served; training reads those that it draws, which nobody counted."""
    run = night.run("build_rois")
    if run is None or not run["rows_out"]:
        return None
    uses = [
        Use(side, split, count, _times(night, side, split))
        for (side, split), count in sorted(night.own.rois.items(), key=lambda entry: _order(*entry[0]))
    ]
    return Amortisation(uses, run["rows_out"], run["bytes"], run["seconds"], run["details"])


def _order(side: str, split: str) -> tuple[bool, int]:
    return side == "item", SPLITS.index(split) if split in SPLITS else len(SPLITS)


def _times(night: NightData, side: str, split: str) -> float | None:
    """Reads of a region of this side and split; None where nobody counted them."""
    zooming = [name for name, model in night.config["models"].items() if reads_regions(model["kind"])]
    epochs = sum(len(night.curves.get(name, {}).get("validations", ())) for name in zooming)
    evaluated = night.run("evaluate_models")
    share = 1.0 if side == "item" else evaluated["details"].get("share", 1.0) if evaluated else 0.0
    known: dict[str, float | None] = {
        "train": float(epochs) if side == "request" else None,
        "validation": epochs + len(zooming) * share if evaluated else float(epochs),
        "test": len(zooming) * share if evaluated else 0.0,
        "serve": float(night.default_model in zooming and night.run("score_requests") is not None),
    }
    return known.get(split)


def fanout_picture(night: NightData) -> str | None:
    """Test AUC by training time, a dot for each fan-out; None where no benchmark measured it."""
    series: Series = {}
    for point in sorted(night.own.fanout, key=lambda p: (p["model"], p["fanout"])):
        xs, ys = series.setdefault(point["model"], ([], []))
        xs.append(point["seconds"])
        ys.append(point["auc"])
    style = {"highlight": night.default_model, "log_x": True, "dots": True}
    return line_picture(series, x="training time, s", y="test AUC", **style) if series else None
