"""The Wyoming service, asked by the protocol's own client as Home Assistant asks it."""

import asyncio
from contextlib import contextmanager
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
def serving():
    """Serve a model; yield the port and the process."""
    port = free_port()
    command = [sys.executable, "-m", "kwspot", "serve", "--wyoming", "--port", str(port), *MODEL]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        assert line.startswith(f"kwspot serve: tcp://127.0.0.1:{port} with keywords10: yes no"), line
        yield port, process
        process.terminate()
        assert process.communicate()[1] == "error: terminated\n"  # and no traceback
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


def test_only_what_is_asked_for_is_detected_and_silence_is_not(port):
    from wyoming.wake import Detect, Detection, NotDetected

    waveform, said = spoken(3)
    (answer,) = asked(port, [Detect(names=[said[1][0]]), *sound_of(waveform, RATE)], 1)
    assert Detection.from_event(answer).name == said[1][0]
    (answer,) = asked(port, [Detect(), *sound_of(np.zeros(RATE, np.float32), RATE)], 1)
    assert NotDetected.is_type(answer.type)


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


def test_without_a_protocol_it_is_a_usage_error():
    done = subprocess.run([sys.executable, "-m", "kwspot", "serve"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: serve needs a protocol: --wyoming\n")
