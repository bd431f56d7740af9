"""`kwspot listen`: an event as soon as it is known, from a pipe that stays open and from a microphone.

The microphone is a device of ALSA that plays a file, through PortAudio as any other: `apt install libportaudio2`.
"""

from contextlib import contextmanager
import json
import os
import signal
import subprocess
import sys
from threading import Timer
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from kwspot.audio import microphone
from kwspot.audio.reading import resample
from kwspot.cli import app
from tests.sounds import RATE
from tests.speech import spoken

pytestmark = pytest.mark.slow

SETTINGS = ("--threshold", "0.8", "--smoothing-ms", "200", "--refractory-ms", "300")
MODEL = ("--model", "keywords10", *SETTINGS)  # which speech.py chooses its words by
KWSPOT = [sys.executable, "-m", "kwspot"]
DEVICE_RATE = 44_100  # Hz, what ALSA takes where the device has no rate of its own
COMMAND = 'echo "$KWSPOT_WORD $KWSPOT_START_S $KWSPOT_END_S $KWSPOT_POSTERIOR" >> heard; exit 3'


def with_portaudio():
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError):
        return False
    return sys.platform == "linux"


needs_portaudio = pytest.mark.skipif(not with_portaudio(), reason="no sounddevice, or no PortAudio with ALSA")


@pytest.fixture(scope="module")
def said():
    return spoken(3, gap_s=1.2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KWSPOT_RUNS", raising=False)
    return tmp_path


@pytest.fixture
def alsa(folder, monkeypatch, said):
    """Two inputs: one hears silence, the default one hears the words and then silence."""
    resample(said[0], RATE, DEVICE_RATE).astype("<f4").tofile(folder / "played.raw")
    (folder / "asoundrc").write_text(
        f'pcm.!default {{ type file slave.pcm {{ type null }} file "/dev/null" infile "{folder}/played.raw" '
        'format "raw" }\npcm.quiet { type null }\n'
    )
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(folder / "asoundrc"))
    return folder


def hear_ctrl_c():
    """Undo what a shell does to the programs it starts in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def listening(*arguments, **options):
    """Start `kwspot listen`; it is gone afterwards, or after two minutes: a line waited for is then empty."""
    command = [*KWSPOT, "listen", *MODEL, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": hear_ctrl_c, **options}
    with subprocess.Popen(command, **pipes) as process:
        end = Timer(120, process.kill)
        end.start()
        try:
            yield process
        finally:
            end.cancel()
            process.kill()


def pcm(wave):
    return (wave * 32767).round().astype("<i2").tobytes()


def listen(*arguments):
    return CliRunner().invoke(app, ["listen", *MODEL, *arguments])


def test_an_event_is_said_while_the_pipe_is_open(said):
    """Every event comes before the sound goes on for more than half a second."""
    wave, words = said
    with listening("-", "--raw-rate", str(RATE), "--json", stdin=subprocess.PIPE) as process:
        note = process.stderr.readline().decode()
        assert note == "listening to standard input with keywords10: yes no up down left right on off stop go\n"
        at = 0
        for word, _, end_s in words:
            until = round((end_s + 0.5) * RATE)
            process.stdin.write(pcm(wave[at:until]))
            process.stdin.flush()
            event, at = json.loads(process.stdout.readline()), until  # waits for ever if nobody speaks
            assert list(event) == ["schema", "word", "posterior", "start_s", "end_s", "model"]
            assert event["word"] == word
            assert event["end_s"] == pytest.approx(end_s, abs=0.4)
        process.stdin.close()
        assert process.wait(60) == 0
        assert process.stdout.read() == b""


def test_a_slow_writer_with_a_header(said):
    """One second of sound every 0.2 s, as a WAV of unknown length."""
    import io

    import soundfile

    framed = io.BytesIO()
    soundfile.write(framed, said[0], RATE, format="WAV", subtype="PCM_16")
    header = bytearray(framed.getvalue()[:44])
    header[40:44] = b"\xff\xff\xff\x7f"
    samples = pcm(said[0]) + pcm(np.zeros(RATE))
    with listening("-", stdin=subprocess.PIPE) as process:
        process.stdin.write(header)
        for i in range(0, len(samples), 2 * RATE):
            process.stdin.write(samples[i : i + 2 * RATE])
            process.stdin.flush()
            time.sleep(0.2)
        rows = [process.stdout.readline().decode().split("\t") for _ in said[1]]  # the pipe is open
        assert [row[2] for row in rows] == [word for word, _, _ in said[1]]
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("arguments", [["-"], ["-", "--raw-rate", "16000"]])
def test_a_signal_ends_a_wait_for_a_silent_pipe(number, code, arguments):
    with listening(*arguments, stdin=subprocess.PIPE) as process:
        process.stderr.readline()
        time.sleep(0.5)
        process.send_signal(number)
        assert process.wait(30) == code
        assert len(process.stderr.read().splitlines()) == 1


def test_a_command_finds_the_event_in_its_environment(folder, said):
    with listening("-", "--raw-rate", str(RATE), "--exec", COMMAND, stdin=subprocess.PIPE) as process:
        _, errors = process.communicate(pcm(said[0]), timeout=120)
    assert process.returncode == 0
    heard = [line.split() for line in (folder / "heard").read_text().splitlines()]
    assert sorted(row[0] for row in heard) == sorted(word for word, _, _ in said[1])
    assert all(float(start) < float(end) and 0.8 <= float(posterior) <= 1 for _, start, end, posterior in heard)
    expected = [f"error: --exec: the command for '{word}' ended with exit code 3" for word, _, _ in said[1]]
    assert sorted(errors.decode().splitlines()[1:]) == sorted(expected)


def test_what_a_command_prints_is_not_data(folder, said):
    with listening(
        "-", "--raw-rate", str(RATE), "--json", "--exec", "echo heard; echo wrong >&2", stdin=subprocess.PIPE
    ) as process:
        lines, errors = process.communicate(pcm(said[0]), timeout=120)
    assert [json.loads(line)["word"] for line in lines.splitlines()] == [word for word, _, _ in said[1]]
    assert sorted(errors.decode().splitlines()[1:]) == ["heard"] * len(said[1]) + ["wrong"] * len(said[1])


def test_nobody_waits_for_a_command(folder, said):
    wave, words = said
    arguments = ["-", "--raw-rate", str(RATE), "--exec", "sleep 600"]
    with listening(*arguments, stdin=subprocess.PIPE, start_new_session=True) as process:
        try:
            process.stdin.write(pcm(wave))
            process.stdin.flush()
            assert [process.stdout.readline().decode().split("\t")[2] for _ in words[:2]] == [
                w for w, _, _ in words[:2]
            ]
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["x.wav"], 2, "for files use 'kwspot spot'"),
        (["--raw-rate", "16000"], 2, "--raw-rate needs standard input"),
        (["-", "--microphone", "0"], 2, "not to both"),
        (["-", "--threshold", "2"], 2, "threshold: a posterior"),
        (["-", "--model", "lstn"], 3, "bundled models: keywords10, keywords10_long, keywords10_nano"),
    ],
)
def test_error_is_one_line_with_its_code(folder, arguments, code, message):
    done = listen(*arguments)
    assert done.exit_code == code
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize("arguments", [[], ["--list-microphones"]])
def test_a_missing_part_is_named(folder, monkeypatch, arguments):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    done = listen(*arguments)
    assert done.exit_code == 3
    assert done.stderr == "error: listening needs sounddevice; run: pip install 'kwspot[mic]'\n"
    (folder / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "sounddevice")
    done = listen(*arguments)
    assert done.exit_code == 3
    (line,) = done.stderr.splitlines()
    assert "apt install libportaudio2" in line


FAKE = """
class PortAudioError(Exception): pass
class default: device = [1, -1]
reads = %s
def query_hostapis(): return [{"name": "Fake"}]
def query_devices():
    rates = {"Loudspeaker": 0, "Desk": 1, "Headset": 1}
    return [{"index": i, "name": n, "hostapi": 0, "max_input_channels": c, "default_samplerate": 48000.0}
            for i, (n, c) in enumerate(rates.items())]
class InputStream:
    def __init__(self, **given): assert given["device"] == 1 and given["samplerate"] == 48000
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def read(self, n):
        import numpy
        if not reads: raise PortAudioError("Device unavailable [PaErrorCode -9985]", -9985)
        return numpy.zeros((n, 1), "float32"), reads.pop()
"""


def fake(folder, monkeypatch, reads):
    (folder / "sounddevice.py").write_text(FAKE % reads)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)


def test_lost_samples_are_said_once_and_a_device_that_goes_away_is_a_line(folder, monkeypatch):
    fake(folder, monkeypatch, [False, True, True, False])
    done = listen()
    assert done.exit_code == 1
    assert done.stdout == ""
    note, lost, gone = done.stderr.splitlines()
    assert note.startswith("listening to microphone 1 (Desk, 48000 Hz) with keywords10: ")
    assert lost.startswith("samples were lost")
    assert gone == "error: microphone 1 (Desk): Device unavailable [PaErrorCode -9985]"


@pytest.mark.parametrize(
    ("wanted", "number"), [(None, 1), ("2", 2), ("head", 2), ("Desk", 1), ("0", None), ("e", None), ("x", None)]
)
def test_a_device_by_number_or_name(folder, monkeypatch, wanted, number):
    fake(folder, monkeypatch, [])
    if number is not None:
        assert microphone.find_device(wanted).number == number
    else:
        done = listen("--microphone", wanted)
        assert done.exit_code == 2
        assert "1 Desk, 2 Headset" in done.stderr


def test_a_machine_without_a_microphone_says_so(folder, monkeypatch):
    fake(folder, monkeypatch, [])
    (folder / "sounddevice.py").write_text((folder / "sounddevice.py").read_text() + "query_devices = list\n")
    done = listen()
    assert done.exit_code == 3
    assert done.stderr == "error: no microphone: PortAudio finds no input device; 'kwspot listen -' reads a pipe\n"


@needs_portaudio
def test_devices_are_listed(alsa):
    done = subprocess.run([*KWSPOT, "listen", "--list-microphones"], capture_output=True, text=True, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert {row[1] for row in rows} == {"default", "quiet"}
    assert [row[1] for row in rows if row[-1] == "*"] == ["default"]
    assert all(row[3].endswith(" Hz") and row[2] == "ALSA" for row in rows)


@needs_portaudio
def test_words_spoken_into_a_microphone(alsa, said):
    with listening("--exec", "echo $KWSPOT_WORD >> heard") as process:
        note = process.stderr.readline().decode()
        assert f"(default, {DEVICE_RATE} Hz) with keywords10: yes no" in note
        for word, start_s, end_s in said[1]:
            start, end, heard, posterior = process.stdout.readline().decode().split("\t")
            assert heard == word
            assert float(end) == pytest.approx(end_s, abs=0.4)
            assert float(start) <= start_s + 0.15
            assert float(posterior) >= 0.8
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read().decode().splitlines() == ["error: interrupted"]
    assert (alsa / "heard").read_text().split()[:2] == [word for word, _, _ in said[1]][:2]
