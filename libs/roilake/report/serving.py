"""Who serves a night, since when, and how far the next one is, in a sentence."""

from __future__ import annotations

from roilake.metrics.champion import Champion
from roilake.metrics.registry import direction, label
from roilake.report.formatting import number


def serving(champion: Champion) -> str:
    """``graphsage serves since 1998-04-11: it won over zoomer; on validation it has NDCG @20 0.331, and zoomer is
    behind by 0.012 (0.004 to 0.020).``"""
    if not champion.metric:
        return f"{champion.model} serves, as the config says."
    return f"{champion.model} serves since {champion.since}{_reason(champion)}; on validation {_found(champion)}."


def _reason(champion: Champion) -> str:
    return {
        "named": ", as the config says",
        "first": ", a first night",
        "gone": f": {champion.previous}, which served before, can serve no more",
        "won": f": it won over {champion.previous}",
        "stayed": ": no other model won over it",
    }[champion.reason]


def _found(champion: Champion) -> str:
    if champion.value is None:
        return f"no request could be judged{_first(champion)}"
    own = f"it has {label(champion.metric)} {number(champion.value)}"
    if champion.runner_up is None or champion.difference is None:
        return f"{own}, and there is no other model"
    return f"{own}, and {champion.runner_up} is {_apart(champion)}"


def _first(champion: Champion) -> str:
    return ", so it is the first of the config" if champion.reason in ("first", "gone") else ""


def _apart(champion: Champion) -> str:
    """How far the runner-up is: ``behind by 0.012 (0.004 to 0.020)``."""
    assert champion.difference is not None
    side = direction(champion.metric)
    ahead = side * champion.difference > 0
    sign = side if ahead else -side
    ends = () if champion.low is None or champion.high is None else sorted((sign * champion.low, sign * champion.high))
    interval = " (" + " to ".join(_number(end) for end in ends) + ")" if ends else ""
    return f"{'ahead' if ahead else 'behind'} by {number(sign * champion.difference)}{interval}"


def _number(value: float) -> str:
    return f"{'−' if value < 0 else ''}{number(abs(value))}"
