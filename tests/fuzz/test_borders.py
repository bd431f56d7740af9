"""A few inputs of every border of the fuzz program, with a seed of their own."""

import pytest

from tests.fuzz.borders import N_INPUTS, fuzz


def test_a_full_run_has_a_hundred_thousand_inputs():
    assert sum(N_INPUTS.values()) >= 100_000


@pytest.mark.parametrize("name", N_INPUTS)
def test_damage_is_refused_or_harmless(tmp_path, name):
    n = 60 if name != "model files (ONNX)" else 10
    found = fuzz(name, n, 2, tmp_path)
    assert found["refused"] > 0
    assert found["refused"] + found["accepted"] == n
