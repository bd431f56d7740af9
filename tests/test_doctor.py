"""The doctor finds what is broken, names what fixes it, and survives all of it."""

import csv
import json
from pathlib import Path
import re
import shutil

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from kwspot import doctor
from kwspot.cli import app
from kwspot.corpus.layout import corpus_fingerprint
from kwspot.doctor import (
    FAIL,
    OK,
    WARN,
    Finding,
    corpus_findings,
    enrolled_findings,
    extra_findings,
    feature_findings,
    run_findings,
    torch_findings,
    voice_findings,
)
from kwspot.experiments.registry import load_experiment
from kwspot.experiments.settings import FrontEnd
from kwspot.extras import EXTRAS
from kwspot.features.cache import CachedClip, cache_folder, opened_writer
from kwspot.inference.spotter import Spotter
from tests.records import make_run

SHORT = FrontEnd(clip_ms=100)
TRAINING = dict.fromkeys(("tensorboard", "spox"), "1.0")  # that is [train] without the pair


@pytest.fixture
def data(tmp_path):
    """A folder of three clips of two words, nobody's corpus."""
    for name in ("yes/0a_nohash_0.wav", "yes/0b_nohash_0.wav", "no/0a_nohash_0.wav"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(1600, np.float32), 16_000)
    return tmp_path / "data"


def featurized(data, front_end=SHORT):
    fingerprint = corpus_fingerprint(data)
    clips = [CachedClip(0, "yes/0a_nohash_0.wav", "yes", "0a", "train", front_end.max_frames)]
    frames = np.zeros((1, front_end.max_frames, front_end.n_mels), np.float16)
    with opened_writer(cache_folder(data, front_end, fingerprint), front_end, 1) as writer:
        writer.finish_shard(0, frames)
        return writer.finish(
            clips, {"source": "waveforms", "name": "d", "corpus_digest": "d", "fingerprint": fingerprint, "skipped": []}
        )


def only(findings):
    (finding,) = findings
    return finding


def with_versions(monkeypatch, **versions):
    monkeypatch.setattr(doctor, "installed", lambda name: versions.get(name.replace("-", "_")))


@pytest.mark.slow
def test_the_pair_in_this_environment_works():
    torch, device = torch_findings()
    assert (torch.state, device.state) == (OK, OK)
    assert "torch 2.11" in torch.says
    assert "threads" in device.says


@pytest.mark.parametrize(("torch", "torchaudio"), [("2.15.0", "2.11.0"), ("2.11.0", "2.11.1"), ("2.1.1", "2.1.1")])
def test_a_pair_of_other_versions_fails_before_it_is_imported(monkeypatch, torch, torchaudio):
    with_versions(monkeypatch, **TRAINING, torch=torch, torchaudio=torchaudio)
    monkeypatch.setattr(doctor, "probe", lambda: pytest.fail("imported"))
    finding = only(torch_findings())
    assert finding.state == FAIL
    assert finding.repair == "pip install 'torch==2.11.0' 'torchaudio==2.11.0'"
    assert f"torch {torch} with torchaudio {torchaudio}" in finding.says


def test_extras_that_are_not_there_are_no_fault_but_said(monkeypatch):
    with_versions(monkeypatch)
    findings = {finding.name: finding for finding in [*extra_findings(), *voice_findings()]}
    assert set(findings) == {*EXTRAS, "voices"}
    for name, finding in findings.items():
        assert (finding.state, finding.repair) == (OK, None)
        assert f"pip install 'kwspot[{name.replace('voices', 'synth')}]'" in finding.says


def test_half_an_extra_is_a_warning_and_torch_by_itself_is_not_examined(monkeypatch):
    with_versions(monkeypatch, torch="2.15.0", tensorboard="2.21.0", optuna="5.0.0")
    assert list(torch_findings()) == []
    train, sweep = list(extra_findings())[:2]
    assert (train.state, train.repair) == (WARN, "pip install 'kwspot[train]'")
    assert train.says.startswith("torch 2.15.0, tensorboard 2.21.0; missing for featurize, train")
    assert train.says.endswith(": torchaudio, spox")
    assert sweep == Finding("sweep", OK, "optuna 5.0.0")


def test_a_library_of_the_base_that_is_missing_is_a_failure(monkeypatch, tmp_path):
    with_versions(monkeypatch, **(dict.fromkeys(doctor.BASE, "1.0") | {"soxr": None}))
    (base,) = (finding for finding in doctor.examine(tmp_path, tmp_path) if finding.name == "base")
    assert (base.state, base.says, base.repair) == (FAIL, "missing: soxr", "pip install soxr")


@pytest.mark.parametrize(
    ("code", "timeout_s", "last_words"),
    [
        ("raise OSError('libcudart.so.13: cannot open shared object file')", 60, "libcudart.so.13"),
        ("import os; os.abort()", 60, "died with code"),
        ("import time; time.sleep(60)", 1, "no answer in 1 s"),
    ],
)
def test_a_pair_that_cannot_be_imported_is_a_finding(monkeypatch, code, timeout_s, last_words):
    with_versions(monkeypatch, **TRAINING, torch="2.11.0+cpu", torchaudio="2.11.0")
    probe = doctor.probe
    monkeypatch.setattr(doctor, "probe", lambda: probe(code, timeout_s))
    finding = only(torch_findings())
    assert finding.state == FAIL
    assert last_words in finding.says
    assert "torchaudio==2.11" in finding.repair


def test_a_probe_brings_back_what_was_printed():
    assert doctor.probe("print('{\"a\": 1}')") == ({"a": 1}, "")


def test_no_corpus_is_a_warning_with_the_command(tmp_path):
    assert only(corpus_findings(tmp_path / "none")) == Finding(
        "corpus", WARN, f"{tmp_path / 'none'}: no corpus yet", "kwspot download"
    )
    (tmp_path / "empty").mkdir()
    finding = only(corpus_findings(tmp_path / "empty", " --data empty"))
    assert (finding.state, finding.repair) == (WARN, "kwspot download --data empty")


def test_own_clips_are_counted(data):
    finding = only(corpus_findings(data))
    assert finding.state == OK
    assert "your own clips; 2 words; clips: " in finding.says


def test_a_marked_corpus_must_be_whole(data):
    files = {path.relative_to(data).as_posix(): path.stat().st_size for path in data.rglob("*.wav")}
    marker = {"schema": 1, "name": "toy", "source": "test", "sha256": None, "n_files": 3, "n_bytes": 9}
    (data / ".kwspot").mkdir()
    (data / ".kwspot" / "corpus.json").write_text(json.dumps(marker))
    (data / ".kwspot" / "corpus.files.json").write_text(json.dumps(files))
    assert "toy, complete; 2 words" in only(corpus_findings(data)).says
    (data / "yes" / "0b_nohash_0.wav").unlink()
    finding = only(corpus_findings(data))
    assert (finding.state, finding.repair) == (FAIL, "kwspot download")
    assert "1 files missing" in finding.says
    (data / ".kwspot" / "corpus.json").write_text("{")
    assert only(corpus_findings(data)).state == FAIL


def test_imported_frames_are_a_corpus(tmp_path):
    (tmp_path / ".kwspot").mkdir()
    (tmp_path / ".kwspot" / "imported.json").write_text(json.dumps({"name": "dsp", "digest": "d"}))
    assert "frames imported" in only(corpus_findings(tmp_path)).says


def test_features_are_there_missing_stale_damaged_or_half(data):
    assert list(feature_findings(data.parent / "none")) == []
    assert only(feature_findings(data)).repair == "kwspot featurize"
    cache = featurized(data)
    finding = only(feature_findings(data))
    assert finding.state == OK
    assert f"{cache.folder.name}: from waveforms, 1 clips, 40 mels, 30/10 ms" in finding.says
    soundfile.write(data / "no" / "0c_nohash_0.wav", np.zeros(800, np.float32), 16_000)
    finding = only(feature_findings(data))
    assert (finding.state, finding.repair) == (WARN, "kwspot featurize")
    assert "changed since" in finding.says
    (cache.folder / "index.tsv").write_text("nothing")
    assert only(feature_findings(data)).state == FAIL
    (data / ".kwspot" / "features-0123456789abcdef.partial").mkdir()
    states = [finding.state for finding in feature_findings(data)]
    assert states == [WARN, FAIL]


def test_runs_are_counted_and_broken_ones_named(tmp_path):
    assert only(run_findings(tmp_path)) == Finding("runs", OK, f"{tmp_path}: 0 finished, 0 unfinished")
    make_run(tmp_path, "lstm", 1)
    make_run(tmp_path, "lstm", 2, finished=False, settings=load_experiment("lstm", None, ["train.epochs=9"]).deciding())
    broken = make_run(tmp_path, "rnn")
    (broken.path / "run.json").write_text("{")
    failed, counted = run_findings(tmp_path)
    assert (failed.state, counted.state) == (FAIL, WARN)
    assert failed.repair == f"kwspot runs rm {broken.id} --runs {tmp_path}"
    assert "1 finished, 1 unfinished: lstm-s2" in counted.says
    assert counted.repair == f"kwspot train lstm --seed 2 -o train.epochs=9 --runs {tmp_path} --resume"


def test_models_of_own_words_are_listed_and_broken_ones_named(tmp_path):
    assert list(enrolled_findings(tmp_path)) == []
    there = tmp_path / "enrolled/house.onnx"
    there.parent.mkdir()
    shutil.copy(Spotter.load().path, there)
    assert [(f.state, f.says) for f in enrolled_findings(tmp_path)] == [("ok", "house")]
    (tmp_path / "enrolled/my flat.onnx").write_bytes(b"none")
    (finding,) = enrolled_findings(tmp_path)
    assert (finding.state, finding.repair) == ("fail", "kwspot enroll 'my flat' --again --clips FOLDER")
    assert finding.says.endswith("my flat.onnx: no model that onnxruntime can read")


def test_too_little_space_is_said(data, monkeypatch, tmp_path):
    usage = type("Usage", (), {"free": 1e9})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(doctor, "torch_findings", lambda: iter([]))

    def states(folder):
        return [finding.state for finding in doctor.examine(folder, tmp_path) if finding.name == "space"]

    assert states(tmp_path / "none") == [WARN, OK]  # the recordings are still to come
    assert states(data) == [OK, OK]
    usage.free = 1e6  # type: ignore[attr-defined]
    assert states(data) == [FAIL, FAIL]


def test_the_doctor_outlives_an_examination_that_breaks(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "torch_findings", lambda: 1 / 0)
    (tmp_path / "experiments.yaml").write_text("experiments: {a: {}}")
    findings = {f.name: f for f in doctor.examine(tmp_path, tmp_path, tmp_path / "experiments.yaml")}
    assert findings["torch"].says == "ZeroDivisionError: division by zero"
    assert findings["registry"].state == FAIL
    assert "a.why: missing" in findings["registry"].says
    assert findings["registry"].repair == "mend the file, or name another with --registry"
    assert findings["python"].state == OK


def test_the_command_prints_lines_or_json_and_fails_where_something_does(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "torch_findings", lambda: iter([Finding("torch", OK, "fine")]))
    options = ["--data", str(tmp_path), "--runs", str(tmp_path)]
    result = CliRunner().invoke(app, ["doctor", *options])
    assert result.exit_code == 0
    assert "ok   torch     fine" in result.stdout
    assert f"fix: kwspot download --data {tmp_path}" in result.stdout
    monkeypatch.setattr(doctor, "torch_findings", lambda: iter([Finding("torch", FAIL, "broken " * 30, "fix it")]))
    result = CliRunner().invoke(app, ["doctor", *options])
    assert result.exit_code == 1
    assert max(map(len, result.stdout.replace(str(tmp_path), "").splitlines())) <= 80
    result = CliRunner().invoke(app, ["doctor", "--json", *options])
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content["ok"] is False
    assert {"name": "torch", "state": "fail", "says": "broken " * 30, "repair": "fix it"} in content["findings"]
    assert "torch" in {finding["name"] for finding in content["findings"]}
    rows = list(csv.reader(CliRunner().invoke(app, ["doctor", "--csv", *options]).stdout.splitlines()))
    assert rows[0] == ["name", "state", "says", "repair"]
    assert ["torch", "fail", "broken " * 30, "fix it"] in rows


def test_what_is_examined_is_what_pip_installs():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has none")
    declared = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras = declared["optional-dependencies"]
    assert {f"{name}=={doctor.RELEASE}" for name in ("torch", "torchaudio")} <= set(extras["train"])
    assert [re.match(r"[\w-]+", one)[0] for one in declared["dependencies"]] == list(doctor.BASE)
    for name, extra in EXTRAS.items():
        own = [re.match(r"[\w-]+", one)[0] for one in extras[name] if not one.startswith("kwspot")]
        assert own == list(extra.libraries)
