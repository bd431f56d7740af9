"""Real recordings, where `KWSPOT_REAL_CORPUS` names a corpus folder, `KWSPOT_REAL_FRAMES` one of log-mel frames."""

import os
from pathlib import Path
import shutil

import numpy as np
import pytest
import soundfile

from kwspot import Spotter
from kwspot.corpus.layout import TEST, read_corpus, which_split
from kwspot.evaluation.evaluate import evaluate_run
from kwspot.evaluation.stream_parity import compare_streaming
from kwspot.experiments.registry import load_experiment
from kwspot.export.export import write_models
from kwspot.features.extract import featurize
from kwspot.features.imported import check_frames, read_frames
from kwspot.inference.detector import DetectionSettings, keywords_of
from kwspot.inference.pipeline import spot
from kwspot.inference.streaming import SlidingWindow
from kwspot.training.run import run_experiment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("KWSPOT_REAL_CORPUS" not in os.environ, reason="KWSPOT_REAL_CORPUS is not set"),
]
SPEECH = Path(os.environ.get("KWSPOT_REAL_CORPUS", ""))
WORDS = ("yes", "no", "left", "stop")


def test_official_lists_are_the_speaker_hash():
    corpus = read_corpus(SPEECH)
    assert len(corpus.clips) > 12_000
    assert corpus.n_unnamed == 0
    assert all(clip.split == which_split(clip.speaker) for clip in corpus.clips)


@pytest.mark.skipif("KWSPOT_REAL_FRAMES" not in os.environ, reason="KWSPOT_REAL_FRAMES is not set")
def test_imported_frames_look_like_ours():
    front_end = load_experiment("lstm").front_end
    folder = Path(os.environ["KWSPOT_REAL_FRAMES"])
    files = (folder / "logmel.npy", folder / "index.tsv")
    frames = read_frames(*files, front_end, scale=0.1, offset=-14.64)
    agreement = check_frames(frames, SPEECH, front_end)
    assert agreement.n_clips > 400
    assert agreement.correlation > 0.98
    assert agreement.difference < 0.5


def test_path_from_sound(tmp_path):
    """Four words of real recordings: featurize, train three epochs, evaluate, predict."""
    for word in WORDS:
        shutil.copytree(SPEECH / word, tmp_path / "data" / word)
    experiment = load_experiment("lstm_fixed", None, ["task=folder", "train.epochs=3"])
    cache, made = featurize(tmp_path / "data", experiment.front_end)
    assert made
    assert not cache.meta["skipped"]
    run = run_experiment(experiment, seed=1, data=tmp_path / "data", runs_dir=tmp_path / "runs", device="cpu")
    evaluation = evaluate_run(run, split="test", data=tmp_path / "data", device="cpu")
    assert evaluation["n_speakers"] > 50
    assert evaluation["interval"][0] > 0.5  # chance is 0.25
    write_models(run, tmp_path / "data")
    streamed = compare_streaming(run, split="test", data=tmp_path / "data")
    assert streamed["n"] == streamed["n_same"] == evaluation["n"]
    assert streamed["accuracy_clip"] == pytest.approx(evaluation["accuracy"], abs=0.003)  # float16 frames there


def test_bundled_model_knows_its_words():
    """Speakers of the test split, whom it never heard."""
    spotter = Spotter.load()
    clips = [clip for clip in read_corpus(SPEECH).clips if clip.split == TEST and clip.word in spotter.labels]
    right = [spotter.predict_file(SPEECH / clip.name).word == clip.word for clip in clips]
    assert len(right) > 1000
    assert sum(right) / len(right) > 0.9


def test_words_in_a_long_recording_are_spotted_once_and_where_they_are():
    """Speakers of the test split, 100 keywords with half a second to a second and a half between the clips."""
    streaming_model, random = SlidingWindow(Spotter.load(threads=1)), np.random.default_rng(0)
    clips = [
        clip
        for clip in read_corpus(SPEECH).clips
        if clip.split == TEST and clip.word in keywords_of(streaming_model.labels)
    ]
    sound, said = [], []
    for i in random.choice(len(clips), 100, replace=False):
        clip, _ = soundfile.read(SPEECH / clips[i].name, dtype="float32")
        pause = random.normal(0, 0.002, random.integers(8_000, 24_000)).astype(np.float32)
        begin = (sum(map(len, sound)) + len(pause)) / streaming_model.sample_rate
        said.append((clips[i].word, begin, begin + len(clip) / streaming_model.sample_rate))
        sound += [pause, clip]
    events = list(spot(streaming_model, sound, DetectionSettings()))
    found = {
        i
        for event in events
        for i, (word, begin, end) in enumerate(said)
        if word == event.word and begin < (event.start_s + event.end_s) / 2 < end
    }
    assert len(found) >= 85
    assert len(events) - len(found) <= 5
