"""The notebooks run from top to bottom on a small published lake, and are kept without what they print."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.retrieval.two_nights import MODELS, SECOND, Nights

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def load(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


class ThisPython(AsyncKernelManager):
    """Kernels of the tests' own interpreter; none needs to be registered."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])


async def execute(books: list[NotebookNode], env: dict[str, str]) -> None:
    """Run them side by side: most of a notebook's time is the start of its kernel."""
    clients = [
        NotebookClient(b, km=ThisPython(), resources={"metadata": {"path": str(FOLDER)}}) for b in books
    ]
    await asyncio.gather(*(client.async_execute(env=env) for client in clients))


@pytest.fixture(scope="module")
def executed(nights: Nights) -> dict[str, NotebookNode]:
    """All notebooks after they ran on the second night of two; a cell that fails raises."""
    books = {path.stem[:2]: load(path) for path in NOTEBOOKS}
    env = {**os.environ, "ROILAKE_LAKE": str(nights.lake.folder), "OMP_NUM_THREADS": "1"}
    asyncio.run(execute(list(books.values()), env))
    return books


def outputs(book: NotebookNode) -> list[dict[str, Any]]:
    return [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]


def printed(book: NotebookNode) -> str:
    return "".join(output["text"] for output in outputs(book) if output["output_type"] == "stream")


def shown(book: NotebookNode) -> str:
    return "".join(output["data"].get("text/html", "") for output in outputs(book) if "data" in output)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_says_first_what_it_reads(path: Path) -> None:
    book = load(path)
    assert outputs(book) == []
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(cell.execution_count is None and len(cell.source.splitlines()) <= 16 for cell in code)
    assert book.cells[0].source.startswith("# ")
    assert 'os.environ.get("ROILAKE_LAKE", "../lake")' in code[0].source and "DS = None" in code[0].source
    assert "spark" not in "".join(cell.source for cell in code).lower()


@pytest.mark.slow
def test_every_notebook_runs_in_silence(executed: dict[str, NotebookNode]) -> None:
    assert executed.keys() == {"01", "02", "03", "04"}
    for book in executed.values():
        said = [o for o in outputs(book) if o["output_type"] == "error" or o.get("name") == "stderr"]
        assert said == [] and str(SECOND) in printed(book)


@pytest.mark.slow
def test_last_night_tells_jobs_metrics_and_recommendations(executed: dict[str, NotebookNode]) -> None:
    page = shown(executed["01"])
    assert "train_models" in page and page.count("<svg") == 8 and "AUC, against zoomer" in page
    assert "requests, by zoomer@" in printed(executed["01"])


@pytest.mark.slow
def test_why_these_items_draws_a_region(executed: dict[str, NotebookNode]) -> None:
    page = shown(executed["02"])
    assert page.count("<svg") == 1
    assert all(
        word in page for word in ("user → item", "query → user", "recommended", "own ", "relevance", "share")
    )


@pytest.mark.slow
def test_nights_are_compared_with_intervals(executed: dict[str, NotebookNode]) -> None:
    page = shown(executed["03"])
    assert "over 2 nights" in page and "verdict" in page and page.count("<svg") == 8


@pytest.mark.slow
def test_calibration_is_drawn_and_missing_conversions_are_named(executed: dict[str, NotebookNode]) -> None:
    assert "no conversion tables (cvr_scores, impressions): clicks only" in printed(executed["04"])
    page = shown(executed["04"])
    assert all(f"{model}: observed share by predicted probability" in page for model in MODELS)
