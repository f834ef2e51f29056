"""The notebooks run from top to bottom on a small published lake, and are kept without what they print."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient
from nbformat import NotebookNode

from roilake.lake import Lake
from tests.report.small_lake import write_conversion
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
    clients = [NotebookClient(b, km=ThisPython(), resources={"metadata": {"path": str(FOLDER)}}) for b in books]
    await asyncio.gather(*(client.async_execute(env=env) for client in clients))


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "ROILAKE_LAKE": str(folder), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def executed(nights: Nights, tmp_path_factory: pytest.TempPathFactory) -> dict[str, NotebookNode]:
    """All notebooks after they ran on the second night of two, the first three in a lake that has a night of another
    pipeline at that date; a cell that fails raises."""
    shared = tmp_path_factory.mktemp("shared") / "lake"
    shutil.copytree(nights.lake.folder, shared, copy_function=os.link)
    write_conversion(Lake(None, shared), SECOND)
    books = {path.stem[:2]: load(path) for path in NOTEBOOKS}

    async def run() -> None:
        several = [book for name, book in books.items() if name != "04"]
        alone = execute([books["04"]], environment(nights.lake.folder))
        await asyncio.gather(execute(several, environment(shared)), alone)

    asyncio.run(run())
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
        errors = [o for o in outputs(book) if o["output_type"] == "error" or o.get("name") == "stderr"]
        assert errors == [] and str(SECOND) in printed(book)


@pytest.mark.slow
def test_last_night_shows_steps_metrics_and_recommendations(executed: dict[str, NotebookNode], nights: Nights) -> None:
    page, model = shown(executed["01"]), nights.served(-1).model
    assert "train_models" in page and "build_impressions" not in page and "ukd" not in page
    assert page.count("<svg") == 8 and f"AUC, against {model}" in page
    assert f"requests, by {model}@" in printed(executed["01"])
    assert all(f"{model} serves since {nights.served(-1).since}" in printed(executed[name]) for name in ("01", "03"))


@pytest.mark.slow
def test_why_these_items_draws_a_region(executed: dict[str, NotebookNode]) -> None:
    page = shown(executed["02"])
    assert page.count("<svg") == 1
    assert all(
        word in page for word in ("user → item", "query → user", "recommended", "own ", "relevance", "share", "ranks")
    )


@pytest.mark.slow
def test_nights_are_compared_with_intervals(executed: dict[str, NotebookNode]) -> None:
    page = shown(executed["03"])
    assert "over 2 nights" in page and "ukd" not in page and "verdict" in page and page.count("<svg") == 8


@pytest.mark.slow
def test_calibration_is_drawn_and_missing_conversions_are_named(executed: dict[str, NotebookNode]) -> None:
    assert "no conversion tables (cvr_scores, impressions): clicks only" in printed(executed["04"])
    page = shown(executed["04"])
    assert all(f"{model}: observed share by predicted probability" in page for model in MODELS)
