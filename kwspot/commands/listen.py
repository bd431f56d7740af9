"""`kwspot listen`."""

from collections.abc import Iterator
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import (
    RUNS,
    AsCsv,
    AsJson,
    LiveStreaming,
    Microphone,
    ModelName,
    Quiet,
    RawRate,
    RefractoryMs,
    RunsDir,
    SmoothingMs,
    Threshold,
)
from kwspot.commands.spot import EventLines
from kwspot.errors import ConfigError

if TYPE_CHECKING:
    from kwspot.audio.reading import Waveform
    from kwspot.inference.detector import Event


def _list_microphones(wanted: bool) -> None:
    if wanted:
        show_microphones()
        raise typer.Exit


ListMicrophones = Annotated[
    bool,
    typer.Option(
        "--list-microphones", callback=_list_microphones, is_eager=True, help="List the input devices and exit."
    ),
]


def listen(
    source: Annotated[
        str | None, typer.Argument(metavar="-", help="- for standard input. Default: the microphone.")
    ] = None,
    model: ModelName = None,
    threshold: Threshold = None,
    smoothing_ms: SmoothingMs = None,
    refractory_ms: RefractoryMs = None,
    stream: LiveStreaming = None,
    microphone: Microphone = None,
    list_microphones: ListMicrophones = False,
    command: Annotated[
        str | None, typer.Option("--exec", metavar="CMD", help="Shell command to run at every keyword.")
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    raw_rate: RawRate = None,
    quiet: Quiet = False,
    runs: RunsDir = RUNS,
) -> None:
    r"""Listen to the microphone and print every keyword as soon as it is spoken.

    Prints one line per keyword: start and end in seconds since the start, word,
    posterior; tab-separated in a pipe. A keyword is printed when it is known,
    about when it ends: its start is then the earliest that it can be.
    Stop with Ctrl-C.
    Needs: pip install 'kwspot\[mic]' (not for - , standard input).

    The command of --exec gets the keyword in $KWSPOT_WORD, $KWSPOT_START_S,
    $KWSPOT_END_S and $KWSPOT_POSTERIOR. Listening does not wait for it, and
    its output goes to stderr.

    Examples:

      kwspot listen

      kwspot listen --threshold 0.9 --exec 'notify-send "$KWSPOT_WORD"'

      kwspot listen --microphone 2 --json | jq --unbuffered .word

      arecord -f S16_LE -r 16000 -t raw | kwspot listen - --raw-rate 16000
    """
    if source not in (None, "-"):
        raise ConfigError(f"{source}: listen takes - or the microphone; for files use 'kwspot spot'")
    if source is None and raw_rate is not None:
        raise ConfigError("--raw-rate needs standard input: kwspot listen - --raw-rate HZ")
    if source is not None and microphone is not None:
        raise ConfigError("listen to standard input or to --microphone, not to both")
    form = console.chosen("columns", json=as_json, csv=as_csv)
    from kwspot.inference.pipeline import detection_settings, spot_at_once
    from kwspot.inference.streaming import open_model

    streaming_model = open_model(model, runs, streaming=stream)
    settings = detection_settings(
        streaming_model.metadata, threshold=threshold, smoothing_ms=smoothing_ms, refractory_ms=refractory_ms
    )
    from kwspot.inference.detector import keywords_of

    blocks, name = (
        standard_input(streaming_model.sample_rate, raw_rate)
        if source
        else open_microphone(streaming_model.sample_rate, microphone)
    )
    if not quiet:
        words = " ".join(keywords_of(streaming_model.labels))
        console.note(f"listening to {name} with {streaming_model.name}: {words}")
    lines, reactions = EventLines(streaming_model.name, form), Reactions(command)
    for event in spot_at_once(streaming_model, reactions.checked(blocks), settings):
        lines.event(None, event)
        reactions.start(event)
    reactions.wait()


def standard_input(sample_rate: int, raw_rate: int | None) -> tuple[Iterator["Waveform"], str]:
    """Return the blocks of standard input, short ones, and its name."""
    from kwspot.audio.blocks import SHORT_BLOCK_S, pipe_blocks
    from kwspot.audio.inputs import Pipe
    from kwspot.audio.reading import STDIN

    return pipe_blocks(Pipe(STDIN, raw_rate), sample_rate, SHORT_BLOCK_S), "standard input"


def open_microphone(sample_rate: int, wanted: str | None) -> tuple[Iterator["Waveform"], str]:
    """Return the blocks of a microphone and its name; lost samples are reported once."""
    from kwspot.audio.microphone import find_device, microphone_blocks

    device, said = find_device(wanted), False

    def lost() -> None:
        nonlocal said
        if not said:
            said = True
            console.note("samples were lost: this machine is too busy; words may be missed, and times may be too early")

    name = f"microphone {device.number} ({device.name}, {device.sample_rate} Hz)"
    return microphone_blocks(device, sample_rate, lost), name


def show_microphones() -> None:
    """Print one line per input device: number, name, system, rate; the default one with a star."""
    from kwspot.audio.microphone import list_devices

    for device in list_devices():
        star = "*" if device.is_default else " "
        cells = [f"{device.number:2}", device.name, device.system, f"{device.sample_rate} Hz"]
        console.say(f"{star} {'  '.join(cells)}" if sys.stdout.isatty() else "\t".join([*cells, star]).strip())


class Reactions:
    """Runs a command at every event without waiting for it; one that fails is a line on stderr."""

    def __init__(self, command: str | None) -> None:
        self.command = command
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, event: "Event") -> None:
        """Start the command; the event reaches it through the environment, never as text of the shell."""
        if self.command is None:
            return
        values = {"WORD": event.word, "START_S": f"{event.start_s:.3f}", "END_S": f"{event.end_s:.3f}"}
        values |= {"POSTERIOR": f"{event.posterior:.6f}"}
        environment = os.environ | {f"KWSPOT_{key}": value for key, value in values.items()}
        process = subprocess.Popen(
            self.command, shell=True, env=environment, stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(), stderr=sys.stderr.fileno(),
        )  # fmt: skip
        self._running.append((event.word, process))

    def checked(self, blocks: Iterator["Waveform"]) -> Iterator["Waveform"]:
        """Look after the commands between blocks."""
        for block in blocks:
            self._running = [pair for pair in self._running if not self._ended(*pair)]
            yield block

    def wait(self) -> None:
        """Wait for what still runs."""
        for word, process in self._running:
            process.wait()
            self._ended(word, process)
        self._running = []

    def _ended(self, word: str, process: "subprocess.Popen[bytes]") -> bool:
        code = process.poll()
        if code:
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            console.error(f"--exec: the command for '{word}' ended with {how}")
        return code is not None
