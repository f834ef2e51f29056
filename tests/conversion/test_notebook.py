"""The notebook on calibration, on a lake of conversions."""

from __future__ import annotations

import asyncio

import pytest

from tests.conversion.conftest import Night
from tests.conversion.small import DS, MODELS, TEACHERS
from tests.notebooks.test_notebooks import FOLDER, environment, execute, load, outputs, printed, shown


@pytest.mark.slow
def test_calibration_of_conversions_is_drawn_for_clicks_and_for_all_pairs(night: Night) -> None:
    book = load(FOLDER / "04_conversion_calibration.ipynb")
    asyncio.run(execute([book], environment(night.lake.folder)))
    page = shown(book)
    assert [output for output in outputs(book) if output.get("name") == "stderr"] == []
    assert "no conversion tables" not in printed(book) and DS.isoformat() not in printed(book)
    for model in (*MODELS, *TEACHERS):
        assert page.count(f"{model}: observed share by predicted probability") == 2
    assert all(word in page for word in ("pctcvr", "uncertainty", "mean disagreement", "unclicked"))
