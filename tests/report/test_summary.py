"""What a night prints is read on 80 columns; the whole table stands beside the page."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from roilake.config import NightConfig
from roilake.metrics.registry import label
from roilake.report import ReportData, night_summary, print_summary
from roilake.report.headline import headline
from roilake.report.leaderboard import rank
from roilake.report.page import render, tables
from roilake.report.summary import metrics_table, whole_text
from tests.report.sample import MODELS, NAMES, last_night, measure, night, runs, sample
from tests.report.small_lake import SECOND, a_run, metric, step, write, write_lake

RUN = a_run("late", "retrieval", SECOND)
LEADING = ("auc", "auc_popularity_negatives", "hit_rate@50", "ndcg@20")


def test_80_columns_hold_the_leading_metrics_and_the_ranks() -> None:
    shown = night()
    console = Console(file=io.StringIO(), width=80)
    console.print(metrics_table(shown.measures, "zoomer", shown.on, wide=False))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    rows = {line.split()[0]: line for line in text.splitlines()[3:]}
    for model in MODELS:
        assert all(f"{shown.measures[model][name]['value']:.3f} ±0.01" in rows[model] for name in LEADING)
    assert " ".join(rows["its"].split()) == "its rank 1 of 6 1 of 6 2 of 6 1 of 6"
    assert all(label(name) in text for name in LEADING) and "Coverage" not in text
    assert next(iter(rows)) == "zoomer"


def test_long_names_fold_and_numbers_stay_whole() -> None:
    measures = {f"a_model_with_a_very_long_name_{k}": night().measures["gat"] for k in range(3)}
    console = Console(file=io.StringIO(), width=80)
    console.print(metrics_table(measures, "a_model_with_a_very_long_name_0", night().on, wide=False))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text and text.count("0.780 ±0.011") == 3 and text.count("0.810 ±0.011") == 3


def test_the_whole_table_is_text() -> None:
    text = whole_text(night())
    assert text.startswith("retrieval, night of 1998-04-10, run 3f9c1e77a2b4\n")
    header = next(line for line in text.splitlines() if line.startswith("model"))
    assert all(label(name) in header for name in (*NAMES, "log_loss", "coverage@20"))
    assert all(f"\n{model} " in text for model in MODELS)
    assert "…" not in text and not any(line.endswith(" ") for line in text.splitlines())


def test_a_rank_counts_better_values() -> None:
    values = {"a": 0.5, "b": 0.7, "c": 0.5, "d": None}
    measures = {
        m: {"auc": {**measure(0), "value": v}, "log_loss": {**measure(0), "value": v}} for m, v in values.items()
    }
    assert [rank(measures, model, "auc") for model in "abcd"] == [(2, 3), (1, 3), (2, 3), None]
    assert [rank(measures, model, "log_loss") for model in "ab"] == [(1, 3), (3, 3)]
    assert rank({"a": {"coverage@20": measure(0.3)}}, "a", "coverage@20") is None  # no better side


def test_a_pipeline_that_declares_nothing_for_its_page_has_one() -> None:
    plain = replace(night().pipeline, figures="", sections=(), volume="", texts="", upstreams=())
    bare = replace(night(), pipeline=plain, own=None, upstreams={})
    data = ReportData(bare, before=replace(last_night(), pipeline=plain, own=None))
    assert headline(data)["Data"] == "1\u202f210 rows of events came in (1\u202f500 on 1998-04-09); 12 rows rejected."
    page = render(data)
    assert "Events and graph" not in page and "Other pipelines" not in page and "Every row of the source" in page
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles[2:] == [
        "Where zoomer does well, and where not", "Training and calibration", "Data", "Time", "Versions",
    ]  # fmt: skip


def test_rows_later_than_the_night_are_counted() -> None:
    late = tuple({**run, "rows_later": 7 * (run["step"] == "ingest_events")} for run in runs())
    data = replace(sample(), night=replace(night(), runs=late))
    assert headline(data)["Data"].endswith("12 rows rejected, 7 later than the night.")
    row = tables(data).html.split("Every row of the source")[1].split("</table>")[0]
    assert [cell.split("<")[0] for cell in row.split('<td class="n">')[1:]] == ["98\u202f000", "41\u202f000", "0", "7"]


def test_wide_prints_all_metrics_whole_on_a_narrow_console(tmp_path: Path) -> None:
    lake = write_lake(tmp_path / "lake")
    many = [{**metric(RUN, model, 0.5), "metric": name} for model in ("zoomer", "gat") for name in (*NAMES, "log_loss")]
    write(lake, RUN, "metrics", many)
    config = NightConfig(pipeline="retrieval", name="small", default_model="zoomer")
    assert night_summary(lake, config, SECOND, run_id="r", seconds=61.2, published=False)["report"] is None
    write(lake, RUN, "runs", [step(RUN, "publish_night", 1, "failed")])
    summary = night_summary(lake, config, SECOND, run_id="r", seconds=61.2, published=False)
    printed = {}
    for wide in (False, True):
        console = Console(file=io.StringIO(), width=80)
        print_summary(lake, summary, config, console, wide=wide)
        printed[wide] = console.file.getvalue()  # type: ignore[attr-defined]
        assert "Night of 2020-01-10: NOT published in 61 s (retrieval)" in printed[wide] and "…" not in printed[wide]
        assert f"All metrics: {tmp_path}/lake/reports/retrieval/2020-01-10-unpublished.txt" in printed[wide]
    rows = {
        wide: next(r for r in text.splitlines() if r.startswith("zoomer ") and "±" in r)
        for wide, text in printed.items()
    }
    assert (rows[False].count("0.500 ±0.010"), rows[True].count("0.500 ±0.010")) == (4, len(NAMES) + 1)
