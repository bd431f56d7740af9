"""The Wyoming service, asked by the protocol's own client as Home Assistant asks it."""

import asyncio
from contextlib import contextmanager
import json
from pathlib import Path
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from kwspot.audio.reading import resample
from tests.browsers import free_port
from tests.sounds import RATE
from tests.speech import spoken

pytestmark = pytest.mark.slow

client = pytest.importorskip("wyoming.client", reason="the [wyoming] extra is not installed")
MODEL = ("--model", "keywords10", "--threshold", "0.8")


@contextmanager
def serving(said=""):
    """Serve a model; yield the port and the process, which says so much."""
    port = free_port()
    command = [sys.executable, "-m", "kwspot", "serve", "--wyoming", "--port", str(port), *MODEL]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        assert line.startswith(f"kwspot serve: tcp://127.0.0.1:{port} with keywords10: yes no"), line
        yield port, process
        process.terminate()
        assert process.communicate()[1] == said + "error: terminated\n"  # and no traceback
    assert process.returncode == 143


@pytest.fixture(scope="module")
def port():
    with serving() as (port, _):
        yield port


def asked(port, events, n_answers):
    """Send events over one connection; return so many answers."""

    async def ask():
        async with client.AsyncTcpClient("127.0.0.1", port) as connection:
            for event in events:
                await connection.write_event(event.event())
            return [await asyncio.wait_for(connection.read_event(), 120) for _ in range(n_answers)]

    return asyncio.run(ask())


def sound_of(waveform, rate, channels=1):
    from wyoming.audio import AudioChunk, AudioStart, AudioStop

    pcm = np.repeat(np.round(waveform * 32767).astype("<i2"), channels)
    yield AudioStart(rate, 2, channels)
    size = rate // 10 * channels
    for i in range(0, len(pcm), size):
        yield AudioChunk(rate, 2, channels, pcm[i : i + size].tobytes(), timestamp=round(1000 * i / channels / rate))
    yield AudioStop()


def test_every_keyword_is_a_wake_word(port):
    from wyoming.info import Describe, Info

    (answer,) = asked(port, [Describe()], 1)
    (program,) = Info.from_event(answer).wake
    assert program.name == "kwspot"
    assert [model.phrase for model in program.models][:2] == ["yes", "no"]


@pytest.mark.parametrize(("rate", "channels"), [(RATE, 1), (48_000, 2)])
def test_words_are_detected_as_they_are_said(port, rate, channels):
    from wyoming.wake import Detect, Detection

    waveform, said = spoken(3)
    events = [Detect(), *sound_of(resample(waveform, RATE, rate), rate, channels)]
    found = [Detection.from_event(answer) for answer in asked(port, events, len(said))]
    assert [one.name for one in found] == [word for word, _, _ in said]
    for one, (_, start_s, end_s) in zip(found, said, strict=True):
        assert 1000 * start_s < one.timestamp < 1000 * (end_s + 1)


def test_words_of_one_chunk_and_one_that_the_sound_ends_with_are_detected(port):
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.wake import Detect, Detection

    waveform, said = spoken(3)
    _, _, end_s = said[-1]
    pcm = np.round(waveform[: round(end_s * RATE)] * 32767).astype("<i2").tobytes()
    events = [Detect(), AudioStart(RATE, 2, 1), AudioChunk(RATE, 2, 1, pcm, timestamp=0), AudioStop()]
    found = [Detection.from_event(answer).name for answer in asked(port, events, len(said))]
    assert found == [word for word, _, _ in said]


def test_more_clients_than_there_are_places_for_are_told_so():
    from wyoming.error import Error
    from wyoming.info import Describe, Info

    from kwspot.web.wyoming import MOST_CLIENTS

    async def crowd(port):
        clients = [client.AsyncTcpClient("127.0.0.1", port) for _ in range(MOST_CLIENTS + 1)]
        for one in clients:
            await one.connect()
            await one.write_event(Describe().event())
        answers = await asyncio.gather(*(asyncio.wait_for(one.read_event(), 120) for one in clients))
        for one in clients:
            await one.disconnect()
        return answers

    with serving(f"error: {MOST_CLIENTS} clients are connected already; try again later\n") as (port, _):
        answers = asyncio.run(crowd(port))
        assert sum(Info.is_type(answer.type) for answer in answers) == MOST_CLIENTS
        assert sum(Error.is_type(answer.type) for answer in answers) == 1


def test_a_rate_may_change_from_chunk_to_chunk(port):
    from wyoming.audio import AudioChunk
    from wyoming.wake import Detect, Detection

    waveform, said = spoken(3)
    other = sound_of(resample(waveform, RATE, 48_000), 48_000)
    chunks = [event for event in (*sound_of(waveform, RATE), *other) if isinstance(event, AudioChunk)]
    found = [Detection.from_event(answer).name for answer in asked(port, [Detect(), *chunks], 2 * len(said))]
    assert found == 2 * [word for word, _, _ in said]


def test_only_what_is_asked_for_is_detected_and_silence_is_not(port):
    from wyoming.wake import Detect, Detection, NotDetected

    waveform, said = spoken(3)
    (answer,) = asked(port, [Detect(names=[said[1][0]]), *sound_of(waveform, RATE)], 1)
    assert Detection.from_event(answer).name == said[1][0]
    (answer,) = asked(port, [Detect(), *sound_of(np.zeros(RATE, np.float32), RATE)], 1)
    assert NotDetected.is_type(answer.type)


def test_a_wake_word_that_the_model_does_not_have_is_named():
    from wyoming.wake import Detect, NotDetected

    with serving() as (port, process):
        (answer,) = asked(port, [Detect(names=["hey_jarvis"]), *sound_of(np.zeros(RATE, np.float32), RATE)], 1)
        assert NotDetected.is_type(answer.type)
        assert re.match(
            "error: a client asks for hey_jarvis, which .* does not spot; choose .*: ", process.stderr.readline()
        )


def test_a_rate_that_cannot_be_is_an_error_of_the_protocol_and_one_line():
    from wyoming.error import Error
    from wyoming.info import Describe, Info

    with serving() as (port, process):
        (answer,) = asked(port, sound_of(np.zeros(1000, np.float32), 100), 1)
        text = Error.from_event(answer).text
        assert text.startswith("audio that cannot be used: a sample rate of ")
        assert process.stderr.readline() == f"error: {text}\n"
        (answer,) = asked(port, [Describe()], 1)
        assert Info.is_type(answer.type)


def announced(kind="audio-chunk", data=b"", **lengths):
    """Return the line that begins an event; lengths may be others than what follows."""
    return json.dumps({"type": kind, "data_length": len(data), **lengths}).encode() + b"\n" + data


CHUNK = b'{"rate": 16000, "width": 2, "channels": 1}'
WRONG = {
    "payload": (announced(data=CHUNK, payload_length=60 * 2**20), "payload_length is at most 2,097,152 bytes"),
    "data": (announced(data_length=10**9), "data_length is at most 65,536 bytes"),
    "no number": (announced(payload_length="x"), "payload_length is at most"),
    "less than none": (announced(payload_length=-1), "payload_length is at most"),
    "a long line": (b"x" * 70_000 + b"\n", "a line of more than 65,536 bytes"),
    "junk": (b"GET / HTTP/1.1\r\n", "no event of the protocol"),
    "bytes": (b"\xff\x00\n", "no event of the protocol"),
    "nested": (b"[" * 50_000 + b"\n", "nested too deeply"),
    "a list": (b"[]\n", "a line of JSON with a type is needed"),
    "data that is none": (announced(data=b"[1]"), "no event of the protocol"),
    "names": (announced("detect", b'{"names": 5}'), "no event of the protocol"),
    "no rate": (announced(data=b'{"width": 2, "channels": 1}'), "audio that cannot be used: 'rate'"),
    "width": (announced(data=CHUNK.replace(b"2", b"9")), "1 to 4 bytes a sample"),
    "channels": (announced(data=CHUNK.replace(b": 1}", b": 0}")), "1 or 2 channels"),
    "a list of channels": (announced(data=CHUNK.replace(b": 1}", b": []}")), "1 or 2 channels"),
    "half a sample": (announced(data=CHUNK, payload_length=3) + bytes(3), "not whole"),
    "a minute": (announced(data=CHUNK, payload_length=1_920_000) + bytes(1_920_000), "more than 10 s in a chunk"),
}


def test_what_is_wrong_or_too_much_ends_its_connection_with_one_line():
    from wyoming.error import Error
    from wyoming.event import read_event
    from wyoming.info import Describe, Info

    with serving() as (port, process):
        for name, (sent, reason) in WRONG.items():
            with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
                connection.sendall(sent)
                with connection.makefile("rb") as stream:
                    text = Error.from_event(read_event(stream)).text
                    assert reason in text, name
                    assert stream.read() == b"", name
            assert process.stderr.readline() == f"error: {text}\n", name
        with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
            connection.sendall(announced(data=CHUNK, payload_length=3200) + bytes(100))  # and leaves
        (answer,) = asked(port, [Describe()], 1)
        assert Info.is_type(answer.type)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="connections are listed on Linux")
def test_a_connection_whose_other_side_vanished_is_noticed():
    with serving() as (port, _), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b'{"type": "describe"}\n')
        connection.recv(1)
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        (timer,) = [line[5] for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "01"]
    assert timer.startswith("02:")  # keepalive


def test_a_signal_ends_it_while_sound_is_worked_on():
    with serving() as (port, process):
        chunk = announced(data=CHUNK, payload_length=320_000) + bytes(320_000)
        with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
            connection.sendall(chunk * 20)
            process.terminate()
            assert process.wait(120) == 128 + signal.SIGTERM


@pytest.mark.parametrize(("host", "code"), [("a..b", 1), ("", 2)])
def test_an_address_that_is_none_is_one_line(host, code):
    command = [sys.executable, "-m", "kwspot", "serve", "--wyoming", "--host", host]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert "--host" in done.stderr


def test_without_a_protocol_it_is_a_usage_error():
    done = subprocess.run([sys.executable, "-m", "kwspot", "serve"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: serve needs a protocol: --wyoming\n")
