"""A model is described in words that people read, shortly, whatever its file says."""

import re

import pytest

from kwspot import Spotter
from kwspot.inference.expectation import estimate
from kwspot.inference.model_zoo import bundled_models
from kwspot.reports.model_text import model_text

BARE = {
    "schema": 1, "labels": ["left", "right", "unknown", "silence"], "sample_rate": 16_000, "clip_length": 16_000,
    "win_length": 480, "path": "x.onnx", "size_bytes": 1000, "spotting": None, "accuracy_test": None,
}  # fmt: skip
EXPECTED = {"n": 8, "by": "takes", "right": 1.0, "detected": 0.75, "accepted": 0.002, "confused": [["rise", "fall", 2]]}
ENROLLED = BARE | {
    "spotting": {"threshold": 0.7, "target_per_hour": 1.0, "curve": []},
    "enrollment": {"sources": [{"word": "rise", "spoken": False}] * 4, "expected": EXPECTED},
    "encoder": "encoder-s1", "encoder_sha256": "c4f3a6f0" * 8,
}  # fmt: skip


@pytest.mark.parametrize("model", bundled_models(), ids=lambda model: model.name)
def test_every_bundled_model_begins_with_a_summary(model):
    known = {"path": str(model.path), "size_bytes": 1000, **Spotter(model.path).metadata}
    summary, _, card = model_text(model.name, known, model.card).partition("\n\n")
    keys = [line[:17].strip() for line in summary.splitlines()[1:]]
    assert [key for key in keys if key] == ["words", "accuracy", "size", "file", "use"]
    assert summary.startswith(f"{model.name}: for ")
    assert card == model.card


@pytest.mark.parametrize("known", [BARE, ENROLLED, Spotter.load("keywords10").metadata | BARE])
def test_nothing_is_said_in_keys_or_digests(known):
    text = model_text("my model", known)
    assert not re.search(r"_|None|\[|[0-9a-f]{9}", text.replace("keywords10_", ""))
    assert max(map(len, text.splitlines())) <= 80
    assert "--model 'my model' FILE" in text


def test_of_own_words_takes_and_estimates_are_told():
    text = model_text("house", ENROLLED)
    assert text.startswith("house: for long sound: 1 false alarm an hour of other people's speech\n")
    assert "kwspot spot --model house FILE" in text
    assert "takes            rise 4\n" in text
    assert estimate(EXPECTED) in " ".join(text.split())
    assert "confused         rise taken for fall 2\n" in text
