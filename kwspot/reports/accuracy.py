"""An evaluation or a run as text for the terminal: accuracy and interval, words, confusions; 80 columns at most.

`evaluation` is what `eval-<split>.json` holds (evaluation/metrics.py). A confusion matrix too wide for the terminal is
folded into blocks of columns.
"""

from collections.abc import Mapping, Sequence
import textwrap
from typing import Any

from kwspot.evaluation.comparison import scope_of
from kwspot.experiments.runs import Run
from kwspot.reports.recordings import card_lines
from kwspot.reports.results_table import ABSENT, align
from kwspot.reports.robustness import clips_of, in_a_line
from kwspot.tasks import SILENCE, silence_of

FULL_MATRIX = 12  # classes up to which the matrix is shown by default
PAIRS = 10


def _percent(fraction: float | None, digits: int = 1) -> str:
    return ABSENT if fraction is None else f"{100 * fraction:.{digits}f}"


def summary(evaluation: Mapping[str, Any]) -> list[str]:
    """Say in two lines what was measured and how well it went."""
    lines = [
        f"{evaluation.get('split', 'clips')}: {evaluation['n']:,} clips of {evaluation['n_speakers']:,} speakers,"
        f" {len(evaluation['classes'])} classes"
    ]
    if SILENCE in evaluation["classes"] and "split" in evaluation:
        lines[0] += f", silence: {silence_of(evaluation['split'])}"
    accuracy = f"accuracy {_percent(evaluation['accuracy'])} %"
    if evaluation["interval"]:
        low, high = map(_percent, evaluation["interval"])
        accuracy += f" ({100 * evaluation['confidence']:.0f} % interval over speakers {low} to {high} %)"
    else:
        accuracy += " (no interval: one speaker)" if evaluation["n_speakers"] < 2 else ""
    loss = evaluation["loss"]
    return [*lines, accuracy if loss is None else f"{accuracy}, loss {loss:.3f}"]


def per_word(evaluation: Mapping[str, Any], width: int = 80) -> list[str]:
    """Tabulate clips, precision and recall of every class, in two halves side by side where they fit."""
    head = ["word", "clips", "prec %", "rec %"]
    lines = [
        [word["class"], str(word["n"]), _percent(word["precision"]), _percent(word["recall"])]
        for word in evaluation["per_class"]
    ]
    half = (len(lines) + 1) // 2
    left, right = align([head, *lines[:half]]), align([head, *lines[half:]])
    if len(lines) <= FULL_MATRIX or len(left[0]) + 6 + len(right[0]) > width:
        return align([head, *lines])
    right += [""] * (len(left) - len(right))
    return [f"{a:{len(left[0])}}      {b}".rstrip() for a, b in zip(left, right, strict=True)]


def confused_pairs(evaluation: Mapping[str, Any]) -> list[str]:
    """List the most confused pairs: true word, what it was taken for, clips, share of the true word's clips."""
    clips = {word["class"]: word["n"] for word in evaluation["per_class"]}
    lines = [
        [pair["true"], pair["predicted"], str(pair["n"]), _percent(pair["n"] / clips[pair["true"]])]
        for pair in evaluation["confused"][:PAIRS]
    ]
    return align([["true", "taken for", "clips", "share %"], *lines], left=2) if lines else []


def confusion_lines(evaluation: Mapping[str, Any], width: int = 80) -> list[str]:
    """Tabulate the confusion matrix, rows true and columns predicted, a dot for none.

    Columns bear the words if those fit, else the numbers that stand before the words in the rows.
    """
    classes: Sequence[str] = evaluation["classes"]
    counts = [[str(n) if n else "·" for n in row] for row in evaluation["confusion"]]
    named = align([["", *classes], *([name, *row] for name, row in zip(classes, counts, strict=True))], gap=1)
    if len(named[-1]) <= width:
        return named
    numbers = [str(i + 1) for i in range(len(classes))]
    cell = 1 + max(len(text) for row in [numbers, *counts] for text in row)
    labels = [f"{number:>{len(numbers[-1])}} {name}" for number, name in zip(numbers, classes, strict=True)]
    label = max(map(len, labels))
    step = max(1, (width - label) // cell)
    lines: list[str] = []
    for start in range(0, len(classes), step):
        here = slice(start, start + step)
        lines += [""] if start else []
        lines.append(" " * label + "".join(f"{number:>{cell}}" for number in numbers[here]))
        for name, row in zip(labels, counts, strict=True):
            lines.append(f"{name:{label}}" + "".join(f"{text:>{cell}}" for text in row[here]))
    return lines


def streaming_line(streamed: Mapping[str, Any]) -> str:
    """Say in a line how whole clips and streams compare, see streaming.compare_streaming."""
    return (
        f"model files on {streamed['n']:,} recordings: whole clips {_percent(streamed['accuracy_clip'], 2)} %,"
        f" streams {_percent(streamed['accuracy_stream'], 2)} %;"
        f" {streamed['n_same']:,} decisions the same"
    )


def evaluation_table(evaluation: Mapping[str, Any], *, confusion: bool = False, width: int = 80) -> str:
    """Render an evaluation for the terminal: summary, words, and the confusion matrix or the most confused pairs.

    The matrix is shown up to 12 classes, beyond that the pairs; with `confusion` both.
    """
    sections = [summary(evaluation), per_word(evaluation, width)]
    with_matrix = confusion or len(evaluation["classes"]) <= FULL_MATRIX
    if with_matrix:
        sections.append(["confusion matrix (rows true, columns predicted)", *confusion_lines(evaluation, width)])
    pairs = confused_pairs(evaluation)
    if pairs and (confusion or not with_matrix):
        sections.append(["most confused", *pairs])
    return "\n\n".join("\n".join(section) for section in sections)


def card_figures(run: Run) -> str:
    """Write what was measured of a run for a model card, as Markdown: overall, and each word of the test split."""
    scope = scope_of(run)
    lines = [f"Run `{run.id}`, trained on {scope}.", ""]
    for name, evaluation in run.evaluations.items():
        said, accuracy = summary(evaluation)
        which = "Own" if name == evaluation["split"] else "Other"
        lines.append(f"- {which} recordings (`{evaluation['corpus']['name']}`), {said}: {accuracy}")
    for recordings in run.recordings.values():
        lines += card_lines(recordings)
    for robustness in run.robustness.values():
        lines.append(f"- Accuracy of {clips_of(robustness)}: {in_a_line(robustness)}")
    lines += ["", "| word | clips | precision | recall |", "|:--|--:|--:|--:|"]
    for word in run.evaluations["test"]["per_class"] if "test" in run.evaluations else ():
        precision, recall = (_percent(word[key]) for key in ("precision", "recall"))
        lines.append(f"| {word['class']} | {word['n']} | {precision} % | {recall} % |")
    return "\n".join(lines)


def run_text(run: Run, width: int = 80) -> str:
    """Render a run's record for the terminal: why, settings, corpus, machine, figures."""
    record, metrics = run.record, run.metrics
    lines = [run.id, *textwrap.wrap(record["why"], width), ""]
    fields = {"state": run.state, "seed": record["seed"], "classes": " ".join(record["classes"])}
    scope = scope_of(run)
    fields |= {"data": f"{scope}; digest {scope.digest[:8]}"}
    for section, settings in record["settings"].items():
        if isinstance(settings, Mapping):
            fields["training" if section == "train" else section] = ", ".join(
                f"{key} {value}" for key, value in settings.items()
            )
    fields["size"] = f"{record['n_parameters']:,} parameters, {record['macs']:,} MACs per clip"
    fields["machine"] = ", ".join(f"{key} {value}" for key, value in record["environment"].items() if value is not None)
    if metrics:
        fields["epochs"] = f"{metrics['epochs']}, best {metrics['best_epoch']}, stopped by {metrics['stopped']}"
        fields["time"] = f"{metrics['seconds']:,.0f} s of training"
        for split in ("train", "validation"):
            accuracy = _percent(metrics[f"accuracy_{split}"])
            fields[split] = f"accuracy {accuracy} %, loss {metrics[f'loss_{split}']:.3f}"
    elif run.history:
        last = run.history[-1]
        fields["last"] = f"validation accuracy {_percent(last['accuracy_validation'])} %"
        fields["resume"] = f"kwspot train {run.experiment} --seed {run.seed} --resume"
    for split, evaluation in run.evaluations.items():
        fields[split] = "; ".join(summary(evaluation)).removeprefix(f"{split}: ")
    if run.robustness:
        fields["robustness"] = "; ".join(f"{split}: {in_a_line(known)}" for split, known in run.robustness.items())
    for name, text in fields.items():
        lines += textwrap.wrap(str(text), width, initial_indent=f"{name:11} ", subsequent_indent=" " * 12)
    return "\n".join([*lines, "", str(run.path)])
