"""The page holds what the night did, asks no network, and says plainly when nothing was published."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from roilake.lake import Lake, Publication
from roilake.metrics.champion import Champion
from roilake.metrics.registry import in_order, label
from roilake.pipelines.retrieval.config import RelevanceWeights
from roilake.pipelines.retrieval.report import Graph
from roilake.pipelines.retrieval.report.graph import labels, seen_items
from roilake.pipelines.retrieval.report.regions import amortisation
from roilake.pipelines.retrieval.report.served import Said, Served, Shown
from roilake.report import figures, slices
from roilake.report.changes import Change, changes, difference
from roilake.report.data import ReportData
from roilake.report.formatting import duration, number, signed, size
from roilake.report.headline import headline
from roilake.report.page import render, write_page
from roilake.report.serving import serving
from roilake.report.slices import unfolded
from tests.report.sample import MODELS, NAMES, failed, graph, last_night, measure, metrics, night, runs, sample

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
        self.text += " " if tag in ("td", "th") else ""

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
    assert (
        "zoomer has AUC 0.885 (popularity has 0.864); against the best other model in each of 7 metrics it is " in text
    )
    assert "behind gat 0.810" in text
    assert "ahead of popularity 0.864" in text
    assert "0.885 0.874 to 0.896" in text  # value and interval
    assert "AUC 0.830 0.885 +0.055" in text  # then, now, change
    assert "2 gates passed" in text
    words = ("no time", "query → user", "build_rois", "351 B", "121 (10.0 %)", "−19 %")
    for word in (*MODELS, *(label(name) for name in NAMES), *words):
        assert word in text
    drawn = 6 + 3 + 1  # metrics; loss, epochs and fan-out; calibration
    assert page.count("<figure") == drawn
    assert page.count("<svg") == page.count('role="img" aria-label="')
    assert page.count("<table") == page.count("<caption>")


def test_five_sentences_come_first() -> None:
    found = headline(sample())
    assert [*found] == ["Status", "Models", "Change", "Data", "Attention"]
    assert [*found.values()] == [
        "Published: 48\u202f200 recommendations by zoomer are ready for readers, after 2 gates passed.",
        "zoomer has AUC 0.885 (popularity has 0.864); against the best other model in each of 7 metrics it is ahead in "
        "5, level in 1 and behind in 1.",
        "Since 1998-04-09, zoomer got better in AUC (+0.055).",
        "1\u202f210 events came in (1\u202f500 on 1998-04-09), with 3 new users and 1 new item; 12 rows rejected.",
        "To look at: 12 rejected rows (no time); slice gender = F fell in NDCG @20 by −0.088; build_requests took "
        "22.0 s (last time 8.8 s).",
    ]
    assert [good().index(sentence[:20]) for sentence in found.values()]


def test_noise_is_not_sold_as_change() -> None:
    same = ReportData(night(), before=replace(night(), ds=date(1998, 4, 9), quarantine=()))
    assert headline(same)["Change"] == "Since 1998-04-09, nothing of zoomer moved beyond noise, in 8 metrics."
    assert "moved beyond" not in headline(replace(same, before=None))["Change"]
    lists = metrics()
    lists["test", "all"]["zoomer"]["coverage@20"] = measure(0.4)
    minor = ReportData(night(), before=replace(night(), ds=date(1998, 4, 9), metrics=lists))
    assert headline(minor)["Change"] == (
        "Since 1998-04-09, no main metric of zoomer moved beyond noise; of all 8 did Coverage @20 (−0.090)."
    )


def test_what_moves_all_models_alike_is_laid_to_the_requests() -> None:
    before = metrics()
    for found in before["test", "all"].values():
        found["auc"] = measure(found["auc"]["value"] + 0.1)
    found = headline(ReportData(night(), before=replace(last_night(), metrics=before)))["Change"]
    assert "got worse in AUC (−0.100); so did every other model" in found


def test_a_change_has_the_interval_of_two_independent_estimates() -> None:
    wide = {"value": 0.5, "low": 0.47, "high": 0.56, "n": 9}
    assert difference(measure(0.4, 0.04), wide) == pytest.approx((0.1, 0.05, 0.1 + (0.06**2 + 0.04**2) ** 0.5))
    assert difference({**wide, "low": None}, wide) == (0.0, None, None)
    moved = Change("m", "all", "log_loss", wide, wide, -0.1, -0.2, -0.05)
    assert (moved.verdict, replace(moved, high=0.05).verdict) == ("better", "noise")
    assert replace(moved, metric="coverage@20").verdict == "moved"
    assert replace(moved, low=None, high=None).verdict == "unknown"
    assert changes({"m": {"auc": wide}}, {"m": {"auc": {**wide, "value": None}}, "new": {"auc": wide}}) == []


def test_slices_are_grouped_and_what_moved_most_comes_first() -> None:
    found = slices.groups(night(), last_night())
    assert [group for group, _ in found] == ["gender", "day", "item popularity", "user history"]
    assert [one.value for one in found[0][1]] == ["F", "M"]
    assert found[0][1][0].changes["ndcg@20"].verdict == "worse"
    assert {group for group, _ in slices.groups(night(), None)} == {group for group, _ in found}
    assert "none" not in {one.value for _, group in found for one in group}  # no user without history was judged
    shown, folded = unfolded(found)
    assert ([group for group, _ in shown + folded], len(folded)) == ([group for group, _ in found], 0)
    assert [group for group, _ in unfolded([("long", found[1][1] * 3), *found])[1]] == [group for group, _ in found]
    points = slices.calibration(night())["zoomer"]
    assert len(points) == 10
    assert points[3] == (pytest.approx(0.35), measure(0.09 * 3 + 0.06, 0.03))


def test_regions_are_set_against_their_uses() -> None:
    assert amortisation(replace(night(), runs=())) is None
    found = amortisation(night())
    assert found is not None
    assert [(use.side, use.split, use.times) for use in found.uses] == [
        ("request", "train", 6),  # zoomer and gat: three epochs each
        ("request", "validation", 6 + 3),  # and judged by three models that look at them
        ("request", "test", 3),
        ("request", "serve", 1),
        ("item", "train", None),
        ("item", "test", 3),
    ]
    assert found.reads == 30_000 * 6 + 4_000 * 9 + 424 * 3 + 47 + 1682 * 3
    assert found.anew == pytest.approx(found.reads * 40.0 / 41_004)


def test_the_page_says_what_became_of_seen_items() -> None:
    def said(**details: object) -> str:
        evaluated = {"step": "evaluate_models", "details": details}
        return dict(seen_items(replace(night(), runs=(evaluated,)))).get("choices of what the user had before", "")

    assert "0.3 %: seen items are left out (2 requests with them)" in good()
    kept = {"rule": "keep", "repeats": 9, "positives": 10, "share": 0.9}
    assert said(seen=kept, requests_left_out=0) == "90.0 %: seen items are kept"
    assert said() == said(seen={**kept, "positives": 0, "share": None}, requests_left_out=0) == ""


def test_the_page_says_how_many_nodes_have_a_label_of_another_pipeline() -> None:
    built = {"step": "build_graph", "details": {"labelled": {"predicted": 12, "known": 400}}}
    config = {"graph": {"labels": {"field": "age_group", "least": 0.8}}}
    found = dict(labels(replace(night(), runs=(built,), config=config)))
    assert found == {"nodes with age_group, known": "400", "nodes with age_group, predicted": "12"}
    assert dict(labels(night())) == {}


def test_time_is_held_against_the_plan_or_the_night_before() -> None:
    times = {time.run["step"]: time for time in figures.times(night(), last_night())}
    assert (times["train_models"].meant, times["train_models"].planned) == (60.0, True)
    assert (times["build_rois"].meant, times["build_rois"].planned) == (pytest.approx(16.0), False)
    assert not times["train_models"].late
    assert times["build_rois"].late
    assert not figures.times(replace(night(), runs=runs(0.5)), last_night())[1].late
    assert figures.times(night(), None)[0].meant is None


def test_counts_against_an_earlier_night() -> None:
    found = {count.name: count for count in figures.table_counts(night(), last_night())}
    assert (found["events"].change, found["nodes"].change) == ("−19 %", "+0.2 %")
    assert (found["recommendations"].change, found["rois"].change) == ("same", "")
    assert figures.Count("x", 900, 100).change == "× 9.0"


def test_the_page_stands_alone_and_is_safe() -> None:
    page = good()
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', page)
    assert "url(http" not in page
    assert "<script" not in page
    assert "<b>242</b>" not in page  # rejected rows are text, never markup
    assert "&lt;b&gt;242" in page


def test_lists_are_text_never_markup() -> None:
    class Made(Served):
        def shown(self, weights: RelevanceWeights) -> list[Shown]:
            return [Shown("<b>ann</b>", None, [], [Said("<i>tea</i>", "likeness 0.50, 2.0 days ago")], 9, [])]

    lake = Made(Lake(None, "nowhere"), Publication("retrieval", night().ds, "5a0e", {}, "{}", "b2e3"))
    built = [{**run, "details": {"weights": {"linked": 2.0}}} for run in runs() if run["step"] == "build_rois"]
    page = render(ReportData(replace(night(), own=replace(graph(), served=lake), runs=tuple(built))))
    assert "&lt;b&gt;ann" in page and "<b>ann" not in page and "<i>tea" not in page
    text = text_of(page)
    assert (
        "User <b>ann</b> Had last No history." in text
        and "Kept of the history: 1 of 9 <i>tea</i>likeness 0.50, 2.0 days ago Recommended Nothing." in text
    )
    assert "What was recommended, and why" not in text_of(good())


def test_the_same_night_is_the_same_page() -> None:
    assert render(sample()) == good()


def test_a_failed_audit_is_the_first_thing_said() -> None:
    text = text_of(bad())
    assert "Not published" in text
    assert "readers still see the night of 1998-04-09" in text
    assert "0.997, above the bound 0.99" in text
    assert "are ready" not in text
    assert "1 of 3 gates failed" in text
    assert text.index("day=1998-04-07 moved most") < text.index("2 gates passed")
    # What readers see is read from publications: this very night, where an earlier run of it was published.
    again = replace(failed(), seen=Publication("retrieval", night().ds, "5a0e", {}, "{}", "b2e3"))
    assert "readers still see this night as run 5a0e published it" in text_of(render(again))


def test_a_night_with_next_to_nothing_renders() -> None:
    bare = replace(
        night(), metrics={}, curves={}, runs=(), gates=(), quarantine=(), rows={}, own=Graph(), versions={},
        upstreams={},
    )  # fmt: skip
    text = text_of(render(ReportData(bare, problems=("runs: missing",))))
    assert "readers still see no night at all" in text
    assert "No model was evaluated." in text
    assert "There is no earlier published night" in text
    assert render(ReportData(night(), before=bare, since=bare))
    assert headline(ReportData(replace(night(), champion=Champion("absent", night().ds))))["Models"] == (
        "No model was evaluated."
    )


def test_the_page_says_who_serves_since_when_and_how_far_the_next_one_is() -> None:
    chosen = Champion("zoomer", date(1998, 4, 8), "stayed", "zoomer", "ndcg@20", 0.331, "gat", 0.004, -0.002, 0.01, 400)
    sentence = (
        "zoomer serves since 1998-04-08: no other model won over it; on validation it has NDCG @20 0.331, and gat is "
        "ahead by 0.004 (−0.002 to 0.010)."
    )
    assert sentence == serving(chosen) == headline(ReportData(replace(night(), champion=chosen)))["Serves"]
    assert sentence in text_of(render(ReportData(replace(night(), champion=chosen))))
    won = replace(chosen, reason="won", previous="gat", difference=-0.012, low=-0.02, high=-0.004)
    assert ": it won over gat; on" in serving(won) and "gat is behind by 0.012 (0.004 to 0.020)." in serving(won)
    less = replace(won, metric="log_loss", difference=0.012, low=0.004, high=None)
    assert "it has Log-loss 0.331, and gat is behind by 0.012." in serving(less)
    nothing = replace(chosen, reason="first", value=None, runner_up=None, difference=None)
    assert "on validation no request could be judged, so it is the first of the config." in serving(nothing)
    assert serving(Champion("zoomer", night().ds)) == "zoomer serves, as the config says."


def test_a_chosen_night_stands_before_the_last_one() -> None:
    chosen = replace(last_night(), ds=date(1998, 4, 2))
    text = text_of(render(replace(sample(), since=chosen)))
    assert text.index("Since 1998-04-02, zoomer got better in AUC") < text.index(
        "Since 1998-04-09, the night published last"
    )


def test_writing_leaves_no_half_page(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "1998-04-10.html"
    path.parent.mkdir()
    path.write_text("older")
    write_page(failed(), path)
    assert path.read_text() == bad()
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["1998-04-10.html", "1998-04-10.txt"]


def test_words_for_numbers() -> None:
    assert (number(None), number(0.12345), number(1234567)) == ("–", "0.123", "1\u202f234\u202f567")
    assert (signed(0.12), signed(-0.12), signed(0.0001), signed(None)) == ("+0.120", "−0.120", "±0.000", "–")
    assert (size(999), size(1500), size(14_400_000), size(351e9)) == ("999 B", "1.5 kB", "14.4 MB", "351 GB")
    assert (duration(9.96), duration(185)) == ("10.0 s", "3 min 5 s")
    assert in_order(["odd@3", "ndcg@20", "hit_rate@100", "auc", "hit_rate@50", "auc"]) == [
        "auc", "hit_rate@50", "hit_rate@100", "ndcg@20", "odd@3",
    ]  # fmt: skip
    assert (label("pr_auc"), label("odd@3")) == ("PR-AUC", "odd @3")


def test_a_metric_without_any_value_is_neither_drawn_nor_listed() -> None:
    found = metrics()
    for measures in found["test", "all"].values():
        measures["auc_in_query"] = {"value": None, "low": None, "high": None, "n": 0}
    page = render(ReportData(replace(night(), metrics=found)))
    assert label("auc_in_query") not in text_of(page)
    found["test", "all"]["zoomer"]["auc_in_query"] = measure(0.7)
    assert label("auc_in_query") in text_of(render(ReportData(replace(night(), metrics=found))))
