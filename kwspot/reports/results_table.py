"""A comparison in the form its reader needs: terminal, markdown, LaTeX; JSON and CSV for programs.

For people, losses have three decimals and accuracies are in per cent with one; for programs, figures are
unrounded and accuracies fractions.
"""

from collections.abc import Sequence
import csv
import io
import json
import math
import textwrap
from typing import TYPE_CHECKING, Any

from kwspot.evaluation.comparison import COLUMNS, Figure, Row, caption, interval_of, notes

if TYPE_CHECKING:  # the table needs no numpy
    from kwspot.evaluation.significance import Difference

ABSENT = "–"
# Two lines a head, so that ten columns stand in 80.
HEADS = (
    ("", "Model"), ("Train", "Loss"), ("Train", "Acc %"), ("Val", "Loss"), ("Val", "Acc %"),
    ("Test", "Acc %"), ("", "Params"), ("MACs", "/clip"), ("Train", "time"), ("", "Epochs"),
)  # fmt: skip
HEADS_MARKDOWN = ("Model", *(column.title for column in COLUMNS), "Seeds")


def human_count(value: float) -> str:
    """Write a count to three digits: 950, 9.22 K, 122 K, 12.3 M, 1.20 G."""
    if value < 1000:
        return f"{value:.0f}"
    for power, unit in enumerate(" KMGTP"):
        scaled = value / 1000**power
        if scaled < 9.995:
            return f"{scaled:.2f} {unit}"
        if scaled < 99.95:
            return f"{scaled:.1f} {unit}"
        if scaled < 999.5:
            return f"{scaled:.0f} {unit}"
    return f"{value:.2e}"


def _duration(figure: Figure) -> tuple[str, str, str]:
    """Write seconds in the unit of their mean."""
    seconds = figure.mean
    scale, unit, digits = (1.0, " s", 0) if seconds < 99.5 else (60.0, " min", 1)
    if scale == 60 and seconds >= 9.95 * 60:
        digits = 0
    if seconds >= 99.5 * 60:
        scale, unit, digits = 3600.0, " h", 1
    return f"{seconds / scale:.{digits}f}", _std(figure, 1 / scale, digits), unit


def _std(figure: Figure, scale: float, digits: int) -> str:
    return "" if figure.std is None else f"{figure.std * scale:.{digits}f}"


def parts(key: str, figure: Figure | None) -> tuple[str, str, str]:
    """Write a figure as (mean, standard deviation or "", unit or "")."""
    if figure is None:
        return ABSENT, "", ""
    if math.isnan(figure.mean):
        return "nan", "", ""
    if key.startswith("loss"):
        digits = 3 if figure.mean < 9.9995 else 2
        return f"{figure.mean:.{digits}f}", _std(figure, 1, digits), ""
    if key.startswith("accuracy"):
        return f"{100 * figure.mean:.1f}", _std(figure, 100, 1), " %"
    if key == "seconds":
        return _duration(figure)
    if key == "epochs":
        return f"{figure.mean:.0f}", _std(figure, 1, 0), ""
    number, _, unit = human_count(figure.mean).partition(" ")
    return number, "", f" {unit}" if unit else ""


def shown(row: Row) -> list[str]:
    """Write the figures of a row as text, in the order of COLUMNS: 91.2 ± 0.3 %."""
    written = (parts(column.key, row.figures[column.key]) for column in COLUMNS)
    return [f"{mean} ± {std}{unit}" if std else mean + unit for mean, std, unit in written]


def align(lines: Sequence[Sequence[str]], left: int = 1, gap: int = 2) -> list[str]:
    """Set cells in columns, `gap` spaces apart: the first `left` columns flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        (" " * gap)
        .join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        .rstrip()
        for line in lines
    ]


def _names(rows: Sequence[Row]) -> list[str]:
    """Label the rows, with the number of seeds where it says anything."""
    counted = any(len(row.runs) > 1 for row in rows)
    return [f"{row.label} ({len(row.runs)})" if counted else row.label for row in rows]


def _cells(row: Row, below: bool) -> list[list[str]]:
    """Write the figures of a row: 91.2 ±0.3 in one line, or the standard deviation in a second line below."""
    written = [parts(column.key, row.figures[column.key]) for column in COLUMNS]
    written = [(mean, std, "" if unit == " %" else unit) for mean, std, unit in written]  # the head has the %
    if not below:
        return [[f"{mean} ±{std}{unit}" if std else mean + unit for mean, std, unit in written]]
    means = [mean + unit for mean, _, unit in written]
    spreads = [f"±{std}" if std else "" for _, std, _ in written]
    return [means, spreads] if any(spreads) else [means]


def terminal(rows: Sequence[Row], width: int = 80, differences: Sequence["Difference"] = ()) -> str:
    """Render the table, its caption and the differences as text that fits `width`, 80 at the least.

    Standard deviations stand beside their means if there is room, else below them; a name that leaves no room
    for the figures gets a line of its own.
    """
    names = _names(rows)
    heads = list(zip(*HEADS, strict=True))
    for below, gap in ((False, 2), (False, 1), (True, 2), (True, 1)):
        blocks = [_cells(row, below) for row in rows]
        lines = [*(head[1:] for head in heads), *(line for block in blocks for line in block)]
        figures = [" " * gap + line for line in align(lines, left=0, gap=gap)]
        room = max(width - max(map(len, figures)), len("Model"))
        if max(map(len, names)) <= room:
            break
    room = min(room, max(map(len, [*names, "Model"])))
    rule = "─" * (room + max(map(len, figures)))
    rest = iter(figures)
    table = [*(f"{head[0]:{room}}{next(rest)}" for head in heads), rule]
    for name, block in zip(names, blocks, strict=True):
        if len(name) > room:
            table.append(name)
            name = ""
        table += [f"{name if i == 0 else '':{room}}{next(rest)}" for i in range(len(block))]
    said = [line for each in differences for line in textwrap.wrap(f"{each}.", width, subsequent_indent="  ")]
    return "\n".join([*table, rule, *textwrap.wrap(caption(rows), width), *said])


def _markdown_cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def markdown(
    rows: Sequence[Row], pictures: Sequence[tuple[str, str]] = (), differences: Sequence["Difference"] = ()
) -> str:
    """Render the table in markdown with its caption and differences, then pictures given as (title, address)."""
    lines = ["| " + " | ".join(HEADS_MARKDOWN) + " |", "|" + ":--|" + "--:|" * (len(HEADS_MARKDOWN) - 1)]
    for row in rows:
        lines.append("| " + " | ".join([f"`{_markdown_cell(row.label)}`", *shown(row), str(len(row.runs))]) + " |")
    lines += ["", caption(rows)]
    if differences:
        lines += ["", *(f"- {each}." for each in differences)]
    for title, address in pictures:
        lines += ["", f"![{title}]({address})"]
    return "\n".join(lines)


LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "–": "--", "[": "{[}", "]": "{]}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': "''",
}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


def latex(rows: Sequence[Row]) -> str:
    """Render the table in LaTeX (needs the package booktabs)."""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(caption(rows))}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(HEADS_MARKDOWN) - 1)}}}",
        r"\toprule",
        " & ".join(map(_latex, HEADS_MARKDOWN)) + r" \\",
        r"\midrule",
    ]
    for row in rows:
        cells = [_latex(row.label)]
        for column in COLUMNS:
            mean, std, unit = parts(column.key, row.figures[column.key])
            number = rf"${mean} \pm {std}$" if std else _latex(mean)
            cells.append(number + _latex(unit).replace(" ", r"\,"))
        lines.append(" & ".join([*cells, str(len(row.runs))]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _json_number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def as_json(rows: Sequence[Row], differences: Sequence["Difference"] = ()) -> str:
    """Render rows as JSON: unrounded figures with mean, std (null for one seed) and n; notes and caption."""

    def figure(value: Figure | None) -> dict[str, Any] | None:
        if value is None:
            return None
        return {"mean": _json_number(value.mean), "std": _json_number(value.std), "n": value.n}

    content = [
        {
            "model": row.label,
            **{column.key: figure(row.figures[column.key]) for column in COLUMNS},
            "test_interval": interval_of(row),
            "seeds": row.seeds,
            "experiment": row.experiment,
            "runs": [run.id for run in row.runs],
            "task": row.scope.task or None,
            "classes": row.scope.classes,
            "corpus": {"name": row.scope.corpus, "source": row.scope.source, "digest": row.scope.digest},
            "n_clips": {"train": row.scope.n_train[0], **dict(row.scope.n_clips)},
        }
        for row in rows
    ]
    whole = {"rows": content, "notes": notes(rows), "caption": caption(rows)}
    if differences:
        whole["differences"] = [each.as_json() for each in differences]
    return json.dumps(whole, indent=2, ensure_ascii=False)


def as_csv(rows: Sequence[Row]) -> str:
    """Render rows as CSV: unrounded figures, each followed by its standard deviation."""
    spread = [column for column in COLUMNS if column.key not in ("n_parameters", "macs")]
    heads = ["model"]
    for column in COLUMNS:
        heads += [column.key, f"{column.key}_std"] if column in spread else [column.key]
    heads += ["n_seeds", "seeds", "runs", "corpus", "source", "corpus_digest"]
    text = io.StringIO()
    writer = csv.DictWriter(text, heads, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells: dict[str, Any] = {
            "model": row.label,
            "n_seeds": len(row.runs),
            "seeds": " ".join(map(str, row.seeds)),
            "runs": " ".join(run.id for run in row.runs),
            "corpus": row.scope.corpus,
            "source": row.scope.source,
            "corpus_digest": row.scope.digest,
        }
        for column in COLUMNS:
            if figure := row.figures[column.key]:
                cells[column.key] = figure.mean if column in spread else int(figure.mean)
                if column in spread:
                    cells[f"{column.key}_std"] = figure.std
        writer.writerow(cells)
    return text.getvalue().rstrip("\n")
