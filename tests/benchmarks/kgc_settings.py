"""How each model is trained on each data set of the benchmark of knowledge graphs."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.kgc_fit import Setting

SMALL: dict[str, Any] = {"layers": 0, "hidden": 256, "width": 128, "dropout": 0.2}
"""Of MiniLM as it came; what is behind it learns alone, which two cores do in minutes."""

SETTINGS: dict[str, dict[str, Setting]] = {
    "umls": {
        "trans_e": Setting("trans_e", {"width": 256, "dropout": 0.1}, 30, 512, 10, 2000, 1e-2),
        "compl_ex": Setting(
            "compl_ex", {"width": 256, "dropout": 0.1, "regularization": 0.005}, 30, 512, 10, 2000, 1e-2
        ),
        "rotat_e": Setting("rotat_e", {"width": 256, "dropout": 0.1}, 30, 512, 10, 2000, 1e-2),
        "simkgc": Setting("simkgc", SMALL, 16, 1024, 8, 2000, 3e-3, warmup_steps=20, rerank=True),
    },
    "codex_s": {
        "trans_e": Setting("trans_e", {"width": 256, "dropout": 0.1}, 24, 1024, 12, 2000, 6e-3),
        "compl_ex": Setting(
            "compl_ex",
            {"width": 256, "dropout": 0.0, "regularization": 0.007},
            24,
            1024,
            12,
            2000,
            3e-2,
            warmup_steps=20,
        ),
        "rotat_e": Setting("rotat_e", {"width": 256, "dropout": 0.2}, 16, 1024, 8, 2000, 1e-2),
        "simkgc": Setting("simkgc", SMALL, 8, 1024, 4, 2000, 3e-3, rerank=True),
    },
    "wn18rr": {
        "trans_e": Setting("trans_e", {"width": 256, "dropout": 0.1, "candidates": 4096}, 30, 1024, 10),
        "compl_ex": Setting(
            "compl_ex",
            {"width": 256, "dropout": 0.0, "regularization": 0.05, "candidates": 4096},
            6,
            1024,
            2,
            300,
            3e-2,
            warmup_steps=50,
        ),
        "rotat_e": Setting("rotat_e", {"width": 256, "candidates": 4096}, 30, 1024, 5, learning_rate=1e-2),
        "simkgc": Setting(
            "simkgc",
            {"layers": 0, "hidden": 1024, "width": 256, "dropout": 0.2},
            8,
            1024,
            2,
            learning_rate=2e-3,
            warmup_steps=50,
            rerank=True,
        ),
    },
}
"""The numbers are epochs, queries of a step, epochs between validations, triples of one, and the learning rate."""

ABLATIONS: dict[str, dict[str, Any]] = {
    "no_pre_batch": {"pre_batch": 0},
    "no_self_negatives": {"self_negatives": False},
    "no_margin": {"margin": 0.0},
    "fixed_temperature": {"fixed_temperature": True},
    "no_reranking": {},
    "no_false_negative_mask": {"false_negative_mask": False},
}
"""SimKGC in its setting, but for these options; ``no_reranking`` is ranked without the bonus."""
