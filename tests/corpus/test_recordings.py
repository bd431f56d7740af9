"""Recordings and their transcripts: every table that people have, and a split that keeps speakers apart."""

import pytest

from kwspot.corpus.recordings import Recording, Word, read_recordings, words_of
from kwspot.errors import IntegrityError, MissingError
from tests.sounds import tone, write_sound


def make(folder, *names):
    for name in names:
        write_sound(folder / name, tone(400, 0.1))
    return folder


def test_a_table_with_path_and_text(tmp_path):
    make(tmp_path, "speech/read/a.wav", "noise/rain/b.wav")
    (tmp_path / "text.tsv").write_text("path\tspeaker\ttext\nspeech/read/a.wav\tanna\tGo on, it's up.\n")
    noise, speech = read_recordings(tmp_path)
    assert (speech.speaker, speech.said, speech.source) == ("anna", ["go", "on", "it's", "up"], "speech/read")
    assert (noise.speaker, noise.text, noise.said, noise.words) == ("noise/rain/b.wav", None, [], None)


def test_a_table_of_a_spreadsheet(tmp_path):
    make(tmp_path, "read/a.wav", "read/b.wav")
    (tmp_path / "text.csv").write_text('path,text\nread/a.wav,"Go on, stop"\n', encoding="utf-8-sig")
    for table in (None, tmp_path / "text.csv"):
        spoken, silent = read_recordings(tmp_path, table)
        assert (spoken.said, silent.text) == (["go", "on", "stop"], None)


@pytest.mark.parametrize("path", ["./read/a.wav", "FOLDER/read/a.wav", "a.wav", "a", "read//a.wav"])
def test_a_table_may_name_files_as_find_does(tmp_path, path):
    make(tmp_path, "read/a.wav", "read/b.wav")
    (tmp_path / "text.tsv").write_text(f"path\ttext\n{path.replace('FOLDER', str(tmp_path))}\tgo on\n")
    assert [one.text for one in read_recordings(tmp_path)] == ["go on", None]


def test_a_file_name_is_that_of_the_file_in_the_folder_itself(tmp_path):
    make(tmp_path, "a.wav", "read/a.wav")
    (tmp_path / "text.tsv").write_text("path\ttext\na.wav\tgo on\n")
    assert [one.text for one in read_recordings(tmp_path)] == ["go on", None]


def test_transcripts_that_several_recordings_would_share_are_refused(tmp_path):
    make(tmp_path, "kitchen/take1.wav", "office/take1.wav")
    table = tmp_path / "text"
    table.write_text("take1 turn it on\n")
    with pytest.raises(IntegrityError, match=r"'take1' is what recordings in 2 folders are called \(kitchen, office\)"):
        read_recordings(tmp_path)
    table.unlink()
    (tmp_path / "text.tsv").write_text("path\ttext\nkitchen/take1.wav\tturn it on\n")
    assert [recording.text for recording in read_recordings(tmp_path)] == ["turn it on", None]


@pytest.mark.parametrize(
    ("name", "text"),
    [("text.tsv", 'path\ttext\na.wav\tgo "on'), ("TEXT.CSV", "path,text\na.wav,go on"), ("text", "a go on")],
)
def test_a_byte_order_mark_is_no_part_of_a_table(tmp_path, name, text):
    make(tmp_path, "a.wav")
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert [one.said for one in read_recordings(tmp_path, tmp_path / name)] == [["go", "on"]]


def test_tables_of_kaldi_and_librispeech(tmp_path):
    kaldi = make(tmp_path / "kaldi", "wav/u1.wav")
    (kaldi / "text").write_text("u1 HELLO YES\n")
    (kaldi / "utt2spk").write_text("u1 s7\n")
    (one,) = read_recordings(kaldi)
    assert (one.speaker, one.said) == ("s7", ["hello", "yes"])
    libri = make(tmp_path / "libri", "103/1240/103-1240-0000.flac")
    (libri / "103/1240/103-1240.trans.txt").write_text("103-1240-0000 STOP THERE\n")
    (one,) = read_recordings(libri)
    assert (one.speaker, one.said, one.source) == ("103", ["stop", "there"], "103/1240")


def test_a_table_elsewhere_and_times_beside_it(tmp_path):
    make(tmp_path / "sound", "u1.wav", "u2.wav")
    table = tmp_path / "said" / "text"
    table.parent.mkdir()
    table.write_text("u1 yes no\nu2 no\n")
    (table.parent / "words.ctm").write_text("u1 1 0.50 0.25 YES 0.9\nu1 1 1.00 0.50 no\n")
    first, second = read_recordings(tmp_path / "sound", table)
    assert first.words == (Word("yes", 0.5, 0.75), Word("no", 1.0, 1.5))
    assert second.words is None
    assert read_recordings(tmp_path / "sound", table.parent) == [first, second]


def test_a_speaker_is_in_one_split(tmp_path):
    lines = ["path\tspeaker\ttext"]
    for i in range(200):
        write_sound(tmp_path / f"{i}.wav", tone(400, 0.01))
        lines.append(f"{i}.wav\tspeaker {i // 2}\tyes")
    (tmp_path / "text.tsv").write_text("\n".join(lines))
    splits = {}
    for recording in read_recordings(tmp_path):
        splits.setdefault(recording.speaker, set()).add(recording.split)
    assert all(len(found) == 1 for found in splits.values())
    counts = [sum(found == {split} for found in splits.values()) for split in ("train", "validation", "test")]
    assert 45 < counts[0] < 75
    assert min(counts) > 8


def test_words_are_lower_case_without_punctuation():
    assert words_of("“No—don’t!” she said; 3 times") == ["no", "don't", "she", "said", "3", "times"]


def test_keywords_are_found_as_they_are_written_and_as_they_are_said():
    keywords = ["Lights_on", "lights", "Été", "it's"]
    said = Recording("a.wav", "a", "LIGHTS on! It’s été; lights, lights on", None)
    assert said.keywords_said(keywords) == ["Lights_on", "it's", "Été", "lights", "Lights_on"]
    assert said.keywords_said([]) == said.keywords_said(["…", "on lights on"]) == []
    words = (Word("lights,", 1.0, 1.4), Word("on", 1.5, 1.7), Word("lights-on", 3.0, 3.6), Word("lights", 5.0, 5.3))
    sounding = [Word("Lights_on", 1.0, 1.7), Word("Lights_on", 3.0, 3.6), Word("lights", 5.0, 5.3)]
    assert Recording("a.wav", "a", "", words).keywords_sounding(keywords) == sounding
    assert said.keywords_sounding(keywords) == []


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(MissingError, match="no recordings"):
        read_recordings(tmp_path)
    make(tmp_path, "a.wav")
    (tmp_path / "table.tsv").write_text("path\ttext\nb.wav\tyes\n")
    with pytest.raises(IntegrityError, match="name no recording"):
        read_recordings(tmp_path, tmp_path / "table.tsv")
    (tmp_path / "text.tsv").write_text("path\ttext\nb.wav\tyes\n")
    with pytest.raises(IntegrityError, match="name no recording"):
        read_recordings(tmp_path)
    (tmp_path / "text.tsv").unlink()
    (tmp_path / "table.tsv").write_text("file\ttext\nb.wav\tyes\n")
    with pytest.raises(IntegrityError, match="no column path"):
        read_recordings(tmp_path, tmp_path / "table.tsv")
    (tmp_path / "table.csv").write_text("path;text\na.wav;yes\n")
    with pytest.raises(IntegrityError, match=r"no column path, text; .* comma-separated"):
        read_recordings(tmp_path, tmp_path / "table.csv")
    (tmp_path / "table.csv").write_bytes("path,text\na.wav,déjà\n".encode("cp1252"))
    with pytest.raises(IntegrityError, match=r"table\.csv: no table in UTF-8"):
        read_recordings(tmp_path, tmp_path / "table.csv")
    (tmp_path / "text").write_text("a yes\n")
    (tmp_path / "words.ctm").write_text("a 1 0.5 yes\n")
    with pytest.raises(IntegrityError, match=r"words\.ctm: 'a 1 0\.5 yes'"):
        read_recordings(tmp_path)
    with pytest.raises(MissingError, match="no such file"):
        read_recordings(tmp_path, tmp_path / "nothing.tsv")
