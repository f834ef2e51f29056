"""A section of a page: a title and HTML, made by a template."""

from __future__ import annotations

from dataclasses import dataclass
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
