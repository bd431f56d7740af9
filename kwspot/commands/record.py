"""`kwspot record`."""

from collections.abc import Iterator
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from kwspot.commands import console
from kwspot.commands.listen import ListMicrophones, open_microphone
from kwspot.commands.options import Microphone
from kwspot.errors import ConfigError

if TYPE_CHECKING:
    from kwspot.audio.reading import Waveform

SAMPLE_RATE = 16_000  # Hz, of what is written: the encoder's
METER_DB = (-60.0, 0.0)
METER_WIDTH = 30
PATIENCE_S = 10.0  # of silence
FAINT_S = 1.5  # of sound that is no noise and too quiet to record


def record(
    word: Annotated[str, typer.Argument(metavar="WORD", help='To say; a phrase in quotation marks: "lights on".')],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder of words: takes go to FOLDER/WORD.")],
    takes: Annotated[int, typer.Option("--takes", min=1, help="How many good ones to record.")] = 5,
    speaker: Annotated[
        str | None, typer.Option("--speaker", metavar="NAME", help="Who speaks: takes go to FOLDER/WORD/NAME.")
    ] = None,
    play: Annotated[bool, typer.Option("--play", help="Play every take back, and ask whether to keep it.")] = False,
    microphone: Microphone = None,
    list_microphones: ListMicrophones = False,
) -> None:
    """Record takes of a word with the microphone, for 'kwspot enroll --clips'.

    Say the word, pause, say it again. Each take is trimmed and written as
    FOLDER/WORD/take_1.wav and so on, after those that are there; one that is
    clipped, too long or without a pause around it is refused. Silence is no
    take. Ctrl-C ends it and
    keeps what was written.

    Examples:

      kwspot record computer --out clips

      kwspot record "lights on" --out clips --takes 10 --speaker anna

      kwspot record computer --out clips --play
    """
    folder = out / _folder_name(word) / (_folder_name(speaker) if speaker else "")
    from kwspot.enrollment.recording import refused, write_take

    n_kept = 0
    while n_kept < takes:
        for take in _takes(word, microphone, n_kept, takes):
            if reason := refused(take, SAMPLE_RATE):
                console.note(f"not kept: {reason}")
                continue
            if play and not _wanted(take):
                break  # a new stream: the microphone would have recorded the playing
            n_kept += 1
            console.say(str(write_take(take, SAMPLE_RATE, folder)))
            console.note(f"take {n_kept} of {takes}")
            if play or n_kept == takes:
                break
        else:
            break  # the sound has ended
    console.note(f"next: kwspot enroll NAME --clips {out}")


def _takes(word: str, wanted: str | None, n_kept: int, n_wanted: int) -> Iterator["Waveform"]:
    """Open the microphone and yield what is said, with a meter of the level on a terminal."""
    from kwspot.enrollment.recording import QUIETEST_DB, takes_in

    blocks, name = open_microphone(SAMPLE_RATE, wanted)
    console.note(f"{name}: say '{word}' {n_wanted - n_kept} times, with pauses")
    yield from takes_in(blocks, SAMPLE_RATE, Meter(QUIETEST_DB))


class Meter:
    """Shows the level on a terminal; says it when a microphone gives nothing at all, or nothing above `quietest_db`."""

    def __init__(self, quietest_db: float) -> None:
        self.quietest_db = quietest_db
        self.faint_s = 0.0
        self.on_terminal = sys.stderr.isatty()
        self.silent_s = 0.0

    def __call__(self, level_db: float, seconds: float, rises: bool) -> None:
        """Take the level of the next piece of sound, and whether it rises above the noise."""
        low, high = METER_DB
        if self.on_terminal:
            filled = round(METER_WIDTH * min(max((level_db - low) / (high - low), 0), 1))
            sys.stderr.write(f"\r[{'#' * filled:{METER_WIDTH}}] {max(level_db, low):4.0f} dB \r")
            sys.stderr.flush()
        self.silent_s = self.silent_s + seconds if level_db < low else 0.0
        if self.silent_s > PATIENCE_S:
            self.silent_s = -float("inf")  # once
            console.note(f"silence for {PATIENCE_S:g} s; is the microphone muted? --list-microphones shows the others")
        if level_db > self.quietest_db:
            self.faint_s = min(self.faint_s, 0.0)
        elif rises and level_db >= low:
            self.faint_s += seconds
        if self.faint_s > FAINT_S:
            self.faint_s = -float("inf")  # once
            console.note(
                f"too quiet to record (below {self.quietest_db:g} dB); come nearer, or raise the microphone's level"
            )


def _wanted(take: "Waveform") -> bool:
    from kwspot.audio.microphone import play

    play(take, SAMPLE_RATE)
    return typer.confirm("keep it?", default=True, err=True)


def _folder_name(name: str) -> str:
    """Return a word or a speaker as the name of a folder; ConfigError if it is none."""
    name = " ".join(name.split())
    if not (name.isprintable() and name[:1].isalnum()) or set(name) & set('/\\:*?"<>|'):
        raise ConfigError(f"'{name}': cannot name a folder; give letters, digits, spaces, '-' or '_'")
    return name
