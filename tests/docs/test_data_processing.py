"""data_processing.md names functions that exist and the numbers of the registry."""

import importlib
import re

import pytest

from kwspot.experiments.registry import load_registry
from tests.documents import DOCUMENTS

PROCESSING = DOCUMENTS["data_processing.md"]
FRONT_END = load_registry()["lstm"].front_end


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\bkwspot(?:\.[A-Za-z_]+)+", PROCESSING))))
def test_function_named_in_data_processing_exists(name):
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
            break
        except ModuleNotFoundError:
            continue
    for part in parts[n:]:
        found = getattr(found, part)


@pytest.mark.parametrize("name", list(type(FRONT_END).model_fields))
def test_numbers_of_data_processing_are_the_registrys(name):
    value = getattr(FRONT_END, name)
    shown = {"sample_rate": "16000 Hz", "clip_ms": "`clip_ms` = 1000", "win_ms": "30 ms = 480 samples"}
    shown |= {"hop_ms": "10 ms = 160 samples", "f_min": "0 Hz, 4000 Hz", "f_max": "0 Hz, 4000 Hz"}
    text = shown.get(name, f"| {value} |")
    assert text in PROCESSING
    assert f"{value:g}" in text


def test_derived_numbers_of_data_processing():
    assert f"= {FRONT_END.win_length} samples" in PROCESSING
    assert f"= {FRONT_END.hop_length} samples" in PROCESSING
    shape = f"({FRONT_END.max_frames}, {FRONT_END.n_mels})"
    assert f"{shape} float32" in PROCESSING
    assert f"= {FRONT_END.max_frames * FRONT_END.n_mels * 2:,} bytes" in PROCESSING
    train = load_registry()["lstm"].train
    assert f"({train.batch_size}, {FRONT_END.max_frames}, {FRONT_END.n_mels}) float32" in PROCESSING
