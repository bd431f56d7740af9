"""A report of runs as one HTML file that needs nothing else: tables, curves, confusions, and clips that went wrong.

runs -> sections of HTML, figures inside as SVG, clips as WAV. Light and dark, the figures too.
"""

from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
import re

from kwspot import __version__
from kwspot.audio.reading import AudioError, as_wav, read_waveform
from kwspot.corpus.layout import TEST, read_corpus
from kwspot.evaluation.comparison import COLUMNS, sort_rows, table_rows
from kwspot.experiments.runs import MODEL, Run
from kwspot.inference.spotter import Prediction, Spotter
from kwspot.reports.accuracy import summary
from kwspot.reports.det import plot_det
from kwspot.reports.plots import plot_confusion, plot_cost, plot_overlay
from kwspot.reports.results_table import caption, shown
from kwspot.reports.robustness import plot_robustness
from kwspot.reports.style import PAGE, svg_source
from kwspot.tasks import UNKNOWN

N_CLIPS = 20  # that went wrong, of a run: those that it was surest of
COLOURS = "; ".join(f"--{name}: light-dark({light}, {dark})" for name, (light, dark) in PAGE.items())
STYLE = """
:root {color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif}
body {max-width: 70rem; margin: 2rem auto; padding: 0 1rem}
body {background: var(--paper); color: var(--ink)}
h1, h2 {color: var(--accent); overflow-wrap: anywhere}
.scrolled {overflow-x: auto}
table {border-collapse: collapse; font-variant-numeric: tabular-nums}
th, td {padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right}
th, td {white-space: nowrap}
th:first-child, td:first-child {text-align: left}
img {max-width: 100%; border-radius: 8px}
audio {height: 2rem; vertical-align: middle}
"""


@dataclass(frozen=True)
class Wrong:
    """A test clip that a model took for another word."""

    name: str
    word: str
    prediction: Prediction
    content: bytes  # WAV


def wrong_clips(run: Run, data: Path, report: Callable[[int, int], None] = lambda done, total: None) -> list[Wrong]:
    """Predict the test clips of a corpus with a run's model file; return those that it was surest of, and wrong.

    MissingError without the corpus or the file.
    """
    spotter = Spotter(run.path / MODEL, threads=1)
    clips = [clip for clip in read_corpus(data).clips if clip.split == TEST]
    clips = [clip for clip in clips if clip.word in spotter.labels or UNKNOWN in spotter.labels]
    wrong = []
    for i, clip in enumerate(clips):
        report(i, len(clips))
        try:
            prediction = spotter.predict_file(data / clip.name)
        except AudioError:
            continue
        if prediction.word != (clip.word if clip.word in spotter.labels else UNKNOWN):
            wrong.append((clip, prediction))
    wrong.sort(key=lambda one: -one[1].posterior)
    return [
        Wrong(clip.name, clip.word, found, as_wav(read_waveform(data / clip.name))) for clip, found in wrong[:N_CLIPS]
    ]


def html(runs: Sequence[Run], wrong: dict[str, list[Wrong]]) -> str:
    """Write the report of finished runs; `wrong` holds the clips of each run that went wrong, by its id."""
    body = "\n".join([*_overview(runs), *(part for run in runs for part in _of_run(run, wrong.get(run.id, [])))])
    title = f"kwspot: {', '.join(dict.fromkeys(run.experiment for run in runs))}"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>:root {{{COLOURS}}}{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>\n"
        f"<footer><p>Written by kwspot {__version__} from run records.</p></footer>\n</body>\n</html>\n"
    )


def _overview(runs: Sequence[Run]) -> Iterator[str]:
    rows = sort_rows(table_rows(runs), "val-acc")
    lines = [[row.label, *shown(row)] for row in rows]
    yield "<h2>Results</h2>"
    yield _table("Results", ["Model", *(column.title for column in COLUMNS)], lines)
    yield f"<p>{_prose(caption(rows))}</p>"
    yield "<h2>Learning curves</h2>"
    for curve in ("accuracy_validation", "loss_validation"):
        yield _figure(lambda path, curve=curve: plot_overlay(rows, curve, path), f"{curve} of all runs")  # type: ignore[misc]
    if len({row.scope for row in rows}) == 1 and sum(row.figures["accuracy_test"] is not None for row in rows) > 1:
        yield "<h2>Accuracy against cost</h2>"
        yield _figure(lambda path: plot_cost(rows, path), "Test accuracy against MACs of a clip")


def _of_run(run: Run, wrong: Sequence[Wrong]) -> Iterator[str]:
    yield f"<h2>{escape(run.id)}</h2><p>{_prose(run.record['why'])}</p>"
    if evaluation := run.evaluations.get(TEST):
        yield "".join(f"<p>{_prose(line)}</p>" for line in summary(evaluation))
        yield _figure(lambda path: plot_confusion(evaluation, path, "test split"), f"Confusion matrix of {run.id}")
    if alarms := run.false_alarms.get(TEST):
        yield _figure(lambda path: plot_det({run.experiment: alarms}, path), "FRR against false alarms an hour")
    if robustness := run.robustness.get(TEST):
        yield _figure(
            lambda path: plot_robustness({run.experiment: robustness}, path), "Accuracy in noise and other trouble"
        )
    if wrong:
        yield f"<h3>Test clips that went wrong, the surest first ({len(wrong)})</h3>"
        cells = [
            [
                escape(one.name),
                escape(one.word),
                escape(one.prediction.word),
                f"{one.prediction.posterior:.2f}",
                _sound(one),
            ]
            for one in wrong
        ]
        yield _table(f"Clips of {run.id}", ["clip", "said", "taken for", "posterior", "listen"], cells, is_html=True)


def _prose(text: str) -> str:
    """Escape a text; what stands between backticks is code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _table(title: str, head: Sequence[str], lines: Sequence[Sequence[str]], is_html: bool = False) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{cell if is_html else escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join(row(line, "td") for line in lines)
    table = f"<table><thead>{row(head, 'th')}</thead><tbody>{body}</tbody></table>"
    return f'<div class="scrolled" tabindex="0" role="region" aria-label="{escape(title)}">{table}</div>'


def _figure(draw: Callable[[Path], None], alt: str) -> str:
    return f'<p><img alt="{escape(alt)}" src="{svg_source(draw)}"></p>'


def _sound(one: Wrong) -> str:
    source = b64encode(one.content).decode()
    return (
        f'<audio controls preload="none" aria-label="{escape(one.name)}" src="data:audio/wav;base64,{source}"></audio>'
    )
