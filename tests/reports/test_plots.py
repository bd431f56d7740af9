"""The figures: all there, valid SVG, the same bytes twice, with axes that say what they show."""

from hashlib import sha256
import json
import os
from pathlib import Path
import re
import subprocess
import sys
from xml.etree import ElementTree

from matplotlib.figure import Figure
import numpy as np
import pytest

from kwspot.evaluation.comparison import choose_runs, table_rows
from kwspot.experiments.runs import TRACE, write_lines
from kwspot.reports.plots import (
    CURVES,
    _label_points,
    _rarity_of_errors,
    pareto_front,
    plot_confusion,
    plot_cost,
    plot_overlay,
    plot_run,
    write_plots,
)
from kwspot.reports.style import COLOURS, DARK, MOST_LINES
from kwspot.tasks import WORDS_35
from tests.records import make_evaluation, make_run

SVG = "{http://www.w3.org/2000/svg}"


def texts_of(path):
    """Parse a figure; return what is written in it."""
    root = ElementTree.parse(path).getroot()
    assert root.tag == f"{SVG}svg"
    return [text.text for text in root.iter(f"{SVG}text")]


def digests_below(folder):
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Two seeds of `lstm`, of 3 and 4 epochs, and one of `rnn`, of one epoch."""
    runs = tmp_path_factory.mktemp("rows") / "runs"
    for seed in (1, 2):
        make_run(runs, "lstm", seed, accuracies=(0.4, 0.6, 0.7, 0.8)[: 2 + seed])
    make_run(runs, "rnn", 1, accuracies=(0.1,))
    return table_rows(choose_runs(runs)[0])


@pytest.fixture(scope="module")
def drawn(rows, tmp_path_factory):
    """The folder of all their figures, the files and what was reported."""
    folder, reports = tmp_path_factory.mktemp("plots"), []
    files = write_plots(rows, folder, lambda done, total, message="": reports.append((done, total)))
    return folder, files, reports


@pytest.mark.slow
def test_every_run_has_its_curves_and_all_have_overlays(rows, drawn):
    folder, files, reports = drawn
    expected = {f"{curve}.svg" for curve in (*CURVES, "cost")}
    expected |= {f"{run.experiment}/{run.id}/{curve}.svg" for row in rows for run in row.runs for curve in CURVES}
    assert {path.relative_to(folder).as_posix() for path in files} == expected
    assert set(digests_below(folder)) == expected
    assert reports == [(i, 17) for i in range(1, 18)]


@pytest.mark.slow
def test_traces_stand_side_by_side(tmp_path):
    settings = {"task": ["a", "b"], "front_end": {"hop_ms": 10.0}, "model": {}, "train": {}}
    for name in ("rnn", "lstm"):
        run = make_run(tmp_path / "runs", name, settings=settings)
        lines = [{"epoch": i, "gradient": [0.0, 1e-9, 1e-3 * (i + 1)], "state_spread": [0.1, 0.2]} for i in range(31)]
        write_lines(run.path / TRACE, lines)
    make_run(tmp_path / "runs", "untraced", settings=settings)
    rows = table_rows(choose_runs(tmp_path / "runs")[0])
    files = write_plots(rows, tmp_path / "plots")
    (drawn,) = (path for path in files if path.name == "trace.svg")
    texts = texts_of(drawn)
    assert {"rnn", "lstm", "time in the clip (s)", "spread of the states"} <= set(texts)
    epochs = ["0", "6", "12", "18", "24", "30"]  # six of 31: more lines could not be followed
    assert [text for text in texts if text in epochs] == epochs * 2
    assert not any("untraced" in text for text in texts)


def test_cost_marks_those_that_no_cheaper_one_equals(tmp_path):
    for name, macs, test in (("a", 1e6, 0.8), ("b", 2e6, 0.7), ("c", 3e6, 0.9), ("d", 3e6, 0.85), ("e", 9e6, 0.9)):
        make_run(tmp_path, name, macs=int(macs), test=test)
    make_run(tmp_path, "untested", test=None)
    rows = table_rows(choose_runs(tmp_path)[0])
    assert [row.label for row in pareto_front(rows)] == ["a", "c"]
    plot_cost(rows, tmp_path / "cost.svg")
    texts = texts_of(tmp_path / "cost.svg")
    assert {"a", "b", "c", "d", "e", "MACs a clip", "test accuracy (%)", "Pareto front"} <= set(texts)
    assert "untested" not in texts


def test_cost_gives_small_differences_room_beside_a_model_that_fails(tmp_path):
    for name, macs, test in (("fails", 1e6, 0.17), ("good", 2e6, 0.97), ("better", 3e6, 0.98), ("all", 4e6, 1.0)):
        make_run(tmp_path, name, macs=int(macs), test=test)
    plot_cost(table_rows(choose_runs(tmp_path)[0]), tmp_path / "cost.svg")
    assert {"20", "97", "98", "99.5"} <= set(texts_of(tmp_path / "cost.svg"))
    steps = np.diff(_rarity_of_errors(np.array([92.0, 96.0, 98.0, 99.0])))
    assert np.allclose(steps, np.log10(2))
    assert np.isfinite(_rarity_of_errors(np.array([100.0]))).all()


def test_names_keep_clear_of_each_other_and_of_other_points():
    figure = Figure()
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    points = [("first", 5, 5, 0.3), ("second", 5.2, 5, 0.3), ("third", 5.1, 6.2, 0.2), ("alone", 1, 1, 0.0)]
    _label_points(axes, points)
    names = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert list(names) == [name for name, *_ in points]
    for name, box in names.items():
        assert not box.count_overlaps([other for theirs, other in names.items() if theirs != name])
        for _, x, y, bar in points:
            assert not any(box.contains(*axes.transData.transform((x, end))) for end in (y - bar, y, y + bar))


def test_names_of_points_that_are_one_lie_apart_and_are_led_to():
    axes = Figure().subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    _label_points(axes, [(name, 5, 5, 0.0) for name in "abcdefgh"])
    names = [text for text in axes.texts if text.get_text()]
    boxes = [text.get_window_extent() for text in names]
    assert "".join(text.get_text() for text in names) == "abcdefgh"
    assert not any(box.count_overlaps(boxes[:i]) for i, box in enumerate(boxes))
    assert sum(text.arrow_patch is not None for text in axes.texts) == 4  # type: ignore[attr-defined]


def test_axes_and_titles_say_what_is_shown(rows, drawn):
    folder, _, _ = drawn
    for curve in CURVES:
        quantity, _, split = curve.partition("_")
        unit = "%" if quantity == "accuracy" else "nats a clip"
        overlay = texts_of(folder / f"{curve}.svg")
        assert {"epoch", f"{split} {quantity} ({unit})", "lstm (2)", "rnn (1)"} <= set(overlay)
        assert f"{split} {quantity}: mean of the seeds, band from lowest to highest" in overlay
        run = rows[0].runs[0]
        own = texts_of(folder / "lstm" / run.id / f"{curve}.svg")
        assert {"epoch", f"{split} {quantity} ({unit})", f"lstm, seed 1: {split} {quantity}"} <= set(own)
    assert "best epoch on validation: 3, 70.0 %" in texts_of(folder / "lstm" / run.id / "accuracy_validation.svg")


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes_in_another_process(rows, tmp_path):
    write_plots(rows[1:], tmp_path / "first")
    evaluation = make_evaluation(0.9, WORDS_35[:9], n=900)
    plot_confusion(evaluation, tmp_path / "first" / "confusion.svg")
    code = (
        "import json, sys; from pathlib import Path\n"
        "from kwspot.evaluation.comparison import choose_runs, table_rows\n"
        "from kwspot.reports.plots import plot_confusion, write_plots\n"
        "runs, folder = map(Path, sys.argv[1:])\n"
        "write_plots(table_rows(choose_runs(runs, ['rnn'])[0]), folder)\n"
        "plot_confusion(json.loads(sys.stdin.read()), folder / 'confusion.svg')\n"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", code, str(rows[1].runs[0].path.parent), str(tmp_path / "second")]
    subprocess.run(command, env=environment, input=json.dumps(evaluation), text=True, check=True)
    assert digests_below(tmp_path / "first") == digests_below(tmp_path / "second")
    assert b"dc:date" not in (tmp_path / "first" / "confusion.svg").read_bytes()


def test_figures_turn_dark_and_every_colour_that_they_turn_is_drawn(tmp_path):
    plot_confusion(make_evaluation(0.9, WORDS_35[:9], n=900), tmp_path / "confusion.svg")
    documents = Path(__file__).parents[2] / "docs" / "plots"
    figures = [path for path in documents.rglob("*.svg") if path.name != "packages.svg"]
    sources = [path.read_text("utf-8") for path in [*figures, tmp_path / "confusion.svg"]]
    assert all(source.count(DARK) == 1 for source in sources)
    drawn = "".join(source.replace(DARK, "") for source in sources)
    turned = re.findall(r'style\*="((?:fill|stroke): #\w+)"', DARK)
    assert "fill: #ffffff" in turned and all(look in drawn for look in turned)
    # What stands in a cell keeps its ink, as the cell keeps its ground.
    cells = [text for text in ElementTree.parse(tmp_path / "confusion.svg").iter(f"{SVG}text") if text.text.isdecimal()]
    assert cells and all("fill:" in cell.get("style") for cell in cells)


def test_a_users_matplotlibrc_changes_nothing(rows, tmp_path):
    import matplotlib

    plot_overlay(rows, "loss_train", tmp_path / "a.svg")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "svg.fonttype": "path"}):
        plot_overlay(rows, "loss_train", tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_more_experiments_than_colours_are_told_apart(tmp_path):
    for i in range(len(COLOURS) + 2):
        make_run(tmp_path / "runs", f"experiment{i}")
    rows = table_rows(choose_runs(tmp_path / "runs")[0])
    plot_overlay(rows, "accuracy_validation", tmp_path / "all.svg")
    assert {row.label for row in rows} <= set(texts_of(tmp_path / "all.svg"))
    root = ElementTree.parse(tmp_path / "all.svg").getroot()
    panels = []
    for legend in (group for group in root.iter(f"{SVG}g") if (group.get("id") or "").startswith("legend_")):
        looks = [path.get("style", "") for path in legend.iter(f"{SVG}path") if "width: 1.8" in path.get("style", "")]
        assert len(looks) == len(set(looks)) <= MOST_LINES
        panels.append(len(looks))
    assert sum(panels) == len(rows)
    assert len(panels) == 2


def test_an_unfinished_run_and_a_diverged_one_can_be_drawn(tmp_path):
    run = make_run(tmp_path, finished=False, accuracies=(0.3, 0.2))
    run.history[1]["loss_train"] = float("nan")
    plot_run(run, "loss_train", tmp_path / "run.svg")
    assert not any("best epoch" in text for text in texts_of(tmp_path / "run.svg"))


@pytest.mark.parametrize("classes", [("yes", "no", "stop"), WORDS_35], ids=len)
def test_the_confusion_matrix_has_every_word_twice_and_every_count(classes, tmp_path):
    evaluation = make_evaluation(0.9, classes, n=100 * len(classes))
    evaluation["confusion"][0] = [0] * len(classes)  # a word without clips
    plot_confusion(evaluation, tmp_path / "confusion.svg", "lstm-s1")
    texts = texts_of(tmp_path / "confusion.svg")
    for word in classes:
        assert texts.count(word) == 2
    assert texts.count("90") == len(classes) - 1
    assert {"predicted word", "true word", "share of the true word's clips"} <= set(texts)
    assert f"lstm-s1: accuracy 90.0 % of {100 * len(classes):,} clips" in texts
