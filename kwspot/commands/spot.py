"""`kwspot spot`."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import RUNS, ModelName, RawRate, RefractoryMs, RunsDir, SmoothingMs, Streaming, Threshold
from kwspot.errors import ConfigError, KwspotError

if TYPE_CHECKING:
    from kwspot.inference.detector import Event

SCHEMA = 1  # of a line of --json


def spot(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Files, folders, patterns, @LIST or - (standard input).")
    ],
    model: ModelName = None,
    threshold: Threshold = None,
    smoothing_ms: SmoothingMs = None,
    refractory_ms: RefractoryMs = None,
    stream: Streaming = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per keyword.")] = False,
    labels: Annotated[bool, typer.Option("--labels", help="Print a label track of one file for Audacity.")] = False,
    raw_rate: RawRate = None,
    runs: RunsDir = RUNS,
) -> None:
    """Find the keywords in long recordings: when each begins and ends, and its posterior.

    Prints one line per spoken keyword, as soon as it is detected: path, start and
    end in seconds, word, posterior; tab-separated in a pipe. Memory does not
    grow with the length. A file that fails is reported on stderr (with --json
    as an object with "error"), the others are still searched, and the exit code
    is 1.

    Examples:

      kwspot spot meeting.wav

      kwspot spot --threshold 0.9 --json recordings/ | jq .word

      kwspot spot --labels meeting.wav > meeting.txt

      sox meeting.m4a -t wav - | kwspot spot -
    """
    from kwspot.audio.blocks import long_sounds
    from kwspot.inference.pipeline import detection_settings
    from kwspot.inference.pipeline import spot as spot_blocks
    from kwspot.inference.streaming import open_model

    streaming_model = open_model(model, runs, streaming=stream)
    settings = detection_settings(
        streaming_model.metadata, threshold=threshold, smoothing_ms=smoothing_ms, refractory_ms=refractory_ms
    )
    lines = EventLines(streaming_model.name, "json" if as_json else "labels" if labels else "columns")
    n_failed = 0
    for n_before, (name, blocks) in enumerate(long_sounds(paths, streaming_model.sample_rate, raw_rate)):
        if labels and n_before:
            raise ConfigError("--labels makes one track; give one recording at a time")
        try:
            if isinstance(blocks, KwspotError):
                raise blocks
            for event in spot_blocks(streaming_model, blocks, settings):
                lines.event(name, event)
        except KwspotError as error:
            n_failed += 1
            lines.failure(name, error)
    if n_failed:
        raise typer.Exit(KwspotError.exit_code)


class EventLines:
    """Prints one line per detection: JSON, Audacity's labels, columns on a terminal, tab-separated values elsewhere."""

    def __init__(self, model: str, form: str) -> None:
        self.model, self.form = model, form
        self.gap = "  " if sys.stdout.isatty() else "\t"
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # a path may be no UTF-8

    def event(self, name: str | None, event: "Event") -> None:
        """Print a detection, with the name of its recording if there is one."""
        start, end = event.start_s, event.end_s
        if self.form == "json":
            times = {"start_s": round(start, 3), "end_s": round(end, 3)}
            self._object(name, word=event.word, posterior=round(event.posterior, 6), **times)
        elif self.form == "labels":
            self._line(f"{start:.3f}\t{end:.3f}\t{event.word}")
        else:
            width = 8 if self.gap == "  " else 0
            cells = [f"{start:{width}.2f}", f"{end:{width}.2f}", event.word.ljust(width), f"{event.posterior:.2f}"]
            self._line(self.gap.join([*([] if name is None else [name]), *cells]))

    def failure(self, name: str, error: KwspotError) -> None:
        """Print why a recording failed."""
        if self.form == "json":
            self._object(name, error=str(error))
        else:
            console.error(str(error))

    def _object(self, name: str | None, **values: object) -> None:
        path = {} if name is None else {"path": name}
        self._line(json.dumps({"schema": SCHEMA, **path, **values, "model": self.model}))

    def _line(self, text: str) -> None:
        console.say(text)
        sys.stdout.flush()
