"""Windows of background: cut where no keyword sounds, at every level, and the difficult ones more often."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kwspot.audio.reading import read_waveform
from kwspot.corpus.recordings import Word, read_recordings
from kwspot.errors import ConfigError, MissingError
from kwspot.experiments.settings import BackgroundSettings
from kwspot.features.background import background_folder, open_background, write_background
from kwspot.features.log_mel import LogMel
from kwspot.tasks import SILENCE, UNKNOWN, Task
from kwspot.training.background import LEVELS, BackgroundWindows, free_starts, spoken_in
from kwspot.training.run import run_experiment
from kwspot.training.streams import generator_for
from tests.sounds import tone, write_sound
from tests.toy import FRONT_END, make_cache, toy_experiment

TASK = Task("words", ("left", "right", UNKNOWN, SILENCE), rejects=True)
SETTINGS = BackgroundSettings(speech_share=0.5, spoken_share=0.25, noise_share=0.25)
LENGTH_S = FRONT_END.clip_ms / 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten speakers: "left" sounds from 1.0 to 1.1 s of 3 s; a recording whose "right" has no time; a noise a source."""
    folder = tmp_path_factory.mktemp("open")
    table, times = ["path\tspeaker\ttext"], []
    for i in range(10):
        write_sound(folder / f"speech/{i}.wav", tone(300 + 50 * i, 3.0))
        table.append(f"speech/{i}.wav\tspeaker {i}\tturn left now")
        times.append(f"speech/{i}.wav 1 1.0 0.1 left")
        write_sound(folder / f"noise/{i}.wav", 0.01 * np.random.default_rng(i).normal(size=16000))
    write_sound(folder / "speech/untimed.wav", tone(999, 3.0))
    table.append("speech/untimed.wav\tspeaker 0\tright")
    (folder / "text.tsv").write_text("\n".join(table))
    (folder / "words.ctm").write_text("\n".join(times))
    return folder


@pytest.fixture(scope="module")
def background(folder, tmp_path_factory):
    return write_background(tmp_path_factory.mktemp("data"), folder, FRONT_END)[0]


def joined(windows, n=8):
    """Put windows behind a batch of `n` clips of "left"."""
    features = torch.randn(n, FRONT_END.max_frames, FRONT_END.n_mels)
    whole = torch.full((n,), FRONT_END.max_frames)
    return windows.joined(features, whole, torch.zeros(n, dtype=torch.long), lambda purpose: generator_for(1, purpose))


def test_the_frames_are_those_of_the_whole_recording(background, folder):
    stretch = next(one for one in background.stretches if one.recording.name == "speech/3.wav")
    waveform = read_waveform(folder / "speech/3.wav").waveform
    whole = LogMel(FRONT_END)(torch.from_numpy(waveform)[None])[0].numpy()
    ours = background.frames[stretch.first : stretch.first + stretch.n_frames]
    assert ours.shape == whole.shape
    np.testing.assert_allclose(ours, whole, atol=0.01)  # of 16 bits


def test_it_is_computed_once_and_anew_when_a_transcript_changes(folder, tmp_path):
    first, _ = write_background(tmp_path, folder, FRONT_END)
    stamp = (first.folder / "frames.f16").stat().st_mtime_ns
    write_background(tmp_path, folder, FRONT_END)
    assert (first.folder / "frames.f16").stat().st_mtime_ns == stamp
    other = tmp_path / "said.tsv"
    other.write_text("path\ttext\nspeech/1.wav\tsomething else\n")
    again, _ = write_background(tmp_path, folder, FRONT_END, transcripts=other)
    assert again.digest != first.digest
    assert open_background(tmp_path, FRONT_END).digest == again.digest
    with pytest.raises(MissingError, match="--background FOLDER"):
        open_background(tmp_path / "nothing", FRONT_END)


def test_no_window_of_unknown_holds_a_keyword(background):
    for stretch in background.stretches:
        starts = free_starts(stretch, TASK, FRONT_END)
        if stretch.recording.name == "speech/untimed.wav":
            assert not starts
        elif stretch.recording.text:
            seconds = [(start - stretch.first) / 100 for start in starts]
            assert seconds
            assert all(s + LENGTH_S <= 1.0 or s >= 1.1 for s in seconds)


def test_a_keyword_of_a_sentence_is_whole_in_its_window(background):
    stretch = next(one for one in background.stretches if one.recording.name == "speech/3.wav")
    roomy = replace(stretch)
    (spoken,) = spoken_in(roomy, TASK, FRONT_END)
    assert TASK.classes[spoken.label] == "left"
    assert (spoken.first - stretch.first) / 100 + LENGTH_S >= 1.1 - 1e-6
    assert (spoken.last - stretch.first) / 100 <= 1.0


def test_a_keyword_may_be_a_phrase(background):
    stretch = next(one for one in background.stretches if one.recording.name == "speech/3.wav")
    words = (Word("turn", 0.6, 0.9), Word("left", 1.0, 1.1), Word("now", 1.4, 1.6))
    timed = replace(stretch, recording=replace(stretch.recording, words=words))
    task = Task("words", ("Turn left", UNKNOWN), rejects=True)
    taken = [(start - stretch.first) / 100 for start in free_starts(timed, task, FRONT_END)]
    assert taken
    assert all(s + LENGTH_S <= 0.6 or s >= 1.1 for s in taken)
    assert [task.classes[one.label] for one in spoken_in(timed, task, FRONT_END)] == ["Turn left"]
    assert not free_starts(replace(stretch, recording=replace(stretch.recording, words=None)), task, FRONT_END)


def test_a_batch_gets_every_kind_of_window(background):
    windows = BackgroundWindows(background, SETTINGS, TASK, FRONT_END)
    (features, lengths, labels), chosen = joined(windows)
    assert features.shape == (16, FRONT_END.max_frames, FRONT_END.n_mels)
    assert len(lengths) == 16
    assert torch.bincount(labels, minlength=4).tolist() == [8 + 2, 0, 4, 2]
    assert len(chosen) == 4
    assert torch.equal(labels[-4:], torch.full((4,), 2))


def test_noise_comes_at_every_level(background):
    windows = BackgroundWindows(background, SETTINGS.model_copy(update={"noise_share": 50.0}), TASK, FRONT_END)
    (features, _, labels), _ = joined(windows)
    levels = features[labels == 3].exp().mean((1, 2)).log()
    assert levels.min() < LEVELS[0] + 1
    assert levels.max() > LEVELS[1] - 1


def test_what_was_taken_for_a_keyword_comes_often(background):
    windows = BackgroundWindows(background, SETTINGS.model_copy(update={"speech_share": 25.0}), TASK, FRONT_END)
    sure = torch.tensor([0.0, 0.0, 20.0, 0.0])
    everything = torch.arange(len(windows.speech))
    windows.learn(everything, sure.expand(len(everything), 4))
    windows.learn(torch.tensor([5]), torch.tensor([[20.0, 0.0, 0.0, 0.0]]))
    _, chosen = joined(windows)
    assert (chosen == 5).float().mean() > 0.2
    assert len(chosen.unique()) > len(everything) // 4


def test_noise_alone_will_do(folder, tmp_path):
    only_noise, _ = write_background(tmp_path, folder / "noise", FRONT_END)
    settings = BackgroundSettings(speech_share=0.0, noise_share=0.25)
    windows = BackgroundWindows(only_noise, settings, TASK, FRONT_END)
    (_, _, labels), chosen = joined(windows)
    assert labels[8:].tolist() == [TASK.classes.index(SILENCE)] * 2
    windows.learn(chosen, torch.zeros(0, len(TASK.classes)))


def test_speech_needs_a_class_of_unknown(background):
    task = Task("words", ("left", "right"))
    with pytest.raises(ConfigError, match="no class here"):
        BackgroundWindows(background, SETTINGS, task, FRONT_END)
    only_words = SETTINGS.model_copy(update={"speech_share": 0.0})
    (_, _, labels), chosen = joined(BackgroundWindows(background, only_words, task, FRONT_END))
    assert (len(labels), len(chosen)) == (8 + 2, 0)


@pytest.mark.slow
def test_training_with_a_background_stops_and_resumes_with_the_same_bits(folder, tmp_path):
    data = tmp_path / "data"
    make_cache(data, ("left", "right", UNKNOWN, SILENCE))
    write_background(data, folder, FRONT_END)
    experiment = toy_experiment("rnn", "train.epochs=2", "train.background.speech_share=0.5")

    def weights(runs, **how):
        run = run_experiment(experiment, seed=1, data=data, runs_dir=tmp_path / runs, device="cpu", **how)
        return run, torch.load(run.path / "best.pt", weights_only=True) if run.metrics else None

    run, whole = weights("whole")
    assert run.record["background"]["hours"] > 0
    steps = iter([False] * 9 + [True] * 99)
    from kwspot.training.run import Callbacks

    weights("parts", callbacks=Callbacks(should_stop=lambda: next(steps)))
    _, parts = weights("parts", resume=True)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert background_folder(data, FRONT_END).is_dir()
    assert len(read_recordings(folder)) == 21
