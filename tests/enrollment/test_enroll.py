"""Enrollment: a file that says what its parts say, knows its words, rejects noise, and can be added to."""

from dataclasses import replace
import json
from pathlib import Path

import numpy as np
import pytest

import kwspot
from kwspot.enrollment.background import SPEECH, WORD, generated_noise, read_background
from kwspot.enrollment.clips import Take, takes_of
from kwspot.enrollment.encoder import Encoder
from kwspot.enrollment.enroll import enroll_takes
from kwspot.enrollment.expected import SPEAKERS, TAKES
from kwspot.enrollment.model_file import read_examples
from kwspot.errors import ConfigError, IntegrityError
from kwspot.inference.pipeline import detection_settings, spot
from kwspot.inference.spotter import Spotter
from kwspot.inference.streaming import SlidingWindow
from kwspot.tasks import SILENCE, UNKNOWN
from tests.sounds import RATE
from tests.words import GLIDES, word, write_words

pytestmark = pytest.mark.slow

N_TAKES = 4


def clips(names=tuple(GLIDES), n_takes=N_TAKES, first_seed=0, **how):
    return {name: [word(name, first_seed + 100 * w + n, **how) for n in range(n_takes)] for w, name in enumerate(names)}


def enrolled(words, encoder, **how):
    return enroll_takes(takes_of(words, RATE, RATE), encoder, **how)


@pytest.fixture(scope="module")
def encoder():
    return Encoder(threads=1)


@pytest.fixture(scope="module")
def house(encoder):
    return enrolled(clips(), encoder)


@pytest.fixture
def written(house, tmp_path):
    return house.write(tmp_path / "house.onnx")


def best_keyword(spotter, waveform):
    return next(w for w, _ in spotter.predict(waveform, n_top=len(spotter.labels)).top if w in GLIDES)


def test_words_are_told_apart_in_new_takes(written):
    spotter = Spotter(written, threads=1)
    assert spotter.labels == (*GLIDES, UNKNOWN, SILENCE)
    right = [best_keyword(spotter, sound) == name for name, those in clips(first_seed=900).items() for sound in those]
    assert np.mean(right) >= 0.8


def test_the_file_says_what_its_parts_say(house, encoder, written):
    """The head's posteriors of the stored embeddings are those that the graph computes of the sound."""
    examples, _ = read_examples(written)
    spotter = Spotter(written, threads=1)
    sound = takes_of(clips(n_takes=1), RATE, RATE)
    first = [examples.embeddings[i] for i in examples.as_recorded[::N_TAKES]]
    for take, stored in zip(sound, first, strict=True):
        missing = spotter.clip_length - len(take.waveform)
        window = np.pad(take.waveform, (missing // 2, missing - missing // 2))
        assert encoder.embed(window[None])[0] == pytest.approx(stored, abs=2e-3)  # kept in 16 bits
        assert spotter.posteriors(window[None]).sum() == pytest.approx(1, abs=1e-5)


def test_noise_and_silence_are_no_words(written):
    spotter = Spotter(written, threads=1)
    windows = generated_noise(spotter.clip_length, np.random.default_rng(99))
    best = np.array(spotter.labels)[spotter.posteriors(windows).argmax(1)]
    assert np.isin(best, [UNKNOWN, SILENCE]).mean() >= 0.98


def test_other_speech_is_taken_for_a_word_as_rarely_as_it_says(house, encoder):
    held_out = read_background(encoder, encoder.clip_length).part(held_out=True)
    assert house.expected.accepted <= 0.05
    assert len(held_out.of(SPEECH)) > 1000
    alarms = [point[1] for point in house.metadata["spotting"]["curve"]]
    assert alarms == sorted(alarms, reverse=True)


def test_the_same_clips_give_the_same_bytes(house, encoder):
    assert enrolled(clips(), encoder).content == house.content


def test_a_threshold_for_fewer_false_alarms_is_higher(house, encoder):
    rare = enrolled(clips(), encoder, per_hour=0.1)
    assert rare.metadata["spotting"]["threshold"] > house.metadata["spotting"]["threshold"]


@pytest.mark.parametrize("seconds", [1.8, 3.2])
def test_the_window_fits_a_long_phrase(encoder, tmp_path, seconds):
    long = enrolled(clips(("rise", "fall"), seconds=seconds), encoder)
    spotter = Spotter(long.write(tmp_path / "long.onnx"), threads=1)
    assert 0.85 * seconds * RATE <= spotter.clip_length <= 4 * RATE
    assert best_keyword(spotter, word("fall", 950, seconds=seconds)) == "fall"


def test_words_are_spotted_in_a_long_sound(written):
    spotter = Spotter(written, threads=1)
    pause = np.random.default_rng(0).normal(0, 1e-4, 2 * RATE).astype(np.float32)
    sound = np.concatenate([pause, word("rise", 1), pause, word("low", 301), pause])
    settings = detection_settings(spotter.metadata, threshold=0.4, smoothing_ms=0)
    events = list(spot(SlidingWindow(spotter), [sound], settings))
    assert [event.word for event in events] == ["rise", "low"]
    assert all(0 <= event.start_s < event.end_s <= len(sound) / RATE for event in events)
    ends = [(2.0, 2.0 + len(word("rise", 1)) / RATE)]
    ends.append((ends[0][1] + 2.0, ends[0][1] + 2.0 + len(word("low", 301)) / RATE))
    for event in events:
        assert any(event.start_s < start_s + 0.15 and event.end_s > end_s - 0.15 for start_s, end_s in ends)


def test_words_and_takes_are_added(written, encoder, tmp_path):
    first, second = ("rise", "fall"), ("high", "low")
    path = enrolled(clips(first), encoder).write(tmp_path / "first.onnx")
    more = enrolled(clips(second) | {"rise": [word("rise", 700)]}, encoder, added_to=path)
    assert more.metadata["labels"] == [*first, *second, UNKNOWN, SILENCE]
    counted = [source["word"] for source in more.metadata["enrollment"]["sources"]].count("rise")
    assert counted == N_TAKES + 1
    spotter = Spotter(more.write(path), threads=1)
    assert [best_keyword(spotter, word(name, 960)) for name in GLIDES] == list(GLIDES)
    assert read_examples(path)[0].keywords == (*first, *second)


def test_takes_that_are_there_already_are_passed_over(written, encoder):
    more = enrolled(clips(("rise",)) | {"deep": clips(("low",), first_seed=700)["low"]}, encoder, added_to=written)
    assert [s["word"] for s in more.metadata["enrollment"]["sources"]].count("rise") == N_TAKES
    with pytest.raises(ConfigError, match=r"house\.onnx: all of these clips are in it already"):
        enrolled(clips(("rise",)), encoder, added_to=written)


def test_what_two_words_have_voices_say_alike_counts_once(encoder):
    takes = takes_of(clips(("rise",)), RATE, RATE)
    alike = Take(UNKNOWN, "a", "unknown (a)", word("high"), spoken=True)
    sources = enroll_takes([*takes, alike, replace(alike)], encoder).metadata["enrollment"]["sources"]
    assert [source["word"] for source in sources] == ["rise"] * N_TAKES + [UNKNOWN]


def test_the_false_alarms_that_were_asked_for_are_kept_when_words_are_added(encoder, tmp_path):
    path = enrolled(clips(("rise",)), encoder, per_hour=0.25).write(tmp_path / "x.onnx")
    for asked, kept in ((None, 0.25), (2.0, 2.0)):
        more = enrolled(clips(("fall",)), encoder, added_to=path, per_hour=asked)
        assert more.metadata["spotting"]["target_per_hour"] == kept


def test_what_cannot_be_added(written, encoder):
    with pytest.raises(ConfigError, match=r"the same clip as rise, clip 1"):
        enrolled({"other": clips(("rise",), 1)["rise"]}, encoder, added_to=written)
    with pytest.raises(ConfigError, match=r"window is 1\.00 s and the new words need .* --again"):
        enrolled({"long": [word("rise", 5, seconds=2)]}, encoder, added_to=written)
    with pytest.raises(ConfigError, match="no words to enroll"):
        enrolled({"unknown": [word("rise")]}, encoder)
    with pytest.raises(IntegrityError, match="not made by 'kwspot enroll'"):
        enrolled(clips(), encoder, added_to=Spotter.load("keywords10").path)


@pytest.mark.parametrize("n_rows", [1, 100_000])
def test_nothing_is_added_to_a_model_whose_sources_have_other_rows(written, n_rows):
    import onnx

    model = onnx.load(written)
    (entry,) = (entry for entry in model.metadata_props if entry.key == "enrollment")
    enrollment = json.loads(entry.value)
    enrollment["sources"][0] |= {"n_rows": n_rows, "colour": "red"}
    entry.value = json.dumps(enrollment)
    onnx.save(model, written)
    with pytest.raises(IntegrityError, match=r"house\.onnx: not the embeddings of its sources; .* --again"):
        read_examples(written)


def test_nothing_is_added_to_a_model_of_another_encoder(written, encoder, tmp_path):
    import onnx

    model = onnx.load(written)
    for entry in model.metadata_props:
        if entry.key == "encoder_sha256":
            entry.value = '"0"'
    onnx.save(model, tmp_path / "old.onnx")
    with pytest.raises(ConfigError, match="the encoder of another kwspot"):
        enrolled(clips(("rise",), first_seed=800), encoder, added_to=tmp_path / "old.onnx")


@pytest.mark.parametrize("slope", [0, -1])
def test_a_word_that_is_only_noise(encoder, slope):
    from kwspot.signal.noise import coloured_noise

    noises = [0.05 * coloured_noise(np.random.default_rng(i), RATE, slope) for i in range(3)]
    with pytest.raises(IntegrityError, match="hum: only noise in its 3 clips"):
        enrolled(clips(("rise",)) | {"hum": noises}, encoder)


def test_no_word_is_held_out_in_both_halves(encoder):
    whole = read_background(encoder, encoder.clip_length)
    first, second = (half.part(held_out=True) for half in whole.halves())
    assert not set(first.word) & set(second.word) - {""}
    assert len(first.word) + len(second.word) == whole.held_out.sum()
    for kind in (WORD, SPEECH):
        assert len(first.of(kind)) == pytest.approx(len(second.of(kind)), rel=0.25)
    assert all((half.part(held_out=False).word == whole.part(held_out=False).word).all() for half in whole.halves())


def test_speakers_are_left_out_where_names_tell_them(tmp_path, encoder):
    from kwspot.enrollment.clips import read_takes

    by_take = enroll_takes(read_takes(write_words(tmp_path / "a", ("rise", "fall")), RATE), encoder).expected
    assert (by_take.by, by_take.n, by_take.n_speakers) == (TAKES, 8, 1)
    for s, name in enumerate(("anna", "bert")):
        write_words(tmp_path / "b", ("rise", "fall"), n_takes=2, first_seed=10 * s, file=f"{name}_{{}}.wav")
    by_speaker = enroll_takes(read_takes(tmp_path / "b", RATE), encoder).expected
    assert (by_speaker.by, by_speaker.n, by_speaker.n_speakers) == (SPEAKERS, 8, 2)


def test_one_clip_a_word_leaves_nothing_to_estimate_with(encoder):
    expected = enrolled(clips(n_takes=1), encoder).expected
    assert expected.n == 0
    assert expected.right is None


def test_unknown_clips_make_such_sounds_less_of_a_word(encoder):
    words = clips(("rise", "fall"))
    unknown = {"unknown": [word("high", 200 + n) for n in range(N_TAKES)]}
    posteriors = []
    for given in (words, words | unknown):
        spotter = Spotter(Path("x"), content=enrolled(given, encoder).content, threads=1)
        assert spotter.labels == ("rise", "fall", UNKNOWN, SILENCE)
        top = dict(spotter.predict(word("high", 970), n_top=4).top)
        posteriors.append(top["rise"] + top["fall"])
    assert posteriors[1] < posteriors[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"false_alarms_per_hour": 0}, r"false alarms per hour: a number from 0\.01 on is needed, got 0"),
        ({"false_alarms_per_hour": float("inf")}, "is needed, got inf"),
        ({"false_alarms_per_hour": float("nan")}, "is needed, got nan"),
        ({"voices": -1}, "voices: 0 or more is needed, got -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        kwspot.enroll(clips(("rise",)), RATE, **settings)
    with pytest.raises(ConfigError, match=r"clips of each word are needed, .* got list"):
        kwspot.enroll(["x.wav"])


def test_a_model_is_known_by_its_name_where_the_commands_find_it(written, tmp_path, monkeypatch):
    folder = tmp_path / "mine" / "enrolled"
    folder.mkdir(parents=True)
    written.rename(folder / "house.onnx")
    monkeypatch.setenv("KWSPOT_RUNS", str(tmp_path / "mine"))
    assert Spotter.load("house").labels == (*GLIDES, UNKNOWN, SILENCE)
    assert kwspot.predict(word("rise"), RATE, model="house").word in (*GLIDES, UNKNOWN)


def test_enroll_from_python(tmp_path):
    path = tmp_path / "mine.onnx"
    spotter = kwspot.enroll(clips(("rise", "fall")), sample_rate=RATE, path=path)
    assert best_keyword(spotter, word("rise", 980)) == "rise"
    assert Spotter.load(path).labels == spotter.labels
    assert not list(tmp_path.glob("*.partial"))
