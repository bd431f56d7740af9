"""ffmpeg decodes what libsndfile cannot, where it is installed; a program of its name stands for it here."""

import os

import numpy as np
import pytest

from kwspot.audio.blocks import file_blocks
from kwspot.audio.reading import AudioError, duration_s, promised_s, read_waveform
from tests.sounds import tone, write_sound


@pytest.fixture
def sound(tmp_path, monkeypatch):
    """A file that libsndfile cannot decode; `ffmpeg` finds what is in it beside it, under the same name and `.wav`."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ffmpeg"
    program.write_text('#!/bin/sh\nwhile [ "$1" != -i ]; do shift; done\ncat "${2#file:}.wav" 2>/dev/null\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A nothing that libsndfile knows")
    write_sound(tmp_path / "a.m4a.wav", tone(440), subtype="FLOAT")
    return path


def test_a_file_is_read_through_ffmpeg(sound):
    decoded = read_waveform(sound)
    np.testing.assert_allclose(decoded.waveform, tone(440), atol=1e-6)
    assert decoded.conversions == ("decoded by ffmpeg",)
    assert (promised_s(sound), duration_s(sound)) == (None, 1.0)
    np.testing.assert_allclose(np.concatenate(list(file_blocks(sound, 16_000))), tone(440), atol=1e-6)


def test_what_ffmpeg_refuses_too_has_the_first_reason(sound):
    sound.with_name("a.m4a.wav").unlink()
    for read in (read_waveform, lambda path: list(file_blocks(path, 16_000))):
        with pytest.raises(AudioError, match=r"a\.m4a: no readable audio \(Format not recognised\)$"):
            read(sound)


def test_a_file_that_ffmpeg_stops_within_is_damaged(sound, tmp_path):
    program = tmp_path / "bin" / "ffmpeg"
    program.write_text(program.read_text() + "exit 1\n")
    for read in (read_waveform, lambda path: list(file_blocks(path, 16_000))):
        with pytest.raises(AudioError, match=r"a\.m4a: damaged: ffmpeg stops within it$"):
            read(sound)
    next(file_blocks(sound, 16_000, 0.1))  # a reader that leaves before the end knows nothing of it


def test_without_ffmpeg_the_error_names_it(sound, monkeypatch):
    monkeypatch.setenv("PATH", "")
    for read in (read_waveform, lambda path: list(file_blocks(path, 16_000))):
        with pytest.raises(AudioError, match=r"Format not recognised.*; with ffmpeg installed, kwspot may read it"):
            read(sound)


def test_a_kind_that_ffmpeg_is_not_for_is_not_given_to_it(sound):
    other = sound.rename(sound.with_suffix(".wav"))
    with pytest.raises(AudioError, match=r"\(Format not recognised\)$"):
        read_waveform(other)
