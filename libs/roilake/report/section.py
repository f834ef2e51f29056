"""What a pipeline gives to its page: sections, each a title and HTML made by a template, and texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from roilake.metrics.registry import label
from roilake.report import formatting

_FILTERS = ("number", "signed", "size", "duration", "percent", "plural")


@dataclass(frozen=True)
class Section:
    """``html`` goes into the page as it is. Without a ``title`` it follows the section before."""

    title: str
    html: str


@dataclass(frozen=True)
class Texts:
    """How a page explains what every page shows. A pipeline may have its own (``Pipeline.texts``).

    One sentence or more each; ``{own}`` stands for the default model. ``slice_names`` maps slices that are not named
    ``group=value`` to (what they are cut by, their value)."""

    tiles: str = "{own}, with 95 % intervals; level means that the paired interval of the difference holds 0."
    models: str = "The best value of a column is bold."
    slices: str = ""
    calibration: str = "Calibration: a bin on the dashed line means what it says."
    slice_names: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def render_section(title: str, template: str, *, package: str = "roilake.report", **values: Any) -> Section:
    """A section by a jinja template in the folder of ``package``; it may import ``parts.html.j2`` of the report."""
    return Section(title, environment(package).get_template(template).render(values))


@cache
def environment(package: str = "roilake.report") -> Environment:
    """Templates escape what they are given, and know the report's filters for numbers and names."""
    loader = ChoiceLoader([PackageLoader(name, ".") for name in dict.fromkeys((package, "roilake.report"))])
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"label": label, **{name: getattr(formatting, name) for name in _FILTERS}}
    return made
