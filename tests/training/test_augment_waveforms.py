"""Augmentation of recordings: physics it must keep, and the same moves as on frames."""

import numpy as np
import pytest
import torch

from kwspot.errors import ConfigError
from kwspot.experiments.registry import load_experiment
from kwspot.experiments.settings import AugmentSettings, FrontEnd
from kwspot.features.dataset import resolve_task, select
from kwspot.features.extract import featurize
from kwspot.features.log_mel import log_mel_frames
from kwspot.signal.level import active_level
from kwspot.training.augment_features import augment
from kwspot.training.augment_waveforms import add_noise, as_waveforms, play, read_noise, vary_waveforms
from kwspot.training.run import run_experiment
from kwspot.training.streams import generator_for
from tests.sounds import RATE, make_corpus, tone, write_noise
from tests.toy import make_cache, toy_experiment

FRONT_END = FrontEnd()
N = 32


def draw(purpose):
    return generator_for(1, purpose)


def batch(waveform, n=N):
    return torch.from_numpy(waveform).expand(n, -1).clone(), torch.full((n,), len(waveform))


def burst(at_s, hz=1000):
    """A tone of a tenth of a second in the middle of nothing."""
    waveform = np.zeros(RATE, np.float32)
    start = round((at_s - 0.05) * RATE)
    waveform[start : start + RATE // 10] = tone(hz, 0.1)
    return waveform


def test_unchanged_clips_have_the_features_of_their_recordings():
    waveforms, lengths = batch(tone(700))
    lengths[0] = RATE // 2
    features, n_frames = vary_waveforms(waveforms, lengths, AugmentSettings(), FRONT_END, [], draw)
    expected = log_mel_frames([w[:n].numpy() for w, n in zip(waveforms, lengths, strict=True)], FRONT_END)
    assert np.array_equal(features, expected)
    assert n_frames.tolist() == [48] + [98] * (N - 1)


def test_both_routes_move_a_clip_alike():
    waveforms, lengths = batch(burst(0.5))
    settings = AugmentSettings(shift_ms=100, gain_db=6)
    by_sound, n_frames = vary_waveforms(waveforms, lengths, settings, FRONT_END, [], draw)
    plain, _ = vary_waveforms(waveforms, lengths, AugmentSettings(), FRONT_END, [], draw)
    by_frames = augment(plain, n_frames, settings, FRONT_END, draw)
    loud = [features.exp().mean(2) for features in (by_sound, by_frames)]
    places = [(power * torch.arange(98)).sum(1) / power.sum(1) for power in loud]
    assert (places[0] - places[1]).abs().max() < 0.6  # frames
    assert places[0].std() > 4
    assert torch.allclose(*[power.sum(1).log() for power in loud], atol=0.1)  # type: ignore[misc]


def test_speed_is_a_tapes():
    """Tempo and pitch change together, about the middle."""
    waveforms, lengths = batch(burst(0.25) + burst(0.75))
    played = play(waveforms, lengths, AugmentSettings(speed=0.15), FRONT_END, draw)
    speeds = 1 + (2 * torch.rand(N, generator=draw("speed")) - 1) * 0.15
    pitch = torch.fft.rfft(played).abs().argmax(1) / (1000 * speeds)
    assert (pitch - 1).abs().max() < 0.02
    power = played.square()
    halves = [power[:, : RATE // 2], power[:, RATE // 2 :]]
    first, second = ((half * torch.arange(RATE // 2)).sum(1) / half.sum(1) for half in halves)
    distance = (second + RATE // 2 - first) / RATE
    assert (distance * speeds - 0.5).abs().max() < 0.01
    assert played.shape == waveforms.shape


@pytest.mark.parametrize("recordings", [[], [tone(3000, 2.0)]])
def test_noise_has_the_snr_that_was_asked_for(recordings):
    sounds = torch.from_numpy(np.stack([burst(0.2 + 0.02 * i, 500) for i in range(N)]))
    settings = AugmentSettings(noise_share=1.0, snr_db=[10.0, 10.0])
    added = add_noise(sounds, settings, FRONT_END, recordings, draw("noise")) - sounds
    levels = torch.tensor([active_level(sound.numpy(), RATE) for sound in sounds])
    snr_db = 20 * torch.log10(levels / added.square().mean(1).sqrt())
    assert (snr_db - 10).abs().max() < 0.1
    pitches = torch.fft.rfft(added).abs().argmax(1)
    babble = (pitches - 500).abs() < 20
    assert 0.05 < babble.float().mean() < 0.7
    if recordings:
        assert set(pitches[~babble].tolist()) == {3000}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    data = make_corpus(tmp_path_factory.mktemp("corpus"), n_speakers=24)
    write_noise(data)
    return data


def test_a_split_reads_its_recordings_and_the_training_part_of_the_noise(corpus):
    experiment = load_experiment("lstm", None, ["task=folder"])
    cache, _ = featurize(corpus, experiment.front_end)
    frames = select(cache, resolve_task("folder", cache), "train")
    split = as_waveforms(frames, cache, corpus, experiment.front_end)
    chosen = np.array([3, 0])
    waveforms, lengths, labels = split.batch(chosen)
    features, n_frames, expected = frames.batch(chosen)
    found, counted = vary_waveforms(waveforms, lengths, AugmentSettings(), FRONT_END, [], draw)
    assert torch.allclose(found, features, atol=0.01)  # float16 there
    assert torch.equal(counted, n_frames)
    assert torch.equal(labels, expected)
    (noise,) = read_noise(split)
    assert np.abs(np.fft.rfft(noise)).argmax() * RATE / len(noise) == pytest.approx(500, abs=1)
    assert len(noise) == pytest.approx(0.8 * 6 * RATE, abs=1)


def test_training_on_waveforms_is_repeatable_and_another_run(corpus, tmp_path):
    settings = ["task=folder", "train.epochs=1", "model.hidden_size=8", "augment.shift_ms=50", "augment.noise_share=1"]
    runs = []
    for place, more in (("a", ["augment.route=waveform"]), ("b", ["augment.route=waveform"]), ("c", [])):
        experiment = load_experiment("lstm_fixed", None, [*settings, *more])
        featurize(corpus, experiment.front_end)
        runs.append(run_experiment(experiment, seed=1, data=corpus, runs_dir=tmp_path / place, device="cpu"))
    assert runs[0].history == runs[1].history
    assert runs[0].history != runs[2].history
    assert runs[0].id == runs[1].id != runs[2].id


def test_imported_frames_have_no_waveforms(tmp_path):
    make_cache(tmp_path / "data")
    with pytest.raises(ConfigError, match="'waveform' needs recordings"):
        run_experiment(
            toy_experiment("rnn", "augment.route=waveform"), seed=1, data=tmp_path / "data", runs_dir=tmp_path / "runs"
        )
    assert not list((tmp_path / "runs").glob("*"))
