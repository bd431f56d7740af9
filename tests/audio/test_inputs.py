"""What names on a command line stand for."""

import os
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from kwspot.audio import inputs
from kwspot.audio.inputs import expand
from kwspot.audio.reading import AudioError, read_waveform
from kwspot.errors import IntegrityError
from tests.closed import close_folder
from tests.sounds import RATE, tone, write_sound


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("b/2.wav", "b/1.flac", "a.wav", "b/deep/3.ogg"):
        write_sound(tmp_path / name, tone(440, 0.1))
    (tmp_path / "b" / "notes.txt").write_text("no sound")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def standard_input(monkeypatch):
    """Put bytes on the file descriptor that stands for standard input."""

    def put(content):
        read, write = os.pipe()
        os.write(write, content)
        os.close(write)
        monkeypatch.setattr(inputs, "STANDARD_INPUT", read)

    return put


def names(*given, **options):
    return [source.name for source in expand(given, **options)]


def test_files_come_as_named(folder):
    assert names("b/2.wav", "./a.wav", "missing.wav") == ["b/2.wav", "./a.wav", "missing.wav"]


def test_a_folder_stands_for_its_audio_sorted_at_any_depth(folder):
    assert names("b") == ["b/1.flac", "b/2.wav", "b/deep/3.ogg"]


def test_a_pattern_stands_for_what_matches(folder):
    assert names("b/*.wav", "**/*.ogg") == ["b/2.wav", "b/deep/3.ogg"]


def test_a_name_with_brackets_is_a_file_if_there_is_one(folder):
    write_sound(folder / "take[1].wav", tone(440, 0.1))
    assert names("take[1].wav") == ["take[1].wav"]


def test_a_list_holds_any_of_these(folder):
    (folder / "list.txt").write_bytes(b"a.wav\r\n\nb\nmissing.wav\nstrange-\xff.wav")
    assert names("@list.txt") == ["a.wav", "b/1.flac", "b/2.wav", "b/deep/3.ogg", "missing.wav", "strange-\udcff.wav"]


def test_a_list_on_standard_input(folder, standard_input):
    standard_input(b"b/2.wav\na.wav\n")
    assert names("@-") == ["b/2.wav", "a.wav"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("none/*.wav", "no file matches"), ("empty", "no audio files below"), ("@none.txt", "list cannot be read")],
)
def test_nothing_behind_a_name_is_an_error_in_its_place(folder, name, message):
    (folder / "empty").mkdir()
    first, second = expand([name, "a.wav"])
    assert first.name == name
    assert message in str(first.error)
    assert second.file is not None


@pytest.mark.parametrize("name", [Path("b"), Path("b", "deep")])
def test_a_folder_that_may_not_be_read_is_named_beside_the_sounds(folder, monkeypatch, name):
    close_folder(monkeypatch, name)
    *found, closed = expand(["b"])
    assert [source.name for source in found] == [n for n in ("b/1.flac", "b/2.wav") if name != Path("b")]
    assert str(closed.error) == f"{name}: the folder cannot be read (Permission denied)"


def test_a_sound_on_standard_input(folder, standard_input):
    standard_input((folder / "b" / "1.flac").read_bytes())
    (source,) = expand(["-"])
    assert source.name == "-"
    assert len(source.file.read().waveform) == RATE // 10


def test_raw_samples_on_standard_input(standard_input):
    samples = np.array([0, 1, -32768, 32767], "<i2")
    standard_input(samples.tobytes() + b"\x01")  # half a sample at the end is dropped
    (source,) = expand(["-"], raw_rate=8000)
    decoded = source.file.read()
    assert decoded.sample_rate == 8000
    assert (decoded.waveform * 2**15).tolist() == samples.tolist()


def test_nothing_on_standard_input(standard_input):
    standard_input(b"")
    (source,) = expand(["-"])
    with pytest.raises(AudioError, match=r"^-: nothing on standard input; lead a sound into it"):
        source.file.read()


def test_a_named_pipe_is_read_once(folder):
    os.mkfifo(folder / "pipe")
    writer = Thread(target=lambda: (folder / "pipe").write_bytes((folder / "a.wav").read_bytes()))
    writer.start()
    (source,) = expand(["pipe"])
    assert len(source.file.read().waveform) == RATE // 10
    writer.join()


def test_a_list_is_read_as_far_as_it_is_asked_for(folder):
    (folder / "list.txt").write_text("a.wav\n" * 3)
    found = expand(["@list.txt", "@list.txt"])
    next(found)
    (folder / "list.txt").unlink()  # the second opening fails, the first goes on
    assert [source.error is None for source in found] == [True, True, False]


def test_a_pattern_finds_a_file_once_and_looks_into_a_folder_once(folder, monkeypatch):
    looked, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(path) or scandir(path))
    n_looked = []
    for pattern in ("**/*.wav", "**/**/**/*.wav", "./**/**/*.wav", "**/b/**/*.wav"):
        looked.clear()
        found = names(pattern)
        assert found == sorted(set(found)) != []
        n_looked.append(len(looked))
    assert n_looked[1] == n_looked[0]
    assert names("**/**/*.wav") == names("**/*.wav")


def test_lists_that_lead_to_ever_more_lists_are_given_up(folder, monkeypatch):
    monkeypatch.setattr(inputs, "MOST_LISTS", 50)
    for i in range(5):
        (folder / f"{i}.txt").write_text(f"@{i + 1}.txt\n" * 10)
    (folder / "5.txt").write_text("")  # nothing to show for 100,000 lists
    with pytest.raises(IntegrityError, match="50 times"):
        list(expand(["@0.txt"]))


def test_a_bad_line_of_a_list_does_not_drop_the_others(folder):
    (folder / "list.txt").write_bytes(b"a.wav\n" + b"x" * 300 + b"\nx\0y.wav\n@list.txt\n@none.txt\nb/2.wav\n")
    sources = list(expand(["@list.txt"]))
    assert [source.name for source in sources if not source.error] == ["a.wav", "x\0y.wav", "b/2.wav"]
    assert [str(source.error).rpartition("(")[0] or str(source.error) for source in sources if source.error] == [
        f"{'x' * 300}: no such file ",
        "@list.txt: a list that leads back to itself, or lies too deep in others",
        "@none.txt: the list cannot be read ",
    ]
    with pytest.raises(AudioError, match="cannot be read"):
        read_waveform(sources[2].file)


def test_a_pipe_or_a_device_in_a_folder_is_refused_at_once(folder):
    os.mkfifo(folder / "b" / "pipe.wav")
    (folder / "b" / "zero.wav").symlink_to("/dev/zero")
    refused = []
    for source in expand(["b"]):
        try:
            read_waveform(source.file)
        except AudioError as error:
            refused.append((source.name, error.reason))
    reason = "cannot be read (a folder, a pipe or a device)"
    assert refused == [("b/pipe.wav", reason), ("b/zero.wav", reason)]


def test_a_clip_through_a_pipe_is_bounded(standard_input, monkeypatch):
    monkeypatch.setattr(inputs, "MOST_BYTES", 1000)
    standard_input(b"\0" * 1001)
    with pytest.raises(AudioError, match="more than 1 kB, too long for a clip; 'kwspot spot'"):
        next(expand(["-"])).file.read()
