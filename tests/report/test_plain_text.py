"""Whatever the data calls a thing is shown as it is: in plots, on pages, in notebooks and on the console."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from xml.etree import ElementTree

import pandas as pd
import pytest
from rich.console import Console

from roilake.config import validated
from roilake.errors import ConfigError
from roilake.metrics.champion import Champion
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.report import notebook, plots, slices
from roilake.report.compare import Comparison, print_comparison
from roilake.report.data import ReportData
from roilake.report.formatting import plain
from roilake.report.night import NightData
from roilake.report.page import render
from roilake.report.summary import metrics_table
from tests.report.sample import last_night, measure, measures, night
from tests.report.test_page import text_of

ODD = (
    "a$b_$", "tv $200 50% off $300", r"\$x^2_{3}\frac", "_hidden", "__", "[bold]loud[/bold]", "[/]", ":warning: :tea:",
    '<b>"it\'s" & co</b>', "two\nlines\tand tabs", "bell\x07 \x1b[31mred", "مرحبا", "שלום", "電視 📺", "{own} {0} %s",
    "a very long name " * 30,
)  # fmt: skip
DEFAULT = "<b>{own} $x_1$ %s[/bold]"


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def texts(svg: str) -> set[str]:
    return {"".join(node.itertext()) for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")}


def shown(name: str) -> str:
    return plain(name, plots.LONGEST)


@pytest.mark.parametrize("name", ODD)
def test_a_plot_shows_any_name(name: str) -> None:
    series = {name: ([1.0, 2.0], [0.1, 0.2]), "other": ([1.0, 2.0], [0.3, 0.2])}
    points = [(0.2, measure(0.3)), (0.4, measure(0.5))]
    rows = [("all", 0.5), ("delta_vs_default", 0.1)]
    table = pd.DataFrame([(name, "auc", cut, v, v - 0.1, v + 0.1, 9) for cut, v in rows])
    table.columns = ["model", "metric", "slice", "value", "low", "high", "n"]
    for svg in (
        plots.lines(series, x="step", y="loss", highlight=name, alt=name),
        plots.lines(series, x="step", y="loss", highlight="other", alt=name, log_x=True),
        plots.intervals({name: measure(0.4), "other": measure(0.5)}, name, alt=name),
        plots.calibration({name: points, "other": points}, name, alt=name),
        notebook.intervals(table, "auc", name),
        notebook.differences(table, "auc", name),
        notebook.over_nights(table.assign(ds=pd.Timestamp("2020-01-01")), "auc", name),
    ):
        assert shown(name) in texts(svg)


def test_forty_lines_can_be_told_apart() -> None:
    names = [f"model {number}" for number in range(40)]
    svg = plots.lines({name: ([1, 2], [3, 4]) for name in names}, x="x", y="y", highlight="model 3", alt="")
    drawn = re.findall(r'<path d="M [^"]*L [^"]*" clip-path[^>]*style="fill: none; ([^"]*)"', svg.replace("\n", " "))
    looks = {(re.findall(r"stroke: (#\w+)", style)[0], *re.findall("dasharray: ([^;]*)", style)) for style in drawn}
    assert len(looks - {(plots.FAINT,)}) == len({str(plots.style_of(index)) for index in range(40)}) == 40
    assert {*names} <= texts(svg)


def renamed() -> ReportData:
    """Nights whose models (the default one, too), slices and rejected rows have odd names."""

    def with_names(one: NightData) -> NightData:
        found = {cut: {DEFAULT if m == "zoomer" else m: v for m, v in of.items()} for cut, of in one.metrics.items()}
        found["test", "all"] = {**found["test", "all"], **{name: measures(0.7) for name in ODD}}
        found |= {("test", f"gender={name}"): {DEFAULT: measures(0.8)} for name in ODD}
        curves = {**one.curves, **dict.fromkeys((*ODD, DEFAULT), one.curves["zoomer"])}
        bad = tuple({"step": "s", "reason": name, "rows": 1, "examples": [name]} for name in ODD)
        return replace(
            one,
            metrics=found,
            curves=curves,
            quarantine=bad,
            config={**one.config, "name": ODD[8]},
            champion=Champion(DEFAULT, one.ds, "won", ODD[1], "ndcg@20", 0.5, ODD[0], -0.1, -0.2, 0.1),
        )

    return ReportData(with_names(night()), before=with_names(last_night()), problems=ODD)


def test_a_page_shows_any_name() -> None:
    page = render(renamed())
    text = text_of(re.sub("<svg.*?</svg>", "", page, flags=re.DOTALL))
    for name in ODD:
        assert text.count(" ".join(name.split())) >= 2, name  # a model, and why a row was rejected
        assert " ".join(plain(name, slices.LONGEST).split()) in text, name
    assert "<b>" not in page and f"{DEFAULT}: " in text


def test_a_console_shows_any_name() -> None:
    data, out = renamed(), StringIO()
    console = Console(file=out, width=400, force_terminal=True, color_system=None)
    console.print(metrics_table(data.night.measures, DEFAULT, data.night.on, wide=False))
    after = replace(data.night, config={**data.night.config, "models": {name: name for name in ODD}})
    print_comparison(Comparison(data.night, after), console)
    said = " ".join(out.getvalue().split())
    for name in ODD:
        expected = " ".join(plain(name).split())
        assert said.count(expected if len(expected) < 100 else expected[:100]) >= 2, name
    assert not {"\x07", "\x1b"} & {*out.getvalue()}


def test_a_notebook_shows_any_name() -> None:
    html = notebook.table(pd.DataFrame([ODD], columns=[f"column {name}" for name in ODD])).to_html()
    beside = notebook.beside(dict.fromkeys(ODD, "<svg></svg>")).data
    for found in (html, beside):
        assert "tex2jax_ignore mathjax_ignore" in found and "<b>&quot;" not in found
        assert all(" ".join(name.split()) in text_of(found) for name in ODD if "\x1b" not in name)
    assert "<b>" not in html


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "", "a b", "50%", "a\\b", "a\nb", "a\x00b", "x" * 101])
def test_a_name_that_is_no_folder_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ConfigError, match=r"night.yaml: bad value .*model's name is also its folder's") as caught:
        validated(RetrievalConfig, tree(name), "night.yaml")
    assert "\n" not in str(caught.value) and repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["a$b_$", "[bold]x", "_hidden", "été📺", "v1.2-rc+3", "<b>", "a=b", "a:b"])
def test_a_name_that_is_a_folder_is_taken(name: str) -> None:
    assert [*validated(RetrievalConfig, tree(name), "night.yaml").models] == [name]


def tree(name: str) -> dict[str, object]:
    columns = {"user": "u", "item": "i", "time": "t"}
    source = {"events": {"path": "x.csv", "format": "csv", "columns": columns}}
    return {"pipeline": "retrieval", "name": "n", "source": source, "models": {name: {"kind": "zoomer"}}}
