"""A few visitors for a few seconds: the program that measures the page counts what they did."""

import sys

import pytest

pytest.importorskip("uvicorn", reason="the [ui] extra is not installed")
pytest.importorskip("httpx")

from tests.load import visitors

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="memory is read in /proc")]


def test_three_visitors_listen_and_predict_and_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(visitors, "LISTENED_S", (1.0, 2.0))
    monkeypatch.setattr(visitors, "LOOKED_S", (0.0, 0.1))
    found = visitors.visited(3, 0.5, tmp_path)
    assert found["refusals"] == {}
    assert {"live blocks", "page", "predictions"} <= found["answers"].keys()
    assert min(found["memory_mb"]) > 20
