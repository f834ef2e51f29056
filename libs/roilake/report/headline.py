"""The page's first lines: five sentences or six, made from the numbers alone, for who reads nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from roilake.metrics.registry import direction, label
from roilake.metrics.slices import is_group
from roilake.report.changes import Change, changes, slice_changes
from roilake.report.data import ReportData
from roilake.report.figures import rejected, times, training_steps, waiting
from roilake.report.formatting import duration, listed, number, plural, signed
from roilake.report.leaderboard import best_other, lead, main_metrics, metric_names, value
from roilake.report.night import NightData
from roilake.report.serving import serving
from roilake.report.slices import group_and_value
from roilake.runtime.pipeline import load
from roilake.runtime.registry import tables

FAR = 1.8
"""Half-widths of its interval by which a slice must fall to be named: there are many, and by chance one in some 5,000
falls as far (3.5 standard errors)."""
WAITING = 0.2
"""A share of the training time spent waiting for input that is worth a sentence."""


def headline(data: ReportData) -> dict[str, str]:
    """By a word on it: published or not and why; who serves, where the night chose it; the default model among the
    models; what changed; how much came in; what needs a look."""
    night = data.night
    return {
        "Status": status(data),
        **({"Serves": serving(night.champion)} if night.champion.metric else {}),
        "Models": comparison(night),
        "Change": change_sentence(night, data.other),
        "Data": volume(data),
        "Attention": attention(data),
    }


def status(data: ReportData) -> str:
    """Whether the night was published, and why not."""
    night, gates = data.night, data.night.gates
    if data.problems:
        failed = plural(len(data.problems), "check")
        return f"Not published: {failed} failed ({data.problems[0]}), {data.kept}."
    served = night.pipeline.served
    several = "model" in tables()[served].key  # rows by every model, not by the default one alone
    by = plural(len(night.models), "model") if several else night.default_model
    passed = f", after {plural(sum(gate['passed'] for gate in gates), 'gate')} passed" if gates else ""
    return f"Published: {plural(night.rows.get(served, 0), night.pipeline.noun)} by {by} are ready for readers{passed}."


def comparison(night: NightData) -> str:
    """The default model against the best other one in each metric, by paired intervals."""
    own, names = night.default_model, [name for name in metric_names(night) if direction(name)]
    if own not in night.measures or not names:
        return "No model was evaluated."
    leads = [lead(night, name) for name in names]
    first = main_metrics(night)[0]
    where = f" on {night.on.name}" if night.several else ""
    shown = f"{own} has {label(first)} {number(value(night.measures, own, first))}{where}"
    if not any(leads):
        return f"{shown}; there is no other model to compare with."
    rival = best_other(night, first)
    against = f"{rival} has {number(value(night.measures, rival or '', first))}"
    counts = [f"{word} in {leads.count(word)}" for word in ("ahead", "level", "behind") if word in leads]
    return f"{shown} ({against}); against the best other model in each of {len(names)} metrics it is {listed(counts)}."


def change_sentence(night: NightData, before: NightData | None) -> str:
    """What of the default model changed beyond its interval, and whether all models moved alike."""
    if before is None:
        return "There is no earlier published night to compare with."
    found = changes(before.at(night.on).measures, night.measures)
    own = [change for change in found if change.model == night.default_model]
    since = f"Since {before.ds}"
    if not own:
        return f"{since}, {night.default_model} cannot be compared: that night did not evaluate it."
    moved = [change for change in own if change.beyond]
    main = [change for change in moved if change.metric in main_metrics(night)]
    if main:
        return f"{since}, {night.default_model} {_moves(main)}{_alike(night, found, main)}."
    if not moved:
        return f"{since}, nothing of {night.default_model} moved beyond noise, in {len(own)} metrics."
    rest = listed([f"{label(change.metric)} ({signed(change.value)})" for change in moved])
    return f"{since}, no main metric of {night.default_model} moved beyond noise; of all {len(own)} did {rest}."


def _moves(moved: list[Change]) -> str:
    phrases = {"worse": "got worse in", "better": "got better in", "moved": "moved in"}
    return " and ".join(
        f"{phrase} {listed([f'{label(change.metric)} ({signed(change.value)})' for change in those])}"
        for verdict, phrase in phrases.items()
        if (those := [change for change in moved if change.verdict == verdict])
    )


def _alike(night: NightData, found: list[Change], moved: list[Change]) -> str:
    """Other models that moved beyond noise the same way in most of these metrics."""
    beyond = [change for change in found if change.beyond and change.model != night.default_model]
    pairs = [(own, other) for own in moved for other in beyond if other.metric == own.metric]
    counts = Counter(other.model for own, other in pairs if other.value * own.value > 0)
    others = [model for model, count in counts.items() if 2 * count > len(moved)]
    if others and len(others) == len(night.measures) - 1:
        return "; so did every other model, which points at what was evaluated rather than at the model"
    return f"; so did {listed(sorted(others))}" if others else ""


def volume(data: ReportData) -> str:
    """What came in, as the pipeline says it, rejected rows, and those that are later than the night."""
    night, pipeline = data.night, data.night.pipeline
    came_in = f"{plural(night.rows.get(pipeline.source, 0), 'row')} of {pipeline.source} came in"
    counts = load(pipeline.volume)(data) if pipeline.volume else f"{came_in}{against(data, pipeline.source)}"
    later = sum(run.get("rows_later", 0) for run in night.runs)  # no table has these rows yet
    more = f", {number(later)} later than the night" if later else ""
    return f"{counts}; {plural(rejected(night), 'row')} rejected{more}."


def against(data: ReportData, table: str) -> str:
    """The rows of a table on the night before, in brackets; empty where there is none."""
    other = data.before
    return f" ({number(other.rows.get(table, 0))} on {other.ds})" if other else ""


def attention(data: ReportData) -> str:
    """Up to three things that a person should look at."""
    found = [*_failed(data), *_behind(data.night), *_worse_slices(data), *_slow(data)]
    if not found:
        return "Nothing else needs attention."
    return f"To look at: {'; '.join(found[:3])}."


def _failed(data: ReportData) -> Iterator[str]:
    bad, more = rejected(data.night), len(data.problems) - 1
    if more > 0:
        yield f"{plural(more, 'more failed check')}, named below"
    if bad:
        yield f"{plural(bad, 'rejected row')} ({data.night.quarantine[0]['reason']})"


def _behind(night: NightData) -> Iterator[str]:
    """Another model is better beyond the paired interval in most of the main metrics."""
    names = main_metrics(night)
    behind = [name for name in names if lead(night, name) == "behind"]
    if 2 * len(behind) > len(names):
        rivals = list(dict.fromkeys(best_other(night, name) or "" for name in behind))
        yield f"{night.default_model} is behind {listed(rivals)} in {listed([label(name) for name in behind])}"


def _worse_slices(data: ReportData) -> Iterator[str]:
    """The slice that fell most, if it fell by far more than its interval while the whole did not fall."""
    other = data.other
    if other is None:
        return
    night, names = data.night, main_metrics(data.night)
    found = changes(other.at(night.on).measures, night.measures)
    whole = {change.metric: change for change in found if change.model == night.default_model}
    worse = [
        change
        for change in slice_changes(other.metrics, night.metrics, night.default_model, night.on)
        if change.verdict == "worse" and change.strength > FAR
        if change.metric in names and is_group(change.slice)
        if change.metric not in whole or whole[change.metric].verdict != "worse"
    ]
    if worse:
        most = max(worse, key=lambda change: change.strength)
        cut = " = ".join(group_and_value(most.slice, night.texts))
        yield f"slice {cut} fell in {label(most.metric)} by {signed(most.value)}"


def _slow(data: ReportData) -> Iterator[str]:
    for time in times(data.night, data.before):
        if time.late:
            meant = f"{'planned' if time.planned else 'last time'} {duration(time.meant or 0)}"
            yield f"{time.run['step']} took {duration(time.seconds)} ({meant})"
    waited = waiting(data.night) or 0.0
    if waited > WAITING and training_steps(data.night) > 100:
        yield f"training waited for its input {100 * waited:.0f} % of the time"
