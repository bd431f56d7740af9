"""Accuracy under every condition: measured as predicted, the same twice, kept, shown, and no word of it changed."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from kwspot.cli import app
from kwspot.errors import MissingError
from kwspot.evaluation import robustness
from kwspot.evaluation.conditions import CONDITIONS, SNRS_DB, Source
from kwspot.evaluation.evaluate import evaluate_run
from kwspot.evaluation.robustness import Talkers, measure_robustness, read_unheard_noise
from kwspot.experiments.runs import BABBLE, CLEAN, NOISE, copy_record, read_run
from kwspot.export.export import write_models
from kwspot.features.extract import featurize
from kwspot.files import write_json
from kwspot.reports.accuracy import card_figures, run_text
from kwspot.reports.robustness import draw, in_a_line, markdown, robustness_table, terminal
from kwspot.reports.views import MEASURED
from kwspot.signal.level import rms
from kwspot.training.run import run_experiment
from tests.records import make_run
from tests.sounds import RATE, make_corpus, tone, write_noise
from tests.toy import make_cache, toy_experiment

NAMES = [condition.name for condition in CONDITIONS]


def source(seed=0, recordings=(), talkers=lambda rng: [tone(int(rng.integers(200, 800))) for _ in range(3)]):
    return Source(tone(440), RATE, lambda kind: np.random.default_rng([seed, *kind.encode()]), recordings, talkers)


def test_conditions_have_names_of_their_own_and_the_ratios_promised():
    assert len(set(NAMES)) == len(NAMES) == 25
    assert NAMES[0] == "as recorded"
    for kind in (NOISE, BABBLE):
        assert [c.amount for c in CONDITIONS if c.kind == kind] == [20, 15, 10, 5, 0, -5]


@pytest.mark.parametrize("condition", CONDITIONS, ids=NAMES)
def test_a_condition_is_decided_by_the_stream(condition):
    noise = [np.random.default_rng(7).normal(0, 0.1, 5 * RATE).astype(np.float32)]
    one, same, other = (condition.change(source(seed, noise)) for seed in (1, 1, 2))
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, same)
    drawn = condition.kind in (NOISE, BABBLE, "reverberation")
    assert np.array_equal(one, other) != drawn
    assert np.array_equal(one, tone(440)) == (condition.kind == CLEAN)


@pytest.mark.parametrize("kind", [NOISE, BABBLE])
def test_every_ratio_has_the_same_noise(kind):
    clip = source(3)
    added = [c.change(clip) - clip.waveform.astype(float) for c in CONDITIONS if c.kind == kind]
    for noise, snr_db in zip(added, SNRS_DB, strict=True):
        np.testing.assert_allclose(noise / rms(noise), added[-1] / rms(added[-1]), atol=1e-2)
        assert 20 * np.log10(rms(noise) / rms(added[-1])) == pytest.approx(-5 - snr_db, abs=0.1)


def test_a_silent_stretch_of_a_recording_is_passed_over():
    recording = np.zeros(3 * RATE, np.float32)
    recording[-1] = 0.5
    assert source(0, [recording]).noise.any()
    assert rms(source(0, [np.full(100, 0.5, np.float32)]).noise) == pytest.approx(0.5)  # a short one is repeated


def test_noise_is_what_neither_training_nor_validation_hears(tmp_path):
    make_corpus(tmp_path)
    write_noise(tmp_path)  # 3000 Hz in its last tenth
    (tmp_path / "_background_noise_" / "broken.wav").write_text("no sound")
    (part,) = read_unheard_noise(tmp_path, RATE)
    assert len(part) == pytest.approx(0.6 * RATE, abs=2)
    assert np.abs(np.fft.rfft(part)).argmax() * RATE / len(part) == pytest.approx(3000, abs=5)
    soundfile.write(tmp_path / "_background_noise_" / "hum.wav", np.zeros(RATE), RATE)
    assert read_unheard_noise(tmp_path, RATE) == []


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run from recordings of many speakers, with its model file; the folder of the runs; the recordings."""
    folder = tmp_path_factory.mktemp("robust")
    data = make_corpus(folder / "data", n_speakers=60, seconds=0.23)
    write_noise(data)
    experiment = toy_experiment("lstm", "train.epochs=3")
    featurize(data, experiment.front_end)
    run = run_experiment(experiment, seed=1, data=data, runs_dir=folder / "runs", device="cpu")
    write_models(run, data)
    return run, folder / "runs", data


@pytest.fixture(scope="module")
def measured(recorded):
    run, _, data = recorded
    return measure_robustness(run, split="train", data=data)


@pytest.mark.slow
def test_every_condition_is_measured_on_every_clip(recorded, measured):
    run, _, data = recorded
    evaluation = evaluate_run(run, split="train", data=data, device="cpu")
    assert measured["n"] == evaluation["n"] > 64  # more than a batch
    assert measured["n_speakers"] == evaluation["n_speakers"]
    assert (measured["n_noise_recordings"], measured["n_talkers"]) == (1, 6)
    assert [condition["name"] for condition in measured["conditions"]] == NAMES
    assert measured["conditions"][0]["accuracy"] == pytest.approx(evaluation["accuracy"])
    assert measured["conditions"][0]["interval"] == pytest.approx(evaluation["interval"])
    assert all(0 <= condition["accuracy"] <= 1 for condition in measured["conditions"])


@pytest.mark.slow
def test_measured_again_it_is_the_same(recorded, measured, monkeypatch):
    monkeypatch.setattr(robustness, "BATCH", 7)
    run, _, data = recorded
    assert measure_robustness(run, split="train", data=data) == measured
    moved = measure_robustness(run, split="train", data=data, seed=1)
    assert moved["conditions"][0] == measured["conditions"][0]
    assert moved["conditions"] != measured["conditions"]


def test_nothing_is_written_beside_the_recordings(recorded):
    run, _, data = recorded
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    measure_robustness(run, split="test", data=data)
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_talkers_are_others_who_say_something_else(recorded, monkeypatch):
    from kwspot.features.cache import open_cache

    _, _, data = recorded
    clips = open_cache(data, toy_experiment("lstm").front_end).clips
    clips = [clip for clip in clips if clip.word != "silence"]
    heard = []
    monkeypatch.setattr(robustness, "read_clip", lambda path, spotter: heard.append(path) or soundfile)
    monkeypatch.setattr(soundfile, "waveform", tone(440), raising=False)
    talkers = Talkers(clips, data, None)
    for i in range(20):
        heard.clear()
        assert len(talkers.beside(clips[i], np.random.default_rng(i))) == 6
        speakers = [path.name.split("_")[0] for path in heard]
        assert len(set(speakers)) == 6
        assert clips[i].speaker not in speakers
        assert clips[i].word not in {path.parent.name for path in heard}


def test_babble_needs_more_than_one_speaker(recorded):
    from kwspot.features.cache import open_cache

    _, _, data = recorded
    clip = open_cache(data, toy_experiment("lstm").front_end).clips[0]
    with pytest.raises(MissingError, match="recordings of one speaker; babble needs others"):
        Talkers([clip, clip], data, None)


def test_robustness_needs_recordings_and_the_model_file(recorded, tmp_path):
    run, _, _ = recorded
    make_cache(tmp_path / "frames", words=("left", "right"))
    with pytest.raises(MissingError, match="frames without recordings; robustness needs sound"):
        measure_robustness(run, split="test", data=tmp_path / "frames")
    with pytest.raises(MissingError, match=r"model\.onnx: not there; 'kwspot export lstm-s1-"):
        measure_robustness(make_run(tmp_path / "runs"), split="test", data=tmp_path)


def kwspot(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_the_command_measures_keeps_and_draws(recorded, tmp_path):
    run, runs, data = recorded
    where = ["--runs", runs, "--data", data]
    done = kwspot("eval", "lstm", "--robustness", "--plots", tmp_path, *where)
    assert max(map(len, done.stdout.splitlines())) <= 80
    kept = json.loads((run.path / "robustness-test.json").read_text())
    assert read_run(run.path).robustness["test"] == kept
    assert robustness_table(kept) in done.stdout
    figure = tmp_path / "lstm" / run.id / "robustness_test.svg"
    assert f"wrote {figure}" in done.stderr
    assert figure.is_file()
    assert json.loads(kwspot("eval", "lstm", "--robustness", "--json", *where).stdout)["robustness"] == kept
    assert "robustness" not in json.loads(kwspot("eval", "lstm", "--json", *where).stdout)
    assert read_run(copy_record(run, tmp_path / "results")).robustness == read_run(run.path).robustness
    assert json.loads(kwspot("runs", "--runs", runs, "show", "lstm", "--json").stdout)["robustness"]["test"] == kept
    assert kwspot("eval", "lstm", "--robustness", "--runs", runs, "--data", tmp_path / "none", code=3).stdout == ""


def make_robustness(n=2279, n_noise=6, accuracy=0.9):
    """Fabricate a record: a point is lost with each condition."""
    return {
        "split": "test",
        "corpus": {"name": "speech", "digest": "7" * 64},
        "n": n,
        "n_speakers": 122,
        "confidence": 0.95,
        "seed": 0,
        "n_noise_recordings": n_noise,
        "n_talkers": 6,
        "conditions": [
            {
                "kind": condition.kind,
                "name": condition.name,
                "amount": condition.amount,
                "accuracy": accuracy - i / 100,
                "interval": [accuracy - i / 100 - 0.02, accuracy - i / 100 + 0.02],
            }
            for i, condition in enumerate(CONDITIONS)
        ],
    }


@pytest.fixture
def runs(tmp_path):
    """Three runs, of which two were measured."""
    for name, accuracy in (("lstm", 0.9), ("a_recipe_with_a_rather_long_name", 0.8), ("gru", None)):
        run = make_run(tmp_path / "runs", name)
        if accuracy:
            write_json(run.path / "robustness-test.json", make_robustness(accuracy=accuracy))
    return tmp_path / "runs"


def test_the_table_has_every_condition_and_says_what_the_noise_is():
    text = robustness_table(make_robustness())
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.rpartition("  ")[0].rpartition("  ")[0].strip() for line in lines[1 : 1 + len(NAMES)]] == NAMES
    assert lines[1].split()[-4:] == ["90.0", "88.0", "to", "92.0"]
    told = " ".join(text.partition("\n\n")[2].split())
    assert told.startswith("2,279 test clips of speech by 122 speakers, without silence.")
    assert "Noise: the last tenth of 6 noise recordings; babble: 6 other speakers at once." in told
    assert "coloured noise that was generated" in robustness_table(make_robustness(n_noise=0)).replace("\n", " ")


def test_runs_stand_side_by_side_and_fit_80_columns(runs):
    measured = [read_run(path) for path in sorted(runs.iterdir())]
    text = terminal(measured)
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[0].split() == ["condition", "a_recipe_with_a_rather_long_name", "lstm"]
    assert text.splitlines()[1].split() == ["as", "recorded", "80.0", "90.0"]
    many = terminal([run for run in measured if run.robustness] * 3)
    assert max(map(len, many.splitlines())) <= 80


def test_a_condition_that_one_run_lacks_is_a_dash(runs):
    measured = [run for run in map(read_run, sorted(runs.iterdir())) if run.robustness]
    measured[1].robustness["test"]["conditions"].pop(0)
    assert terminal(measured).splitlines()[1].split() == ["as", "recorded", "80.0", "–"]


@pytest.mark.parametrize("n_runs", [1, 2])
def test_the_figure_has_every_condition(runs, n_runs, tmp_path):
    measured = [run for run in map(read_run, sorted(runs.iterdir())) if run.robustness][-n_runs:]
    (first,) = draw(measured, tmp_path / "first")
    (second,) = draw(measured, tmp_path / "second")
    assert first.read_bytes() == second.read_bytes()
    texts = [text.text for text in ElementTree.parse(first).getroot().iter("{http://www.w3.org/2000/svg}text")]
    labels = {"SNR (dB)", "test accuracy (%)", *NAMES[1 + 2 * len(SNRS_DB) :]}
    labels |= {f"in {name} (dotted: as recorded)" for name in (NOISE, BABBLE)} | ({"lstm"} if n_runs > 1 else set())
    assert labels <= set(texts)


def test_compare_shows_what_was_measured(runs, tmp_path):
    shown = kwspot("compare", "--show", "robustness", "--runs", runs).stdout
    assert "a_recipe_with_a_rather_long_name" in shown
    shown = json.loads(kwspot("compare", "lstm", "--show", "robustness", "--json", "--runs", runs).stdout)
    assert shown == {"lstm": make_robustness()}
    document = tmp_path / "README.md"
    document.write_text("<!-- robustness: written -->\n<!-- /robustness -->\n")
    command = ["compare", "lstm", "--show", "robustness", "--runs", runs, "--plots", tmp_path / "plots"]
    done = kwspot(*command, "--write", document, "--block", "robustness", "--markdown")
    text = document.read_text()
    assert "| noise, 20 dB SNR | 89.0 | 87.0 to 91.0 |" in text
    assert "![Accuracy in noise and other trouble](plots/robustness.svg)" in text
    assert (tmp_path / "plots" / "robustness.svg").is_file()
    assert done.stdout.strip() == markdown([read_run(next(runs.glob("lstm-*")))])
    assert "no run was measured; 'kwspot eval NAME --robustness'" in (
        kwspot("compare", "gru", "--show", "robustness", "--runs", runs, code=3).stderr
    )


def test_compare_refuses_what_a_view_has_not(runs):
    assert "known: accuracy, robustness" in kwspot("compare", "--show", "speed", "--runs", runs, code=2).stderr
    for given in (["--csv"], ["--latex"], ["--versus", "lstm"], ["--sort", "model"]):
        done = kwspot("compare", "--show", "robustness", *given, "--runs", runs, code=2)
        assert f"{given[0]}: not with --show robustness" in done.stderr
    assert set(MEASURED) == {"robustness", "false-alarms"}


def test_a_line_and_the_card_name_what_matters_most(tmp_path):
    line = in_a_line(make_robustness())
    expected = ["as recorded 90.0 %", "noise, 10 dB SNR 87.0 %", "noise, 0 dB SNR 85.0 %"]
    expected += ["babble, 10 dB SNR 81.0 %", "babble, 0 dB SNR 79.0 %", "telephone band, 8 kHz 73.0 %"]
    assert line.split("; ") == expected
    run = make_run(tmp_path, test=None)
    write_json(run.path / "robustness-test.json", make_robustness())
    run = read_run(run.path)
    assert f"- Accuracy of 2,279 test clips of speech by 122 speakers, without silence: {line}\n" in card_figures(run)
    assert "test: as recorded 90.0 %" in run_text(run)
    assert all(len(text) <= 80 for text in run_text(run).removesuffix(str(run.path)).splitlines())
