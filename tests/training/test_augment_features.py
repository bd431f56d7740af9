"""Augmentation in the mel domain: physics it must keep, randomness it must not share."""

import math

import numpy as np
import pytest
import torch

from kwspot.experiments.settings import AugmentSettings, FrontEnd, NeighbourSettings
from kwspot.features.log_mel import log_mel_frames, mel_bands
from kwspot.signal.level import active_level
from kwspot.tasks import SILENCE, UNKNOWN, Task
from kwspot.training.augment_features import active_power, add_noise, augment, band_centres, in_context, mask, mix, warp
from kwspot.training.streams import generator_for
from tests.sounds import RATE, tone

FRONT_END = FrontEnd()
N, FRAMES, MELS = 64, FRONT_END.max_frames, FRONT_END.n_mels


def streams(seed=1):
    """A fresh stream of each purpose, the same at every call with the same seed."""
    return lambda purpose: generator_for(seed, purpose)


def clips(n=N, seed=0):
    return torch.randn(n, FRAMES, MELS, generator=torch.Generator().manual_seed(seed)) - 8


def lengths(n=N, frames=FRAMES):
    return torch.full((n,), frames)


def bump(at, n=N):
    """Clips that are loud in one frame."""
    features = torch.full((n, FRAMES, MELS), -10.0)
    features[:, at] = 0.0
    return features


def test_nothing_asked_for_nothing_done():
    features = clips()
    assert augment(features, lengths(), AugmentSettings(), FRONT_END, streams()) is features


def test_shift_moves_frames_by_at_most_what_was_said():
    moved = warp(bump(50), lengths(), AugmentSettings(shift_ms=100), FRONT_END, streams())
    places = moved[:, :, 0].argmax(1) - 50
    assert places.abs().max() <= 10
    assert places.min() < -6
    assert places.max() > 6
    assert (moved[:, :, 0].exp().sum(1) < 1.2).all()  # one bump still


def test_speed_stretches_about_the_middle():
    features = bump(20)
    features[:, 77] = 0.0
    played = warp(features, lengths(), AugmentSettings(speed=0.15), FRONT_END, streams())
    half = FRAMES // 2
    first, second = played[:, :half, 0].argmax(1), half + played[:, half:, 0].argmax(1)
    assert ((first + second) - (FRAMES - 1)).abs().max() <= 1  # the middle stays
    factor = (second - first) / (77 - 20)
    assert 1 / 1.15 - 0.04 < factor.min() < 0.9
    assert 1.12 < factor.max() < 1 / 0.85 + 0.04


def test_tract_moves_a_tone_to_the_band_of_the_scaled_frequency():
    features = torch.from_numpy(log_mel_frames([tone(1000)] * N, FRONT_END))
    settings = AugmentSettings(vtlp=0.2)
    factors = 1 + (2 * torch.rand(N, generator=generator_for(1, "vtlp")) - 1) * 0.2
    bent = warp(features, lengths(), settings, FRONT_END, streams())
    centres = band_centres(FRONT_END)
    for clip, factor in zip(bent, factors, strict=True):
        wanted = (centres - 1000 / factor).abs().argmin()
        assert abs(int(clip.mean(0).argmax()) - int(wanted)) <= 1


def test_band_centres_are_those_of_the_filterbank():
    bands = mel_bands(FRONT_END)
    hz = torch.arange(len(bands)) * FRONT_END.sample_rate / FRONT_END.n_fft
    found = hz[bands.argmax(0)]
    assert (found - band_centres(FRONT_END)).abs().max() <= FRONT_END.sample_rate / FRONT_END.n_fft


def test_what_lies_behind_a_clip_stays_and_never_comes_in():
    features, short = clips(), lengths(frames=60)
    features[:, 60:] = math.log(1e-6)
    settings = AugmentSettings(shift_ms=100, speed=0.15, vtlp=0.1)
    warped = warp(features, short, settings, FRONT_END, streams())
    assert torch.allclose(warped[:, 60:], features[:, 60:], atol=1e-4)
    assert warped[:, :60].min() > -13  # nothing of the padding at -13.8


def test_gain_is_an_addition_in_the_log():
    features = clips()
    louder = augment(features, lengths(), AugmentSettings(gain_db=6), FRONT_END, streams()) - features
    in_db = louder[:, 0, 0] * 10 / math.log(10)
    assert torch.allclose(louder, louder[:, :1, :1].expand_as(louder), atol=1e-5)
    assert -6 <= in_db.min() < -4
    assert 4 < in_db.max() <= 6


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_noise_has_the_snr_that_was_drawn(snr_db):
    features = bump(50).clone()
    settings = AugmentSettings(noise_share=1.0, snr_db=[snr_db, snr_db])
    noisy = add_noise(features, settings, FRONT_END, streams())
    added = noisy.exp().double() - features.exp().double()
    assert (added > -1e-6).all()  # power only adds
    level = active_power(features.exp().mean(2), FRONT_END.hop_ms)
    measured = 10 * torch.log10(level / added.mean((1, 2)))
    assert (measured - snr_db).abs().max() < 0.1


@pytest.mark.parametrize("pause_s", [0.0, 0.15, 0.5])
def test_the_level_of_frames_is_that_of_the_waveform(pause_s):
    """Steps of loudness, a pause that counts as speech if it is short, and silence around them."""
    quiet = 1e-4 * np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    sound = np.concatenate([tone(700, 0.15, volume=0.2), np.zeros(round(pause_s * RATE)), tone(1_500, 0.2, volume=0.5)])
    waveform = quiet.copy()
    waveform[2_000 : 2_000 + len(sound)] += sound.astype(np.float32)
    power = torch.from_numpy(np.exp(log_mel_frames([waveform], FrontEnd())[0]).mean(1))[None]
    of_frames = 10 * torch.log10(active_power(power, 10.0) / power.amax(1)).item()
    loudest = np.convolve(waveform.astype(float) ** 2, np.ones(480) / 480, "valid").max()
    of_waveform = 20 * np.log10(active_level(waveform, RATE)) - 10 * np.log10(loudest)
    assert of_frames == pytest.approx(of_waveform, abs=1.0)


def test_a_share_of_the_clips_gets_noise():
    features = clips(1000)
    noisy = add_noise(features, AugmentSettings(noise_share=0.3), FRONT_END, streams())
    share = (noisy - features).abs().amax((1, 2)).gt(1e-4).float().mean()
    assert 0.25 < share < 0.35


def test_masks_cover_no_more_than_asked_with_the_mean():
    features = clips()
    settings = AugmentSettings(time_masks=2, time_mask_ms=200, freq_masks=1, freq_mask_width=5)
    covered = mask(features, lengths(), settings, FRONT_END, streams()) != features
    frames, bands = covered.all(2).sum(1), covered.all(1).sum(1)
    assert frames.max() <= 2 * 20
    assert frames.float().mean() > 10
    assert bands.max() <= 5
    masked = mask(features, lengths(), settings, FRONT_END, streams())
    means = features.mean((1, 2), keepdim=True).expand_as(features)
    assert torch.equal(masked[covered], means[covered])


def test_mixed_clips_have_mixed_targets():
    features, classes = clips(), torch.arange(N)
    targets = torch.eye(N)
    mixed, longer, shares = mix(features, lengths(), targets, 0.4, generator_for(1, "mixup"))
    assert torch.allclose(shares.sum(1), torch.ones(N))
    assert torch.equal(shares.argmax(1), classes)  # the larger share stays first
    assert torch.allclose(mixed, torch.einsum("ij,jtm->itm", shares, features), atol=1e-4)
    assert torch.equal(longer, lengths())
    first = shares.diagonal()
    assert 0.5 <= first.min() < 0.7
    assert first.max() > 0.95


def test_a_beta_distribution_is_drawn():
    from kwspot.training.augment_features import _beta

    drawn = _beta(20_000, 0.4, generator_for(1, "beta"))
    expected = np.random.default_rng(0).beta(0.4, 0.4, 20_000)
    expected = np.maximum(expected, 1 - expected)
    assert drawn.mean().item() == pytest.approx(expected.mean(), abs=0.01)
    assert np.quantile(drawn, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(expected, [0.1, 0.5, 0.9]), abs=0.02)


def test_each_purpose_draws_from_its_own_stream():
    """Switching noise on does not move the shifts, and the other way round."""
    features = clips()
    alone = warp(features, lengths(), AugmentSettings(shift_ms=100), FRONT_END, streams())
    both = AugmentSettings(shift_ms=100, noise_share=1.0, snr_db=[90.0, 90.0], gain_db=0)
    with_noise = augment(features, lengths(), both, FRONT_END, streams())
    assert torch.allclose(alone, with_noise, atol=0.05)
    other = warp(features, lengths(), AugmentSettings(shift_ms=100), FRONT_END, streams(2))
    assert not torch.allclose(alone, other, atol=0.05)


def test_shape_and_finiteness_with_everything_on():
    settings = AugmentSettings(
        shift_ms=100, speed=0.15, vtlp=0.1, gain_db=6, noise_share=0.8, time_masks=2, freq_masks=2
    )
    for n_frames in (1, 21, FRAMES):
        features = clips()[:, :n_frames]
        result = augment(features, lengths(frames=n_frames), settings, FRONT_END, streams())
        assert result.shape == features.shape
        assert result.dtype == torch.float32
        assert result.isfinite().all()


def test_recorded_noise_is_what_is_added():
    """A hum in one band, on about a third of the noisy clips: half of those without babble."""
    features = bump(50)
    hum = torch.full((3, FRAMES, MELS), -13.8)
    hum[:, :, 7] = -2.0
    settings = AugmentSettings(noise_share=1.0, snr_db=[0.0, 0.0])
    added = add_noise(features, settings, FRONT_END, streams(), hum).exp() - features.exp()
    hums = added.mean(1).argmax(1) == 7
    assert 0.15 < hums.float().mean() < 0.55
    assert (added[hums].mean(1)[:, 7] / added[hums].mean(1).sum(1)).min() > 0.99


TASK = Task("t", ("yes", "no", UNKNOWN, SILENCE), rejects=True)


def among(labels, share=1.0, seed=1):
    """Clips that are all one value, their number, put among others."""
    n = len(labels)
    features = torch.arange(n, dtype=torch.float)[:, None, None].expand(n, FRAMES, MELS).contiguous()
    settings = NeighbourSettings(share=share)
    return features, *in_context(
        features, lengths(n), torch.tensor(labels), settings, FRONT_END, TASK, n, streams(seed)
    )


def test_a_keyword_among_others_stays_whole_or_is_none_any_more():
    labels = [0, 1] * 200 + [2] * 100 + [3] * 20
    features, windows, _, said = among(labels)
    for i, label in enumerate(labels):
        own = (windows[i, :, 0] == features[i, 0, 0]).float().mean()
        if label in (0, 1):
            cut = said[i] == 2
            assert own <= 0.46 if cut else own >= 0.79
        elif label == 2:
            assert said[i] == 2
            assert own >= 0.38
        else:
            assert own >= 0.79
    n_cut = int((said[:400] == 2).sum())
    assert 20 < n_cut < 90  # an eighth of them, about


def test_neighbours_are_never_keywords():
    labels = [0] * 50 + [2] * 10
    features, windows, _, _ = among(labels)
    for i in range(50):
        strangers = {float(v) for v in windows[i, :, 0].unique()} - {float(features[i, 0, 0])}
        assert all(v >= 50 for v in strangers)


def test_a_share_is_moved_and_the_rest_is_as_it_was():
    labels = [0] * 200 + [2] * 200
    features, windows, _, said = among(labels, share=0.3)
    moved = (windows != features).flatten(1).any(1)
    assert 60 < int(moved.sum()) < 180
    assert (said[~moved] == torch.tensor(labels)[~moved]).all()


def test_without_other_words_nothing_changes():
    features, windows, _, said = among([0, 1, 3])
    assert windows is features
    assert said.tolist() == [0, 1, 3]
