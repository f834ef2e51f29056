"""What nights on the published graphs would take, reckoned from rates measured on a small machine (``measured.yaml``).

``python -m tests.benchmarks.published_sizes`` prints the table of SCALE.md. Everything in it is
extrapolated: each line is a rate times a size. A night is taken to bring the whole graph anew, one window, one
request and one ROI a node.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

HOURS = 4  # that a night may take
CORES, MEMORY = 16, 128e9  # of a machine
STORE_SHARE = 0.5  # of a machine's memory: as ``retrieval.roi.build``


@dataclass(frozen=True)
class Size:
    nodes: float
    edges: float


SIZES = {"2 M / 400 M": Size(2e6, 4e8), "120 M / 30 B": Size(1.2e8, 3e10), "1.2 B / 260 B": Size(1.2e9, 2.6e11)}


@dataclass(frozen=True)
class Reckoned:
    """A size at the measured rates; core-hours, bytes. An edge is taken for an event."""

    size: Size
    rates: dict[str, float]

    @property
    def graph(self) -> float:
        return self.size.edges * self.rates["graph_cpu_seconds"] / 3600

    @property
    def next_graph(self) -> float:
        return self.size.edges * self.rates["next_graph_cpu_seconds"] / 3600

    @property
    def store(self) -> float:
        return self.size.nodes * self.rates["store_bytes"]

    @property
    def plan(self) -> str:
        return "local" if self.store <= STORE_SHARE * MEMORY else "shuffled"

    @property
    def rois(self) -> float:
        count = self.size.nodes * (1 + self.rates["item_share"])
        return count / self.rates[f"rois_{self.plan}"] / 3600

    @property
    def training(self) -> float:
        return self.size.nodes / self.rates["train_requests"] / 3600

    @property
    def topk(self) -> float:
        """Exact, of every request."""
        products = self.size.nodes * self.size.nodes * self.rates["item_share"] * 32
        return products / self.rates["topk_products"] / 3600

    @property
    def storage(self) -> float:
        rates, nodes = self.rates, self.size.nodes
        rois = nodes * (1 + rates["item_share"]) * rates["roi_bytes"]
        kept = nodes * (rates["adjacency_bytes"] + rates["vector_bytes"]) + rois
        events = rates["event_bytes"] + rates["history_bytes"] + rates["graph_kept_bytes"]
        return self.size.edges * events + kept

    @property
    def shuffled(self) -> float:
        each_node = (1 + self.rates["item_share"]) * self.rates["roi_shuffle_bytes"]
        rois = self.size.nodes * (each_node + self.rates["list_shuffle_bytes"])
        return self.size.edges * self.rates["graph_spill_bytes"] + (rois if self.plan == "shuffled" else 0)

    @property
    def machines(self) -> int:
        """So many that the night but for exact lists ends in ``HOURS``."""
        return math.ceil((self.graph + self.rois + self.training) / HOURS / CORES)

    def held(self, rate: str) -> float:
        return self.size.nodes * self.rates[rate]


LINES: dict[str, Callable[[Reckoned], str]] = {
    "graph build, core-hours": lambda r: _number(r.graph),
    "the same of a next night, core-hours": lambda r: _number(r.next_graph),
    "ROIs, core-hours (plan)": lambda r: f"{_number(r.rois)} ({r.plan})",
    "an epoch of ZOOMER, core-hours": lambda r: _number(r.training),
    "exact lists of all requests, core-hours": lambda r: _number(r.topk),
    f"machines of {CORES} cores for {HOURS} hours, without these lists": lambda r: str(r.machines),
    "storage of a night": lambda r: _bytes(r.storage),
    "shuffled or spilled": lambda r: _bytes(r.shuffled),
    "ROI store on each machine (local plan)": lambda r: _bytes(r.store),
    "features in each training or scoring process": lambda r: _bytes(r.held("feature_bytes")),
    "ids on the driver": lambda r: _bytes(r.held("id_bytes")),
}


def table() -> str:
    """In Markdown."""
    rates = yaml.safe_load(Path(__file__).with_name("measured.yaml").read_text())
    reckoned = [Reckoned(size, rates) for size in SIZES.values()]
    rows = [("nodes / edges", *SIZES), ("---", *("---:" for _ in SIZES))]
    rows += [(name, *(line(found) for found in reckoned)) for name, line in LINES.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _bytes(value: float) -> str:
    power = 3 if value >= 1e12 else 2
    return f"{value / 1000 ** (power + 1):,.3g} {'GB' if power == 2 else 'TB'}"


if __name__ == "__main__":
    print(table())
