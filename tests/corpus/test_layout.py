"""Which files are clips, whose they are and which split they belong to."""

from collections import Counter
import hashlib
import os
from pathlib import Path
import re

from hypothesis import given
from hypothesis import strategies as st
import pytest

from kwspot.corpus.layout import (
    LISTS,
    TEST,
    TEST12,
    TRAIN,
    VALIDATION,
    corpus_fingerprint,
    corpus_name,
    has_test_clips,
    read_corpus,
    silence_clips,
    speaker_of,
    which_split,
)
from kwspot.errors import IntegrityError, MissingError
from kwspot.files import write_json
from tests.sounds import make_corpus, tone, write_noise, write_sound

TRAINER, VALIDATOR, TESTER = "00000001", "0000000f", "00000002"  # by the hash; checked below


def which_set(filename, validation_percentage, testing_percentage):
    """TensorFlow's function, as speech_commands/input_data.py has it."""
    base_name = os.path.basename(filename)  # noqa: PTH119
    hash_name = re.sub(r"_nohash_.*$", "", base_name)
    hash_name_hashed = hashlib.sha1(hash_name.encode()).hexdigest()
    percentage_hash = (int(hash_name_hashed, 16) % (2**27 - 1 + 1)) * (100.0 / (2**27 - 1))
    if percentage_hash < validation_percentage:
        return "validation"
    if percentage_hash < (testing_percentage + validation_percentage):
        return "testing"
    return "training"


def touch(data, *names):
    for name in names:
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def split_of(data):
    return {clip.name: clip.split for clip in read_corpus(data).clips}


@given(st.from_regex(r"[0-9a-f]{8}", fullmatch=True), st.integers(0, 99))
def test_split_equals_tensorflows(speaker, take):
    name = f"yes/{speaker}_nohash_{take}.wav"
    ours = {TRAIN: "training", VALIDATION: "validation", TEST: "testing"}[which_split(speaker_of(name)[0])]
    assert ours == which_set(name, 10, 10)


def test_split_of_speakers_of_the_official_lists():
    assert [which_split(s) for s in ("87070229", "8fe67225", "f2e59fea")] == [TEST] * 3
    assert [which_split(s) for s in (TRAINER, VALIDATOR, TESTER)] == [TRAIN, VALIDATION, TEST]


def test_splits_are_of_the_promised_size():
    counts = Counter(which_split(f"{i:08x}") for i in range(20_000))
    assert counts[TRAIN] == pytest.approx(16_000, abs=250)  # 4 standard deviations
    assert counts[VALIDATION] == pytest.approx(2_000, abs=180)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.text("01x_", min_size=1, max_size=9)), min_size=1))
def test_no_speaker_is_in_two_splits(names):
    splits = {}
    for word, stem in names:
        speaker, _ = speaker_of(f"{word}/{stem}.wav")
        assert splits.setdefault(speaker, which_split(speaker)) == which_split(speaker)


def test_speaker_of_a_name():
    assert speaker_of("yes/0a7c2a8d_nohash_0.wav") == ("0a7c2a8d", True)
    assert speaker_of("_test12_/yes/0a7c2a8d_nohash_3.wav.wav") == ("0a7c2a8d", True)
    unnamed, said = speaker_of("yes/take one.wav")
    assert (len(unnamed), said) == (8, False)
    assert speaker_of("no/take one.wav") == (unnamed, False)
    assert speaker_of("no/take two.wav") != (unnamed, False)
    assert speaker_of("no/_nohash_.wav")[1] is False


def test_clips_are_the_audio_files_of_word_folders(tmp_path):
    touch(tmp_path, "yes/b_nohash_0.wav", "yes/a.WAV", "no/c.wav.wav", "no/d.flac", "no/e.mp3", "no/f.m4a")
    touch(tmp_path, "yes/notes.txt", "yes/.hidden.wav", "yes/._a.wav", "yes/deeper/x.wav", "top.wav")
    touch(tmp_path, "_other_/x.wav", ".cache/x.wav", "README.md", "testing/x.txt")
    corpus = read_corpus(tmp_path)
    assert [clip.name for clip in corpus.clips] == [
        "no/c.wav.wav", "no/d.flac", "no/e.mp3", "no/f.m4a", "yes/a.WAV", "yes/b_nohash_0.wav"
    ]  # fmt: skip
    assert corpus.words == ["no", "yes"]
    assert corpus.n_unnamed == 5


def test_linked_folders_and_files_count(tmp_path):
    touch(tmp_path, "elsewhere/yes/a_nohash_0.wav", "elsewhere/no/b_nohash_0.wav")
    data = tmp_path / "data"
    (data / "no").mkdir(parents=True)
    (data / "yes").symlink_to(tmp_path / "elsewhere" / "yes", target_is_directory=True)
    (data / "no" / "b_nohash_0.wav").symlink_to(tmp_path / "elsewhere" / "no" / "b_nohash_0.wav")
    (data / "no" / "c_nohash_0.wav").symlink_to("nowhere.wav")
    assert list(split_of(data)) == ["no/b_nohash_0.wav", "no/c_nohash_0.wav", "yes/a_nohash_0.wav"]
    assert corpus_fingerprint(data)  # the link to nowhere is listed, and refused when it is read


def test_the_separate_test_set_is_a_split_of_its_own(tmp_path):
    touch(tmp_path, "yes/a_nohash_0.wav", "_test12_/yes/b_nohash_0.wav.wav")
    touch(tmp_path, "_test12_/_silence_/c.wav", "_test12_/_unknown_/d_nohash_0.wav")
    corpus = read_corpus(tmp_path)
    found = {(clip.word, clip.split) for clip in corpus.clips if clip.name.startswith("_test12_")}
    assert found == {("yes", TEST12), ("silence", TEST12), ("unknown", TEST12)}
    assert corpus.words == ["yes"]


def test_names_that_no_index_can_hold_are_refused(tmp_path):
    touch(tmp_path, "yes/a_nohash_0.wav", "yes/tab\tin it.wav", "yes/line\nbreak.wav", "yes/ä ö.wav")
    (tmp_path / "yes" / os.fsdecode(b"latin-\xe9.wav")).write_bytes(b"")
    corpus = read_corpus(tmp_path)
    assert [clip.name for clip in corpus.clips] == ["yes/a_nohash_0.wav", "yes/ä ö.wav"]
    assert len(corpus.refused) == 3
    assert all(name.isascii() and "rename" in reason for name, reason in corpus.refused)
    assert corpus_fingerprint(tmp_path)


def test_lists_decide_for_names_without_speaker(tmp_path):
    touch(tmp_path, "yes/1.wav", "yes/2.wav", "yes/3.wav")
    (tmp_path / "validation_list.txt").write_bytes(b"yes/1.wav\r\nyes/gone.wav\r\n")
    (tmp_path / "testing_list.txt").write_text("yes/2.wav")  # no newline at the end, like the official ones
    assert split_of(tmp_path) == {"yes/1.wav": VALIDATION, "yes/2.wav": TEST, "yes/3.wav": TRAIN}


def test_lists_that_agree_with_the_hash_change_nothing(tmp_path):
    names = {f"yes/{speaker}_nohash_0.wav" for speaker in (TRAINER, VALIDATOR, TESTER)}
    touch(tmp_path, *names)
    without = split_of(tmp_path)
    for file, split in LISTS.items():
        (tmp_path / file).write_text("\n".join(name for name in names if without[name] == split))
    assert split_of(tmp_path) == without
    assert set(without.values()) == {TRAIN, VALIDATION, TEST}


def test_a_list_that_contradicts_the_hash_is_an_error_that_names_the_clip(tmp_path):
    touch(tmp_path, f"yes/{TRAINER}_nohash_0.wav", f"no/{TRAINER}_nohash_1.wav")
    (tmp_path / "testing_list.txt").write_text(f"yes/{TRAINER}_nohash_0.wav\nno/{TRAINER}_nohash_1.wav\n")
    with pytest.raises(IntegrityError, match=rf"testing_list\.txt: lists no/{TRAINER}_nohash_1\.wav.*into train"):
        read_corpus(tmp_path)


def test_a_clip_in_both_lists_is_an_error(tmp_path):
    touch(tmp_path, "yes/1.wav")
    for file in LISTS:
        (tmp_path / file).write_text("yes/1.wav\n")
    with pytest.raises(IntegrityError, match=r"yes/1\.wav is in both lists"):
        read_corpus(tmp_path)


@pytest.mark.parametrize("ask", [read_corpus, corpus_fingerprint])
def test_no_corpus_says_what_to_do(tmp_path, ask):
    with pytest.raises(MissingError, match="kwspot download"):
        ask(tmp_path / "nowhere")
    touch(tmp_path, "_background_noise_/hum.wav", "yes/readme.txt")
    with pytest.raises(MissingError, match=r"no clips.*kwspot download"):
        ask(tmp_path)


CHANGES = {
    "a clip more": lambda data: write_sound(data / "left" / "new.wav", tone(300)),
    "a clip less": lambda data: (data / "left" / "00000000_nohash_0.wav").unlink(),
    "a clip renamed": lambda data: (data / "left" / "00000000_nohash_0.wav").rename(data / "left" / "x.wav"),
    "a clip longer": lambda data: write_sound(data / "left" / "00000000_nohash_0.wav", tone(300, 1.1)),
    "a clip written again": lambda data: os.utime(data / "left" / "00000000_nohash_0.wav", (1, 1)),
    "a word renamed": lambda data: (data / "left" / "").rename(data / "up"),
    "a list": lambda data: (data / "testing_list.txt").write_text(""),
    "noise": write_noise,
    "the separate test set": lambda data: write_sound(data / "_test12_" / "left" / "a.wav", tone(300)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_fingerprint_sees_every_change(tmp_path, change):
    make_corpus(tmp_path, n_speakers=2)
    before = corpus_fingerprint(tmp_path)
    CHANGES[change](tmp_path)
    assert corpus_fingerprint(tmp_path) != before


def test_fingerprint_does_not_see_what_is_no_recording(tmp_path):
    make_corpus(tmp_path, n_speakers=2)
    before = corpus_fingerprint(tmp_path)
    touch(tmp_path, ".kwspot/features-0/frames.npy", "README.md", "left/notes.txt", "_other_/a.wav")
    assert corpus_fingerprint(tmp_path) == before


def test_imported_frames_are_the_corpus_of_a_folder_without_recordings(tmp_path):
    write_json(tmp_path / ".kwspot" / "imported.json", {"digest": "abc"})
    assert corpus_fingerprint(tmp_path) == "abc"
    make_corpus(tmp_path, n_speakers=1)
    assert corpus_fingerprint(tmp_path) != "abc"


def test_an_unreadable_import_marker_is_an_integrity_error(tmp_path):
    touch(tmp_path, ".kwspot/imported.json")
    with pytest.raises(IntegrityError, match=r"imported\.json"):
        corpus_fingerprint(tmp_path)


def test_it_is_known_whether_there_are_test_recordings(tmp_path):
    assert not has_test_clips(tmp_path / "nothing")
    assert not has_test_clips(tmp_path)
    speakers = {which_split(f"{i:08x}"): f"{i:08x}" for i in range(100)}
    touch(tmp_path, f"yes/{speakers[TRAIN]}_nohash_0.wav")
    assert not has_test_clips(tmp_path)
    touch(tmp_path, f"yes/{speakers[TEST]}_nohash_0.wav")
    assert has_test_clips(tmp_path)


def test_corpus_name(tmp_path):
    assert corpus_name(tmp_path) == tmp_path.name
    write_json(tmp_path / ".kwspot" / "corpus.json", {"name": "synthetic"})
    assert corpus_name(tmp_path) == "synthetic"


def test_silence_is_a_tenth_of_every_split_and_needs_noise(tmp_path):
    make_corpus(tmp_path, n_speakers=60)
    assert silence_clips(read_corpus(tmp_path)) == []
    write_noise(tmp_path)
    touch(tmp_path, "_test12_/left/a.wav")
    corpus = read_corpus(tmp_path)
    clips, silence = (Counter(c.split for c in found) for found in (corpus.clips, silence_clips(corpus)))
    assert silence == {split: -(-clips[split] // 10) for split in (TRAIN, VALIDATION, TEST)}
    assert {(c.word, c.speaker) for c in silence_clips(corpus)} == {("silence", "silence")}


@pytest.mark.skipif("KWSPOT_REAL_CORPUS" not in os.environ, reason="KWSPOT_REAL_CORPUS names no real corpus")
def test_real_lists_and_hash_agree_both_ways():
    data = Path(os.environ["KWSPOT_REAL_CORPUS"])
    found = split_of(data)
    for file, split in LISTS.items():
        listed = set((data / file).read_text().split())
        assert {name for name in found if found[name] == split} == listed & set(found)


def test_corpus_that_is_still_moving_in_is_not_read(tmp_path):
    touch(tmp_path, "yes/00000001_nohash_0.wav", ".kwspot/corpus.whole/no/00000001_nohash_0.wav")
    for read in (read_corpus, corpus_fingerprint):
        with pytest.raises(MissingError, match="only part of the corpus is in place yet; run 'kwspot download'"):
            read(tmp_path)
