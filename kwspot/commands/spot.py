"""`kwspot spot`."""

from collections.abc import Iterator
import json
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import (
    RUNS,
    AsCsv,
    AsJson,
    ModelName,
    Quiet,
    RawRate,
    RefractoryMs,
    RunsDir,
    SmoothingMs,
    Streaming,
    Threshold,
    only_one,
)
from kwspot.errors import KwspotError
from kwspot.names import escaped

if TYPE_CHECKING:
    from kwspot.audio.reading import Waveform
    from kwspot.inference.detector import Event

    Sound = tuple[str, Iterator[Waveform] | KwspotError]

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
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    labels: Annotated[bool, typer.Option("--labels", help="Print a label track of one file for Audacity.")] = False,
    textgrid: Annotated[
        bool, typer.Option("--textgrid", help="Print a TextGrid of one file for Praat, which ELAN imports.")
    ] = False,
    srt: Annotated[bool, typer.Option("--srt", help="Print subtitles of one file.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw one recording with its posteriors and keywords, as .svg or .png."),
    ] = None,
    raw_rate: RawRate = None,
    quiet: Quiet = False,
    runs: RunsDir = RUNS,
) -> None:
    """Find the keywords in long recordings: when each begins and ends, and its posterior.

    Prints one line per spoken keyword, as soon as it is detected: path, start and
    end in seconds, word, posterior; tab-separated in a pipe. Memory does not
    grow with the length. A file that fails is reported on stderr (with --json
    as an object with "error"), the others are still searched, and the exit code
    is 1. If no keyword was detected at all, a line on stderr says so.

    Examples:

      kwspot spot meeting.wav

      kwspot spot --threshold 0.9 --json recordings/ | jq .word

      kwspot spot --labels meeting.wav > meeting.txt

      kwspot spot --textgrid meeting.wav > meeting.TextGrid

      kwspot spot --srt meeting.wav > meeting.srt

      kwspot spot meeting.wav --plot meeting.svg

      sox meeting.m4a -t wav - | kwspot spot -
    """
    form = console.chosen("columns", json=as_json, csv=as_csv, labels=labels, textgrid=textgrid, srt=srt)
    if plot:
        from kwspot.reports.style import check_form

        check_form(plot)
    from kwspot.audio.blocks import long_sounds
    from kwspot.inference.pipeline import LONGEST_TRACE_S, Trace, detection_settings
    from kwspot.inference.pipeline import spot as spot_blocks
    from kwspot.inference.streaming import open_model

    streaming_model = open_model(model, runs, streaming=stream)
    settings = detection_settings(
        streaming_model.metadata, threshold=threshold, smoothing_ms=smoothing_ms, refractory_ms=refractory_ms
    )
    sounds = long_sounds(paths, streaming_model.sample_rate, raw_rate)
    if plot or form in ("labels", "textgrid", "srt"):
        sounds = only_one(sounds, "plot" if plot else form)
    lines, trace = EventLines(streaming_model.name, form), Trace() if plot else None
    n_failed = n_recordings = 0
    with console.progress("spot", unit="s", quiet=quiet, brief=True) as report:
        passed = Passed(streaming_model.sample_rate, report)
        for name, blocks in sounds:
            try:
                if isinstance(blocks, KwspotError):
                    raise blocks
                before_s = passed.seconds
                for event in spot_blocks(streaming_model, passed(blocks, name), settings, trace):
                    lines.event(name, event)
                lines.end(passed.seconds - before_s)
                n_recordings += 1
            except KwspotError as error:
                n_failed += 1
                lines.failure(name, error)
    if n_recordings and not (lines.n_events or quiet):
        what = "1 recording" if n_recordings == 1 else f"{n_recordings:,} recordings"
        console.note(f"no keyword detected in {what}, {passed.seconds:.1f} s; threshold {settings.threshold:g}")
    if plot and trace and n_recordings:
        from kwspot.reports.sound import plot_spotting

        plot_spotting(trace, streaming_model, settings, plot)
        cut = f", the first {LONGEST_TRACE_S / 60:g} minutes" if trace.is_cut else ""
        console.note(f"wrote {plot}{cut}")
    if n_failed:
        raise typer.Exit(KwspotError.exit_code)


class Passed:
    """Counts the sound that passes, and reports it: seconds of each recording."""

    def __init__(self, sample_rate: int, report: console.Report) -> None:
        self.sample_rate, self.report = sample_rate, report
        self.seconds = 0.0  # of all

    def __call__(self, blocks: "Iterator[Waveform]", name: str) -> "Iterator[Waveform]":
        """Pass on the blocks of a recording."""
        from kwspot.audio.reading import promised_s

        before_s = self.seconds
        total_s = promised_s(Path(name)) if Path(name).is_file() else None
        for block in blocks:
            yield block
            self.seconds += len(block) / self.sample_rate
            self.report(round(self.seconds - before_s), None if total_s is None else round(total_s), name)


class EventLines:
    """Prints one line per detection: JSON, CSV, Audacity's labels, subtitles, columns on a terminal, tabs elsewhere.

    A TextGrid is printed at the end of its recording, since it begins with the number of its intervals.
    """

    def __init__(self, model: str, form: str) -> None:
        self.model, self.form = model, form
        self.n_events = 0
        self.events: list[Event] = []  # of a TextGrid
        self.gap = "  " if sys.stdout.isatty() else "\t"
        if form == "csv":
            self._line("path,word,posterior,start_s,end_s,model")

    def event(self, name: str | None, event: "Event") -> None:
        """Print a detection, with the name of its recording if there is one."""
        self.n_events += 1
        start, end = event.start_s, event.end_s
        if self.form == "json":
            self._object(name, **event.to_dict())
        elif self.form == "csv":
            figures = [f"{event.posterior:.6f}", f"{start:.3f}", f"{end:.3f}"]
            self._line(console.csv_line([name, event.word, *figures, self.model]))
        elif self.form == "textgrid":
            self.events.append(event)
        elif self.form == "srt":
            from kwspot.inference.labels import subtitle

            self._line(subtitle(self.n_events, event))
        elif self.form == "labels":
            self._line(f"{start:.3f}\t{end:.3f}\t{event.word}")
        else:
            width = 8 if self.gap == "  " else 0
            cells = [f"{start:{width}.2f}", f"{end:{width}.2f}", event.word.ljust(width), f"{event.posterior:.2f}"]
            self._line(self.gap.join([*([] if name is None else [escaped(name)]), *cells]))

    def end(self, seconds: float) -> None:
        """End a recording of so many seconds."""
        if self.form == "textgrid":
            from kwspot.inference.labels import textgrid

            self._line(textgrid(self.events, seconds))

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
