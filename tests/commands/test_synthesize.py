"""Both walk-throughs of docs/own-words.md, as written, on small data."""

from pathlib import Path
import re
import shlex

import numpy as np
import pytest
from typer.testing import CliRunner

from kwspot.cli import app
from kwspot.experiments.runs import list_runs
from kwspot.synthesis import corpus as synthetic
from kwspot.synthesis.engines import ENGINES, installed
from tests.sounds import tone, write_noise, write_sound

pytestmark = pytest.mark.slow

DOCUMENT = (Path(__file__).parents[2] / "docs" / "own-words.md").read_text("utf-8")
# What makes the documented commands quick; nothing else of them is changed.
QUICK = {
    "synthesize": ["--voices", "3", "--engine", "pico", "--negatives", "5"],
    "train": ["-o", "train.epochs=1"],
    "spot": ["--threshold", "0.1"],
}


def walk_throughs():
    """Return the commands of each block of the document, without the program's name."""
    blocks = re.findall(r"```bash\n(.*?)```", DOCUMENT, re.DOTALL)
    return [[shlex.split(line)[1:] for line in block.splitlines()] for block in blocks]


FROM_RECORDINGS, FROM_TEXT = walk_throughs()


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(synthetic, "NOISE_S", 3)
    for name in ("KWSPOT_DATA", "KWSPOT_RUNS", "KWSPOT_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(command):
    done = CliRunner().invoke(app, [*command, *QUICK.get(command[0], [])])
    assert done.exit_code == 0, f"{command}: {done.output}"
    return done


def record(folder, words, n_clips=16):
    """Write clips as people have them: any rate, length, channels, format and name, among other files."""
    random = np.random.default_rng(0)
    for w, word in enumerate(words):
        for i in range(n_clips):
            rate = (8_000, 22_050, 44_100, 48_000)[i % 4]
            waveform = random.normal(0, 0.002, round(random.uniform(0.2, 3.0) * rate)).astype(np.float32)
            said = tone(400 * (w + 1), 0.2, rate)
            start = random.integers(0, len(waveform) - len(said) + 1)
            waveform[start : start + len(said)] += said
            name = (f"{word} {i}.wav", f"Aufnahme ü{i}.WAV", f"{i}.flac", f"take {i}.FLAC")[i // 4 % 4]
            write_sound(folder / word / name, np.stack([waveform] * 2, axis=1) if i % 3 else waveform, rate)
        (folder / word / "notes.txt").write_text("not a clip")
        (folder / word / ".DS_Store").write_bytes(b"\0")
    write_noise(folder)


def test_each_walk_through_has_five_commands():
    assert len(FROM_RECORDINGS) == len(FROM_TEXT) == 5


def test_from_recordings(place):
    record(place / "recordings", ("licht an", "größer", "unknown"))
    outputs = [run(command) for command in FROM_RECORDINGS]
    assert "0 skipped" in outputs[0].stderr
    assert "48 clips have no speaker in their name" in outputs[0].stderr
    (trained,) = list_runs(place / "runs")
    assert trained.record["classes"] == ["größer", "licht an", "unknown", "silence"]
    assert (place / "own.stream.onnx").is_file()
    lines = [line.split("\t") for line in outputs[4].stdout.splitlines()]
    assert {line[3] for line in lines} <= {"größer", "licht an"}
    assert lines


@pytest.mark.skipif("pico" not in installed(), reason="not installed")
def test_from_text(place):
    write_sound(place / "x.wav", tone(440))
    outputs = [run(command) for command in FROM_TEXT]
    assert outputs[0].stdout.startswith("mywords: 2 keywords by 3 voices, 10 other texts, clips of ")
    (trained,) = list_runs(place / "runs")
    assert trained.record["classes"] == ["lights off", "lights on", "unknown", "silence"]
    assert trained.record["corpus"]["n_clips"] == {"train": 7, "validation": 7, "test": 7}
    assert all(line.startswith("x.wav\t") for line in outputs[4].stdout.splitlines())
    few = (
        CliRunner()
        .invoke(app, ["synthesize", "yes", "no", "--voices", "1", "--engine", "pico", "--out", "few", "--quiet"])
        .stdout
    )
    assert few.startswith("few: 2 keywords by 1 voice, 4 other texts, clips of ")  # of 100: each voice says four
    again = run(FROM_TEXT[0])
    assert again.stdout == outputs[0].stdout
    assert "speak" not in again.stderr


@pytest.mark.skipif("pico" not in installed(), reason="not installed")
def test_the_last_lines_of_synthesize_are_the_commands_that_follow(place):
    done = CliRunner().invoke(app, ["synthesize", "turn the radio on", *QUICK["synthesize"], "--out", "phrase"])
    featurize, train = done.stderr.splitlines()[-2:]
    assert re.fullmatch(r"next: kwspot featurize own_words --data phrase -o front_end\.clip_ms=1[57]\d0", featurize)
    assert train == featurize.replace("next:", "then:").replace("featurize", "train")
    done = CliRunner().invoke(app, ["synthesize", "go", "zurg", *QUICK["synthesize"], "--out", "word"])
    assert "not in the dictionary: zurg; no negatives that sound alike, other words only\n" in done.stderr
    assert done.stderr.endswith("then: kwspot train own_words --data word\n")


def test_what_cannot_be_spoken_is_one_line(place):
    for words, why in (
        (["go", "Go"], "given twice"),
        (["unknown"], "none of them 'unknown'"),
        ([""], "can name a folder"),
    ):
        done = CliRunner().invoke(app, ["synthesize", *words, "--out", "new", "--engine", next(iter(ENGINES))])
        assert done.exit_code in (2, 3)
        assert done.exit_code == 3 or why in done.stderr.splitlines()[-1]
    assert not (place / "new").exists()
