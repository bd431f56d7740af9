"""A microphone -> blocks (n,) float32 at the rate wanted, through PortAudio (the only importer of sounddevice).

The device runs at its own rate; what it gives is resampled without a seam. PortAudio mixes its channels down. What was
recorded is played here as well.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kwspot.audio.blocks import SHORT_BLOCK_S, resampled
from kwspot.audio.reading import Waveform
from kwspot.errors import ConfigError, KwspotError, MissingError
from kwspot.extras import require

BUFFER_S = 0.5  # of sound that the device keeps while the model works


@dataclass(frozen=True)
class Device:
    """An input: its number and name for `--microphone`, the system it belongs to, and its own rate in Hz."""

    number: int
    name: str
    system: str
    sample_rate: int
    is_default: bool


def list_devices() -> list[Device]:
    """List what can be listened with; MissingError without sounddevice or PortAudio."""
    sounddevice = _sounddevice()
    systems, default = sounddevice.query_hostapis(), sounddevice.default.device[0]
    return [
        Device(
            number=device["index"],
            name=device["name"],
            system=systems[device["hostapi"]]["name"],
            sample_rate=round(device["default_samplerate"]),
            is_default=device["index"] == default,
        )
        for device in sounddevice.query_devices()
        if device["max_input_channels"]
    ]


def find_device(wanted: str | None = None) -> Device:
    """Return the input of this number, or whose name holds these words, or the default one.

    No input at all: MissingError; none or several of the name: ConfigError.
    """
    devices = list_devices()
    if not devices:
        raise MissingError("no microphone: PortAudio finds no input device; 'kwspot listen -' reads a pipe")
    if wanted is None:
        return next((device for device in devices if device.is_default), devices[0])
    if wanted.isdecimal():
        found = [device for device in devices if device.number == int(wanted)]
    else:
        found = [device for device in devices if device.name == wanted]
        found = found or [device for device in devices if wanted.lower() in device.name.lower()]
    if len(found) != 1:
        names = ", ".join(f"{device.number} {device.name}" for device in found or devices)
        raise ConfigError(f"{len(found) or 'no'} input devices for '{wanted}'; there are: {names}")
    return found[0]


def microphone_blocks(device: Device, sample_rate: int, lost: Callable[[], None]) -> Iterator[Waveform]:
    """Yield what a device records, at `sample_rate` Hz, without end; `lost` is called when it lost samples.

    KwspotError if it cannot be opened or goes away.
    """
    return resampled(_recorded(device, lost), sample_rate)


def play(waveform: Waveform, sample_rate: int) -> None:
    """Play a waveform (n_samples,) on the default output, to its end; KwspotError if there is none."""
    sounddevice = _sounddevice()
    try:
        sounddevice.play(waveform, sample_rate, blocking=True)
    except sounddevice.PortAudioError as error:
        raise KwspotError(f"no output to play on: {_reason(error)}") from error


def _recorded(device: Device, lost: Callable[[], None]) -> Iterator[tuple[Waveform, int]]:
    sounddevice = _sounddevice()
    n = round(device.sample_rate * SHORT_BLOCK_S)
    try:
        with sounddevice.InputStream(
            device=device.number, samplerate=device.sample_rate, channels=1, dtype="float32", latency=BUFFER_S
        ) as stream:
            while True:
                samples, overflowed = stream.read(n)
                if overflowed:
                    lost()
                # Floats of a device may be no numbers: ALSA's null device gives what lay in memory.
                yield np.nan_to_num(samples[:, 0]).clip(-1, 1), device.sample_rate
    except sounddevice.PortAudioError as error:
        raise KwspotError(f"microphone {device.number} ({device.name}): {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Take PortAudio's sentence out of what may be a message, a number and the system's own words."""
    return " ".join(str(error.args[0] if error.args else error).split())


def _sounddevice() -> Any:
    """Import sounddevice, which loads PortAudio."""
    require("listening", "sounddevice")
    try:
        import sounddevice
    except OSError as error:
        raise MissingError("listening needs PortAudio; on Debian and Ubuntu run: apt install libportaudio2") from error
    return sounddevice
