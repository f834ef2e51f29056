"""The page's first lines: at most five sentences, from the numbers alone, for who reads nothing else."""

from __future__ import annotations

from collections import Counter

from roilake.report.changes import Change, changes, moved_with, slice_changes
from roilake.report.costs import steps_of, times, waiting
from roilake.report.data import ReportData
from roilake.report.formatting import direction, duration, label, listed, number, plural, signed
from roilake.report.leaderboard import best_other, lead, main_metrics, metric_names, value
from roilake.report.night import Night
from roilake.report.quality import traffic
from roilake.report.slices import group_and_value, is_slice
from roilake.runtime.kinds import GRAPH

FAR = 1.8
"""Half-widths of its interval by which a slice must fall to be named: there are many, and by chance one in some 5,000
falls as far (3.5 standard errors)."""
WAITING = 0.2
"""A share of the training time spent waiting for input that deserves a word."""


def headline(contents: ReportData) -> list[str]:
    """Published or not and why; where the default model stands; what changed; how much came in; what needs a look."""
    night = contents.night
    compared = [change_sentence(night, other) for other in contents.others]
    return [
        status(contents),
        standing(night),
        compared[0] if compared else "There is no earlier published night to compare with.",
        volume(contents),
        attention(contents),
    ]


def status(contents: ReportData) -> str:
    """Whether the night was published, and why not."""
    night, gates = contents.night, contents.night.gates
    if contents.problems:
        kept = f"the night of {contents.before.ds}" if contents.before else "no night at all"
        failed = plural(len(contents.problems), "check")
        return f"Not published: {failed} failed ({contents.problems[0]}), so readers still see {kept}."
    served, everyone = (
        night.rows.get(night.kind.served, 0),
        plural(len(night.config["models"]) + len(night.config.get("teachers", {})), "model"),
    )
    lists = f"{plural(served, night.kind.noun)} by {night.default_model if night.kind is GRAPH else everyone}"
    passed = f", after {plural(sum(gate['passed'] for gate in gates), 'gate')} passed" if gates else ""
    return f"Published: {lists} are ready for readers{passed}."


def standing(night: Night) -> str:
    """The default model against the best other one in each metric, by paired intervals."""
    own, names = night.default_model, [name for name in metric_names(night) if direction(name)]
    if own not in night.measures or not names:
        return "No model was judged."
    stands = {name: lead(night, name) for name in names}
    first = main_metrics(night)[0]
    where = f" on {night.place.name}" if len(night.places) > 1 else ""
    shown = f"{own} has {label(first)} {number(value(night.measures, own, first))}{where}"
    if not any(stands.values()):
        return f"{shown}; there is no other model to hold it against."
    rival = best_other(night, first)
    against = f"{rival} has {number(value(night.measures, rival or '', first))}"
    found = list(stands.values())
    counts = [f"{word} in {found.count(word)}" for word in ("ahead", "level", "behind") if word in found]
    return f"{shown} ({against}); against the best other model in each of {len(names)} metrics it is {listed(counts)}."


def change_sentence(night: Night, before: Night) -> str:
    """What of the default model changed beyond its interval, and whether all models moved alike."""
    found = changes(before.at(night.place).measures, night.measures)
    own = [change for change in found if change.model == night.default_model]
    since = f"Since {before.ds}"
    if not own:
        return f"{since}, {night.default_model} cannot be compared: that night did not judge it."
    moved = [change for change in own if change.beyond]
    main = [change for change in moved if change.metric in main_metrics(night)]
    if main:
        return f"{since}, {night.default_model} {_said(main)}{_alike(night, found, main)}."
    if not moved:
        return f"{since}, nothing of {night.default_model} moved beyond noise, in {len(own)} metrics."
    rest = listed([f"{label(change.metric)} ({signed(change.value)})" for change in moved])
    return (
        f"{since}, no main metric of {night.default_model} moved beyond noise; of all {len(own)} did {rest}."
    )


def _said(moved: list[Change]) -> str:
    words = {"worse": "got worse in", "better": "got better in", "moved": "moved in"}
    return " and ".join(
        f"{word} {listed([f'{label(change.metric)} ({signed(change.value)})' for change in those])}"
        for verdict, word in words.items()
        if (those := [change for change in moved if change.verdict == verdict])
    )


def _alike(night: Night, found: list[Change], moved: list[Change]) -> str:
    """Other models that moved beyond noise the same way in most of these metrics."""
    counts = Counter(model for change in moved for model in moved_with(found, change))
    others = [model for model, count in counts.items() if 2 * count > len(moved)]
    if others and len(others) == len(night.measures) - 1:
        return "; so did every other model, which points at the requests judged rather than at the model"
    return f"; so did {listed(sorted(others))}" if others else ""


def volume(contents: ReportData) -> str:
    """What came in, and rejected rows."""
    night, other = contents.night, contents.before
    rejected = plural(sum(bad["rows"] for bad in night.quarantine), "row")
    rows = night.rows.get(night.kind.source, 0)
    against = f" ({number(other.rows.get(night.kind.source, 0))} on {other.ds})" if other else ""
    if night.kind is GRAPH:
        new = listed([plural(night.new.get(kind, 0), f"new {kind}") for kind in ("user", "item")])
        return f"{plural(rows, 'event')} came in{against}, with {new}; {rejected} rejected."
    logged = [traffic(night, split) for split in ("train", "validation", "test")]
    clicks, conversions = (sum(counts) for counts in list(zip(*logged, strict=True))[1:])
    told = f"{plural(clicks, 'click')} and {plural(conversions, 'conversion')}"
    return f"{plural(rows, 'impression')} looked at{against}, with {told}; {rejected} rejected."


def attention(contents: ReportData) -> str:
    """Up to three things that a person should look at."""
    found = [*_failed(contents), *_behind(contents.night), *_worse_slices(contents), *_slow(contents)]
    if not found:
        return "Nothing else needs attention."
    return f"To look at: {'; '.join(found[:3])}."


def _failed(contents: ReportData) -> list[str]:
    rejected = sum(bad["rows"] for bad in contents.night.quarantine)
    more = len(contents.problems) - 1
    return [
        *([f"{plural(more, 'more failed check')}, named below"] if more > 0 else []),
        *(
            [f"{plural(rejected, 'rejected row')} ({contents.night.quarantine[0]['reason']})"]
            if rejected
            else []
        ),
    ]


def _behind(night: Night) -> list[str]:
    """Another model is better beyond the paired interval in most of the main metrics."""
    names = main_metrics(night)
    behind = [name for name in names if lead(night, name) == "behind"]
    if 2 * len(behind) <= len(names):
        return []
    rivals = list(dict.fromkeys(best_other(night, name) or "" for name in behind))
    return [f"{night.default_model} is behind {listed(rivals)} in {listed([label(name) for name in behind])}"]


def _worse_slices(contents: ReportData) -> list[str]:
    """The slice that fell most, if it fell by far more than its interval while the whole did not fall."""
    other = contents.since or contents.before
    if other is None:
        return []
    night, names = contents.night, main_metrics(contents.night)
    found = changes(other.at(night.place).measures, night.measures)
    whole = {change.metric: change for change in found if change.model == night.default_model}
    worse = [
        change
        for change in slice_changes(other.metrics, night.metrics, night.default_model, night.place)
        if change.verdict == "worse" and change.strength > FAR
        if change.metric in names and is_slice(change.slice)
        if change.metric not in whole or whole[change.metric].verdict != "worse"
    ]
    if not worse:
        return []
    most = max(worse, key=lambda change: change.strength)
    return [
        f"slice {' = '.join(group_and_value(most.slice))} fell in {label(most.metric)} by {signed(most.value)}"
    ]


def _slow(contents: ReportData) -> list[str]:
    late = [time for time in times(contents.night, contents.before) if time.late]
    words = [
        f"{time.run['job']} took {duration(time.seconds)} "
        f"({'planned' if time.planned else 'last time'} {duration(time.meant or 0)})"
        for time in late
    ]
    waited, steps = waiting(contents.night) or 0.0, steps_of(contents.night)
    if waited > WAITING and steps > 100:
        words.append(f"training waited for its input {100 * waited:.0f} % of the time")
    return words
