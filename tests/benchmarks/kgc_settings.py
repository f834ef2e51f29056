"""How each model is trained on each data set of the benchmark of knowledge graphs."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.kgc_fit import Setting

SETTINGS: dict[str, dict[str, Setting]] = {
    "umls": {
        "trans_e": Setting("trans_e", {"width": 256, "dropout": 0.3}, 100, 256, 25, learning_rate=3e-3),
        "compl_ex": Setting(
            "compl_ex", {"width": 256, "dropout": 0.2, "regularization": 0.03}, 100, 256, 25, learning_rate=3e-3
        ),
        "rotat_e": Setting("rotat_e", {"width": 256, "dropout": 0.3}, 100, 256, 25, learning_rate=3e-3),
        "simkgc": Setting("simkgc", {"layers": 1}, 60, 1024, 20, rerank=True),
    },
    "codex_s": {
        "trans_e": Setting("trans_e", {"width": 512, "dropout": 0.1}, 80, 1024, 20, learning_rate=3e-3),
        "compl_ex": Setting(
            "compl_ex", {"width": 512, "dropout": 0.0, "regularization": 0.03}, 80, 1024, 20, learning_rate=3e-3
        ),
        "rotat_e": Setting("rotat_e", {"width": 512, "dropout": 0.3}, 80, 1024, 20, learning_rate=3e-3),
        "simkgc": Setting("simkgc", {"layers": 1, "dropout": 0.2}, 20, 1024, 5, rerank=True),
    },
    "wn18rr": {
        "trans_e": Setting("trans_e", {"width": 256, "dropout": 0.1, "candidates": 4096}, 30, 1024, 10),
        "compl_ex": Setting(
            "compl_ex",
            {"width": 512, "dropout": 0.0, "regularization": 0.1, "candidates": 4096},
            60,
            1024,
            15,
            learning_rate=3e-3,
        ),
        "rotat_e": Setting("rotat_e", {"width": 512, "candidates": 4096}, 60, 1024, 15, learning_rate=3e-3),
        "simkgc": Setting("simkgc", {"layers": 1, "shared": True}, 15, 1024, 5, rerank=True),
    },
}
"""Epochs, queries of a step, and epochs between validations are the three numbers."""

ABLATIONS: dict[str, dict[str, Any]] = {
    "no_pre_batch": {"pre_batch": 0},
    "no_self_negatives": {"self_negatives": False},
    "no_margin": {"margin": 0.0},
    "fixed_temperature": {"fixed_temperature": True},
    "no_reranking": {},
    "no_false_negative_mask": {"false_negative_mask": False},
}
"""SimKGC in its setting, but for these options; ``no_reranking`` is ranked without the bonus."""
