"""The page holds what the night did, asks no network, and says plainly when nothing was published."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

from roilake.report.page import duration, label, number, render, size, verdict, write_page
from tests.report.sample import MODELS, NAMES, failed, sample

good = cache(lambda: render(sample()))
bad = cache(lambda: render(failed()))
VOID = {"meta", "br", "link", "img", "input"}


class Tags(HTMLParser):
    """Fails on tags that do not nest; collects text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def text_of(page: str) -> str:
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    return " ".join(tags.text.split())


def test_the_page_says_what_the_night_did() -> None:
    page = good()
    text = text_of(page)
    assert "Published movielens, night of 10 April 1998" in text
    assert "zoomer has the highest value of 6 models in 5 of 6 test metrics." in text
    assert "clearly ahead in 4, level within the interval in 1 and clearly behind in 1." in text
    assert "behind gat 0.810" in text
    assert "ahead of popularity 0.864" in text
    assert "0.885 0.874 to 0.897" in text  # value and interval
    assert "since 1998-04-09: +0.015" in text
    words = ("no time", "query to user edges", "build_rois", "351 B")
    for word in (*MODELS, *(label(name) for name in NAMES), *words):
        assert word in text
    assert page.count("<svg") == 6 + 3  # metrics, loss, epochs, fan-out


def test_the_page_stands_alone_and_is_safe() -> None:
    page = good()
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', page)
    assert "url(http" not in page
    assert "<script" not in page
    assert "<b>242</b>" not in page  # rejected rows are text, never markup
    assert "&lt;b&gt;242" in page


def test_the_same_night_is_the_same_page() -> None:
    assert render(sample()) == good()


def test_a_failed_audit_is_the_first_thing_said() -> None:
    text = text_of(bad())
    assert "Not published" in text
    assert "readers still see the night of 1998-04-09" in text
    assert "0.997, above the bound 0.99" in text
    assert "recommendations are ready" not in text


def test_a_night_with_next_to_nothing_renders() -> None:
    bare = replace(
        sample(), metrics={}, before_ds=None, before={}, curves={}, fanout=[], nodes={}, edges={},
        quarantine=[], runs=[], versions={}, problems=("runs: missing",),
    )  # fmt: skip
    text = text_of(render(bare))
    assert "readers still see no night at all" in text
    assert "No model was judged." in text
    assert verdict(replace(sample(), default_model="absent")) == "No model was judged."


def test_writing_leaves_no_half_page(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "1998-04-10.html"
    path.parent.mkdir()
    path.write_text("older")
    write_page(failed(), path)
    assert path.read_text() == bad()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_words_for_numbers() -> None:
    assert (number(None), number(0.12345), number(1234567)) == ("–", "0.123", "1\u202f234\u202f567")
    assert (size(999), size(1500), size(14_400_000), size(351e9)) == ("999 B", "1.5 kB", "14.4 MB", "351 GB")
    assert (duration(9.96), duration(185)) == ("10.0 s", "3 min 5 s")
