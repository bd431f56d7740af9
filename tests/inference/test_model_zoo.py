"""A name leads to one model: what is enrolled takes no name that something else is found by."""

import pytest

from kwspot.errors import ConfigError, MissingError
from kwspot.experiments.runs import MODEL
from kwspot.inference.model_zoo import bundled_models, enrolled_path, find_model
from tests.records import make_run


def enrolled(runs, name):
    """Put a file in the place of an enrolled model."""
    path = runs / "enrolled" / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize("name", [model.name for model in bundled_models()])
def test_no_model_is_enrolled_under_a_name_that_kwspot_brings(tmp_path, name):
    with pytest.raises(ConfigError, match=f"^'{name}': a model that comes with kwspot; give another name$"):
        enrolled_path(tmp_path, name)


def test_no_model_is_enrolled_under_a_name_that_finds_a_run(tmp_path):
    run = make_run(tmp_path, "mine", 1)
    for name in ("mine", "mine-s1", run.id):
        with pytest.raises(ConfigError, match=f"^'{name}': the run {run.id}, in whose place .*; give another name$"):
            enrolled_path(tmp_path, name)
    for name in ("min", "mine2", "mine-s2", "house"):
        assert enrolled_path(tmp_path, name) == tmp_path / "enrolled" / f"{name}.onnx"


def test_a_name_that_is_almost_one_is_named(tmp_path):
    enrolled(tmp_path, "house")
    for asked, meant in (("hous", "house"), ("keyword10", "keywords10")):
        with pytest.raises(MissingError, match=f"did you mean '{meant}'\\?$"):
            find_model(asked, tmp_path)
    with pytest.raises(MissingError, match=r"ends in \.onnx$"):
        find_model("zzz", tmp_path)


@pytest.mark.parametrize("name", ["house.stream", "house.onnx", "house.stream.onnx"])
def test_no_model_is_enrolled_under_the_name_of_a_file(tmp_path, name):
    with pytest.raises(ConfigError, match=f"^'{name}': no name for a model; "):
        enrolled_path(tmp_path, name)


def test_what_was_enrolled_before_can_be_replaced_and_hides_the_runs(tmp_path):
    (make_run(tmp_path, "lstm", 1).path / MODEL).write_bytes(b"")
    assert find_model("lstm", tmp_path).path.name == MODEL
    path = enrolled(tmp_path, "lstm")
    assert enrolled_path(tmp_path, "lstm") == find_model("lstm", tmp_path).path == path
