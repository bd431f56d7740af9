"""A name leads to one model: what is enrolled takes no name that something else is found by."""

import pytest

from kwspot.errors import ConfigError
from kwspot.experiments.runs import MODEL
from kwspot.inference.model_zoo import bundled_models, enrolled_path, find_model
from tests.records import make_run


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder without a registry of its own, as a folder for runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KWSPOT_REGISTRY", raising=False)
    return tmp_path / "runs"


def enrolled(runs, name):
    """Put a file in the place of an enrolled model."""
    path = runs / "enrolled" / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *((model.name, "a model that comes with kwspot") for model in bundled_models()),
        ("lstm", "an experiment of the registry"),
    ],
)
def test_no_model_is_enrolled_under_a_name_that_kwspot_brings(place, name, what):
    with pytest.raises(ConfigError, match=f"^'{name}': {what}.*; give another name$"):
        enrolled_path(place, name)


def test_no_model_is_enrolled_under_a_name_that_finds_a_run(place):
    run = make_run(place, "mine", 1)
    for name in ("mine", "mine-s1", run.id):
        with pytest.raises(ConfigError, match=f"^'{name}': the run {run.id}, in whose place .*; give another name$"):
            enrolled_path(place, name)
    for name in ("min", "mine2", "mine-s2", "house"):
        assert enrolled_path(place, name) == place / "enrolled" / f"{name}.onnx"


def test_what_was_enrolled_before_can_be_replaced_and_hides_the_runs(place):
    (make_run(place, "lstm", 1).path / MODEL).write_bytes(b"")
    assert find_model("lstm", place).path.name == MODEL
    path = enrolled(place, "lstm")
    assert enrolled_path(place, "lstm") == find_model("lstm", place).path == path


def test_an_experiment_of_ones_own_counts_and_a_broken_registry_does_not_matter(place):
    registry = place.parent / "experiments.yaml"
    registry.write_text("experiments: {house: {why: x}}")
    for name in ("house", "lstm"):
        with pytest.raises(ConfigError, match="an experiment of the registry"):
            enrolled_path(place, name)
    registry.write_text("experiments: [")
    assert enrolled_path(place, "house").name == "house.onnx"
