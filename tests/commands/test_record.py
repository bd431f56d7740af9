"""`kwspot record`: takes of a word from a microphone, and from it to a model.

The microphone is a device of ALSA that plays a file, as in test_listen.
"""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from kwspot.audio import microphone
from kwspot.audio.reading import resample
from kwspot.cli import app
from tests.commands.test_listen import DEVICE_RATE, hear_ctrl_c, needs_portaudio
from tests.sounds import RATE
from tests.words import word

pytestmark = pytest.mark.slow

KWSPOT = [sys.executable, "-m", "kwspot", "record"]


def pause(seconds=1.2):
    return np.random.default_rng(0).normal(0, 1e-4, round(seconds * RATE)).astype(np.float32)


def played(monkeypatch, *parts):
    """Replace the microphone by one that gives these sounds, then silence without end."""
    sound = np.concatenate([*parts, *[pause()] * 20])

    def blocks(_device, sample_rate, _lost):
        yield from (sound[i : i + RATE // 10] for i in range(0, len(sound), RATE // 10))
        raise KeyboardInterrupt

    device = microphone.Device(1, "Desk", "ALSA", 48_000, True)
    monkeypatch.setattr(microphone, "find_device", lambda wanted=None: device)
    monkeypatch.setattr(microphone, "microphone_blocks", blocks)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record(*arguments, **how):
    return CliRunner().invoke(app, ["record", *map(str, arguments)], **how)


def test_takes_are_counted_and_written(folder, monkeypatch):
    played(monkeypatch, pause(), word("rise", 1), pause(), word("rise", 2), pause())
    done = record("rise", "--out", "clips", "--takes", 2)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == ["clips/rise/take_1.wav", "clips/rise/take_2.wav"]
    assert done.stderr.splitlines() == [
        "microphone 1 (Desk, 48000 Hz): say 'rise' 2 times, with pauses",
        "take 1 of 2",
        "take 2 of 2",
        "next: kwspot enroll NAME --clips clips",
    ]
    lengths = [soundfile.info(path).duration for path in sorted((folder / "clips/rise").iterdir())]
    assert all(0.4 < length < 1.0 for length in lengths)


def test_a_clipped_take_is_refused_and_said_again(folder, monkeypatch):
    clipped = (4 * word("rise", 1, volume=0.8)).clip(-1, 1)
    played(monkeypatch, pause(), clipped, pause(), word("rise", 2), pause())
    done = record("rise", "--out", "clips", "--takes", 1, "--speaker", "anna")
    assert done.stdout == "clips/rise/anna/take_1.wav\n"
    assert "not kept: clipped; speak more softly" in done.stderr


def test_ctrl_c_keeps_what_was_written_and_silence_is_said(folder, monkeypatch):
    played(monkeypatch, pause(), word("rise", 1), np.zeros(12 * RATE, np.float32))
    done = record("rise", "--out", "clips", "--takes", 5)
    assert done.exit_code == 130
    assert (folder / "clips/rise/take_1.wav").is_file()
    assert done.stderr.count("silence for 10 s; is the microphone muted?") == 1


def test_a_voice_that_is_too_quiet_is_said_once(folder, monkeypatch):
    quiet = [part for n in range(8) for part in (pause(), 0.015 * word("rise", n))]
    played(monkeypatch, *quiet, pause(), word("rise", 1), pause())
    done = record("rise", "--out", "clips", "--takes", 1)
    assert done.stdout == "clips/rise/take_1.wav\n"
    assert done.stderr.count("too quiet to record (below -50 dB); come nearer, or raise the microphone's level") == 1


def test_a_voice_that_is_loud_enough_is_not_called_quiet(folder, monkeypatch):
    played(monkeypatch, *[part for n in range(8) for part in (pause(), word("rise", n))], pause())
    assert "too quiet" not in record("rise", "--out", "clips", "--takes", 8).stderr


def test_a_take_without_a_pause_is_named(folder, monkeypatch):
    speech = np.concatenate([word(name, n) for n in range(3) for name in ("fall", "high")])[RATE // 8 : 2 * RATE]
    played(monkeypatch)
    monkeypatch.setattr("kwspot.enrollment.recording.takes_in", lambda *_: iter([np.concatenate([speech, pause()])]))
    done = record("rise", "--out", "clips", "--takes", 1)
    assert "not kept: no pause" in done.stderr


@pytest.mark.parametrize("command", [["record"], ["listen"]])
def test_microphones_are_listed_without_anything_else(folder, monkeypatch, command):
    device = microphone.Device(1, "Desk", "ALSA", 48_000, True)
    monkeypatch.setattr(microphone, "list_devices", lambda: [device])
    done = CliRunner().invoke(app, [*command, "--list-microphones"])
    assert (done.exit_code, done.stdout) == (0, "1\tDesk\tALSA\t48000 Hz\t*\n"), done.stderr


@pytest.mark.parametrize(("answer", "names"), [("y\n", ["take_1.wav"]), ("n\ny\n", ["take_1.wav"])])
def test_a_take_is_played_back_and_kept_on_wish(folder, monkeypatch, answer, names):
    heard = []
    played(monkeypatch, pause(), word("rise", 1), pause())
    monkeypatch.setattr(microphone, "play", lambda take, rate: heard.append(len(take) / rate))
    done = record("rise", "--out", "clips", "--takes", 1, "--play", input=answer)
    assert done.exit_code == 0, done.output
    assert [path.name for path in (folder / "clips/rise").iterdir()] == names
    assert len(heard) == answer.count("\n")


@pytest.mark.parametrize("name", ["a/b", "", ".hidden"])
def test_a_word_that_names_no_folder(folder, name):
    done = record(name, "--out", "clips")
    assert done.exit_code == 2
    assert "cannot name a folder" in done.stderr
    assert not (folder / "clips").exists()


@needs_portaudio
def test_takes_from_a_real_device(folder, monkeypatch):
    sound = np.concatenate([part for n in range(3) for part in (pause(), word("rise", n))] + [pause()])
    resample(sound, RATE, DEVICE_RATE).astype("<f4").tofile(folder / "played.raw")
    (folder / "asoundrc").write_text(
        f'pcm.!default {{ type file slave.pcm {{ type null }} file "/dev/null" infile "{folder}/played.raw" '
        'format "raw" }\n'
    )
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(folder / "asoundrc"))
    command = [*KWSPOT, "rise", "--out", "clips", "--takes", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    for n, path in enumerate(done.stdout.splitlines()):
        take, rate = soundfile.read(folder / path)
        assert rate == RATE
        assert len(take) / RATE == pytest.approx(len(word("rise", n)) / RATE, abs=0.3)


@needs_portaudio
def test_ctrl_c_ends_a_wait_for_a_word(folder, monkeypatch):
    (folder / "asoundrc").write_text("pcm.!default { type null }\n")
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(folder / "asoundrc"))
    command = [*KWSPOT, "rise", "--out", "clips"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=hear_ctrl_c) as process:
        process.stderr.readline()
        time.sleep(1)  # the device is open
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert not (folder / "clips").exists()
