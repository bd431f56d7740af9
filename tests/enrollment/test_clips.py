"""Takes: who speaks is told by names, what can be no word is refused with its file, and nothing else is."""

import numpy as np
import pytest
import soundfile

from kwspot.enrollment.clips import Take, read_takes, require_distinct, speakers_of, takes_of
from kwspot.enrollment.endpoints import endpoints
from kwspot.errors import ConfigError, IntegrityError, MissingError
from kwspot.tasks import SILENCE, UNKNOWN
from tests.closed import close_folder
from tests.sounds import RATE, write_sound
from tests.words import word, write_words


@pytest.mark.parametrize(
    ("names", "speakers"),
    [
        (["0a7c2a8d_nohash_0.wav", "0a7c2a8d_nohash_1.wav"], ["0a7c2a8d", "0a7c2a8d"]),
        (["speaker_3_1.wav", "take 2 speaker-04.wav"], ["speaker_3", "speaker-04"]),
        (["anna/1.wav", "bert/1.wav"], ["anna", "bert"]),
        (["anna_1.wav", "anna_2_3.wav"], ["anna", "anna"]),
        (["take1.wav", "take2.wav"], [None, None]),
        (["1.wav", "x.wav"], [None, None]),
        (["anna1.wav", "bert02.wav"], ["anna", "bert"]),
        (["New Recording 3.wav", "clip_4.wav", "Запись 5.m4a", "my voice memo 12.m4a"], [None] * 4),
    ],
)
def test_speaker_by_name(names, speakers):
    assert speakers_of([(word, name) for word in ("yes", "no") for name in names]) == speakers * 2


def test_a_name_that_only_one_word_has_is_no_speaker():
    assert speakers_of([("yes", "yes_1.wav"), ("yes", "yes_2.wav"), ("no", "clip_1.wav")]) == [None] * 3


def test_of_one_word_a_name_that_is_there_twice_beside_another_is_a_speaker():
    assert speakers_of([("yes", f"{name}.wav") for name in ("anna_1", "anna_2", "bob_1")]) == ["anna", "anna", "bob"]
    for names in (("anna_1", "bob_1", "carl_1"), ("anna_1", "anna_2"), ("take1", "take2", "x1")):
        assert speakers_of([("yes", f"{name}.wav") for name in names]) == [None] * len(names)


def test_a_clip_beside_the_folders_of_words_is_not_passed_over(tmp_path):
    write_words(tmp_path, ("rise", "fall"), n_takes=2)
    write_sound(tmp_path / "high.wav", word("high"))
    with pytest.raises(ConfigError, match=r"high\.wav: in no folder of a word; move it"):
        read_takes(tmp_path, RATE)


def test_the_word_itself_is_no_part_of_a_speaker():
    names = [("7", "7_jackson_3.wav"), ("8", "8_jackson_3.wav")]
    assert speakers_of(names) == ["jackson", "jackson"]
    names = [("left", "anna_left_1.wav"), ("right", "Anna-Right.wav"), ("right", "anna_right_2.wav")]
    assert speakers_of(names) == ["anna", None, "anna"]
    assert speakers_of([("speaker", f"speaker_{i}.wav") for i in range(3)] + [("on", "1.wav")]) == [None] * 4


@pytest.mark.parametrize(("noise", "pause_s"), [(0, 0.5), (1e-4, 0.3), (5e-3, 1.0)])
def test_endpoints_keep_the_word_and_little_else(noise, pause_s):
    said = word("high")
    loud = np.flatnonzero(np.abs(said) > 0.05)
    pause = np.zeros(round(pause_s * RATE), np.float32)
    clip = np.concatenate([pause, said, pause])
    clip += np.random.default_rng(1).normal(0, noise, len(clip)).astype(np.float32)
    start, end = endpoints(clip, RATE)
    assert 0 <= len(pause) + loud[0] - start <= 0.2 * RATE
    assert 0 <= end - (len(pause) + loud[-1]) <= 0.2 * RATE


def test_a_folder_of_words(tmp_path):
    write_words(tmp_path, ("rise", "fall"), n_takes=2)
    write_sound(tmp_path / "قهوة" / "ahmed" / "١.wav", word("low"), 8000)
    write_sound(tmp_path / "unknown" / "other.wav", word("high"))
    write_sound(tmp_path / "_background_noise_" / "hum.wav", np.full(3 * RATE, 0.01, np.float32))
    (tmp_path / "rise" / "notes.txt").write_text("no clip")
    (tmp_path / ".cache" / "x").mkdir(parents=True)
    takes = read_takes(tmp_path, RATE)
    assert [take.word for take in takes] == [SILENCE, "fall", "fall", "rise", "rise", UNKNOWN, "قهوة"]
    assert takes[-1].speaker == "ahmed"
    assert len({take.digest for take in takes}) == len(takes)


def test_other_speech_and_noise_are_known_however_they_are_written(tmp_path):
    for name in ("rise", "Unknown", "SILENCE"):
        write_sound(tmp_path / name / "1.wav", word("rise"))
    assert sorted(take.word for take in read_takes(tmp_path, RATE)) == ["rise", SILENCE, UNKNOWN]
    assert takes_of({"Unknown": [word("rise")]}, RATE, RATE)[0].word == UNKNOWN


def test_a_word_without_clips_is_named(tmp_path):
    write_words(tmp_path, ("rise",))
    (tmp_path / "fall").mkdir()
    with pytest.raises(MissingError, match="fall: no clips in it; add clips of the word"):
        read_takes(tmp_path, RATE)
    (tmp_path / "fall" / "1.3gp").write_bytes(b"x")
    with pytest.raises(MissingError, match=r"fall: no clips among its files \(\.3gp\)"):
        read_takes(tmp_path, RATE)
    with pytest.raises(ConfigError, match="fall: no clips"):
        takes_of({"rise": [word("rise")], "fall": []}, RATE, RATE)
    with pytest.raises(ConfigError, match="7: a word is a string"):
        takes_of({7: [word("rise")]}, RATE, RATE)  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros(RATE, np.float32), "silent"),
        (np.tile(word("rise"), 80), "60 s|s long; a clip holds one word"),
        (np.concatenate([word("rise")] * 8), "s of sound; a word or phrase is 4 s long at most"),
    ],
)
def test_clip_that_is_no_word(tmp_path, clip, message):
    write_words(tmp_path, ("fall",))
    path = write_sound(tmp_path / "rise" / "bad.wav", clip)
    with pytest.raises(IntegrityError, match=message) as caught:
        read_takes(tmp_path, RATE)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_bad_clips_are_named_at_once(tmp_path):
    write_words(tmp_path, ("fall",))
    for i in range(7):
        (tmp_path / "fall" / f"bad{i}.wav").write_bytes(b"no audio")
    with pytest.raises(IntegrityError) as caught:
        read_takes(tmp_path, RATE)
    assert all(f"bad{i}.wav" in str(caught.value) for i in range(5))
    assert "and 2 more" in str(caught.value)


@pytest.mark.parametrize("name", ["rise", "rise/anna"])
def test_a_folder_that_may_not_be_read_is_not_passed_over(tmp_path, monkeypatch, name):
    write_sound(tmp_path / "rise" / "take1.wav", word("rise"))
    write_sound(tmp_path / "rise" / "anna" / "take1.wav", word("rise", 1))
    close_folder(monkeypatch, tmp_path / name)
    with pytest.raises(PermissionError, match=name):
        read_takes(tmp_path, RATE)


def test_clips_that_lie_in_no_folder(tmp_path):
    with pytest.raises(MissingError, match="no such folder"):
        read_takes(tmp_path / "nowhere", RATE)
    with pytest.raises(MissingError, match="no clips; expected"):
        read_takes(tmp_path, RATE)
    write_sound(tmp_path / "take1.wav", word("rise"))
    with pytest.raises(MissingError, match="name the folder above it"):
        read_takes(tmp_path, RATE)


def test_the_same_clip_twice(tmp_path):
    write_words(tmp_path, ("fall", "rise"), n_takes=2)
    (tmp_path / "rise" / "copy.wav").write_bytes((tmp_path / "fall" / "take1.wav").read_bytes())
    takes = read_takes(tmp_path, RATE)
    with pytest.raises(ConfigError, match=r"rise/copy.wav: the same clip as .*fall/take1.wav"):
        require_distinct(takes, {})
    with pytest.raises(ConfigError, match="the same clip as before"):
        require_distinct(takes[:1], {takes[0].digest: "before"})


@pytest.mark.parametrize("gain", [0.5, 0.9, 0.02, -1.0])
def test_the_same_clip_at_another_level(tmp_path, gain):
    write_words(tmp_path, ("fall", "rise"))
    write_sound(tmp_path / "rise" / "unlike.wav", np.full(RATE // 2, 0.1, np.float32))
    require_distinct(read_takes(tmp_path, RATE), {})
    original = soundfile.read(tmp_path / "rise" / "take2.wav", dtype="float32")[0]
    write_sound(tmp_path / "rise" / "copy.wav", np.float32(gain) * original)
    takes = read_takes(tmp_path, RATE)
    assert len({take.digest for take in takes}) == len(takes)
    with pytest.raises(ConfigError, match=r"rise/take2.wav: the same clip as .*rise/copy.wav at another level"):
        require_distinct(takes, {})


def test_levels_of_noise_and_of_voices_do_not_matter():
    said = word("rise")
    for alike in (UNKNOWN, SILENCE):
        require_distinct(takes_of({alike: [said, said / 2]}, RATE, RATE), {})
    require_distinct([Take("rise", None, str(gain), gain * said, spoken=True) for gain in (0.5, 1)], {})


def test_arrays_and_paths_are_the_same_takes(tmp_path):
    said = word("rise")
    path = tmp_path / "rise.wav"
    soundfile.write(path, (said * 32767).round().astype(np.int16), RATE)
    of_path, of_array = takes_of({"rise": [path, soundfile.read(path, dtype="int16")[0]]}, RATE, RATE)
    assert of_path.digest == of_array.digest
    with pytest.raises(ValueError, match="waveform"):
        takes_of({"rise": [np.zeros((2, 100))]}, RATE, RATE)
    for alone in (path, str(path), said):
        with pytest.raises(ConfigError, match="rise: a list of clips is needed"):
            takes_of({"rise": alone}, RATE, RATE)
    with pytest.raises(ValueError, match="got 0"):
        takes_of({"rise": [said]}, 0, RATE)
