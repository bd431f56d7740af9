"""The comparison adds up, hides nothing, and comes in every form; the blocks of a markdown file."""

import csv
import io
import json
import math
import os
from pathlib import Path
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from kwspot.cli import app
from kwspot.errors import ConfigError, MissingError
from kwspot.evaluation.comparison import COLUMNS, choose_runs, figure_of, notes, sort_rows, table_rows
from kwspot.reports import results_table
from kwspot.reports.markdown_blocks import read_block, write_block
from tests.records import make_run

OTHER_CORPUS = {"name": "synthetic", "digest": "5" * 64}
TITLES = ["Train Loss", "Train Acc", "Val Loss", "Val Acc", "Test Acc"]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three seeds of `lstm`, one of `rnn_orthogonal`."""
    monkeypatch.setenv("KWSPOT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("COLUMNS", "80")
    for seed, best in ((1, 0.90), (2, 0.92), (3, 0.94)):
        make_run(tmp_path / "runs", "lstm", seed, accuracies=(0.5, best, 0.8), test=best - 0.02, seconds=seed * 600)
    make_run(tmp_path / "runs", "rnn_orthogonal", accuracies=(0.1, 0.2), test=0.19, n_parameters=54_000, macs=2_300_000)
    return tmp_path / "runs"


def kwspot(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def rows_of(runs_dir, *names):
    return table_rows(choose_runs(runs_dir, names)[0])


def test_means_and_deviations_are_those_of_the_hand(runs):
    lstm, rnn = rows_of(runs)
    assert (lstm.label, lstm.seeds, rnn.label, rnn.seeds) == ("lstm", [1, 2, 3], "rnn_orthogonal", [1])
    validation = lstm.figures["accuracy_validation"]
    assert (validation.mean, validation.std, validation.n) == (pytest.approx(0.92), pytest.approx(0.02), 3)
    assert lstm.figures["accuracy_train"].mean == pytest.approx((0.95 + 0.97 + 0.99) / 3)
    loss = lstm.figures["loss_validation"]
    assert loss.mean == pytest.approx(-(math.log(0.9) + math.log(0.92) + math.log(0.94)) / 3)
    assert lstm.figures["accuracy_test"].mean == pytest.approx(0.90)
    assert (lstm.figures["seconds"].mean, lstm.figures["seconds"].std) == (1200, 600)
    assert (lstm.figures["epochs"].mean, rnn.figures["epochs"].mean) == (3, 2)
    assert rnn.figures["accuracy_validation"].std is None


def test_a_diverged_seed_is_not_averaged_away():
    figure = figure_of([0.3, math.nan, 0.4])
    assert math.isnan(figure.mean)
    assert (figure.std, figure.n) == (None, 3)
    assert figure_of([None, None]) is None


def test_runs_of_other_settings_have_a_row_of_their_own(runs):
    short = {"task": ["yes", "no", "stop", "go"], "front_end": {}, "model": {}, "train": {"epochs": 3}}
    make_run(runs, "lstm", 1, settings=short, accuracies=(0.3,))
    rows = rows_of(runs, "lstm")
    assert [len(row.runs) for row in rows] == [3, 1] or [len(row.runs) for row in rows] == [1, 3]
    for row in rows:
        assert row.label == f"lstm {row.runs[0].id.rpartition('-')[2]}"
    assert len({row.label for row in rows}) == 2
    assert "lstm has runs of 2 different settings" in kwspot("compare", "lstm").stderr


def test_runs_of_another_corpus_are_never_averaged_in(runs):
    make_run(runs, "lstm", 4, corpus=OTHER_CORPUS, accuracies=(0.1,))
    rows = rows_of(runs)
    assert sorted((row.label, len(row.runs)) for row in rows) == [
        ("lstm [a]", 3),
        ("lstm [b]", 1),
        ("rnn_orthogonal [a]", 1),
    ]
    result = kwspot("compare")
    assert "different corpora or tasks" in result.stderr
    assert "[a] 4 words of speech_commands_v0.02" in result.stdout
    assert "[b] 4 words of synthetic" in result.stdout
    assert OTHER_CORPUS["digest"][:8] in result.stdout


def test_other_words_are_another_task(runs):
    make_run(runs, "gru", classes=("up", "down", "left", "right"))
    assert {row.label for row in rows_of(runs)} == {"lstm [a]", "rnn_orthogonal [a]", "gru [b]"} or {
        row.label for row in rows_of(runs)
    } == {"gru [a]", "lstm [b]", "rnn_orthogonal [b]"}


def test_a_test_on_another_corpus_is_told(runs):
    run = make_run(runs, "gru", test=0.5)
    assert kwspot("compare", "gru").stderr == ""
    evaluation = {**run.evaluations["test"], "accuracy": 0.25, "corpus": {"name": "kitchen", "digest": "7" * 64}}
    (run.path / "eval-test-kitchen.json").write_text(json.dumps(evaluation))
    result = kwspot("compare", "gru", "--markdown")
    assert "on other recordings, 100 test clips of kitchen: gru 25.0 %" in result.stderr
    assert "On other recordings, 100 test clips of kitchen: gru 25.0 %" in result.stdout
    assert "| 50.0 % |" in result.stdout


def test_missing_tests_are_told(runs):
    make_run(runs, "gru", test=None)
    make_run(runs, "lstm", 4, test=None)
    said = notes(rows_of(runs))
    assert "test accuracy of lstm: 3 of 4 seeds" in said
    assert "no test accuracy yet: gru; measure it with 'kwspot eval NAME'" in said
    assert re.search(r"gru .*–", kwspot("compare").stdout)


def test_intervals_over_speakers_are_the_mean_of_the_seeds(runs):
    make_run(runs, "gru", test=None)
    (line,) = re.findall(r"95 % intervals[^.]*: ([^:]*?) %\.", kwspot("compare", "--markdown").stdout)
    assert line == "lstm 88.0–92.0, rnn_orthogonal 17.0–21.0"  # accuracies ± 2 points, each seed's
    found = {row["model"]: row["test_interval"] for row in json.loads(kwspot("compare", "--json").stdout)["rows"]}
    assert found["gru"] is None
    assert found["lstm"] == pytest.approx([0.88, 0.92])


def test_unfinished_runs_are_left_out_aloud(runs):
    unfinished = make_run(runs, "lstm", 9, finished=False, accuracies=(0.99, 0.99))
    result = kwspot("compare", "lstm")
    assert f"left out, not finished: {unfinished.id} (epoch 2)" in result.stderr
    assert "lstm (3)" in result.stdout
    make_run(runs, "gru", finished=False)
    assert "lstm (3)" in kwspot("compare", "gru", "lstm").stdout


def test_nothing_finished_says_what_to_run(tmp_path):
    assert "kwspot train" in kwspot("compare", "--runs", tmp_path, code=3).stderr
    make_run(tmp_path, "gru", finished=False)
    assert "'kwspot train gru'" in kwspot("compare", "gru", "--runs", tmp_path, code=3).stderr
    with pytest.raises(MissingError, match="kwspot runs"):
        choose_runs(tmp_path, ["nothing"])


def test_without_runs_the_records_of_a_repository_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KWSPOT_RUNS", raising=False)
    assert "train one with" in kwspot("compare", code=3).stderr
    make_run(tmp_path / "results" / "study", "lstm")
    for names in ((), ("lstm",)):
        error = kwspot("compare", *names, code=3).stderr
        assert error == "error: runs: no runs; results has records of some: --runs results\n"
    assert "lstm" in kwspot("compare", "--runs", "results").stdout
    make_run(tmp_path / "runs", "rnn")
    assert "'kwspot runs' lists them" in kwspot("compare", "lstm", code=3).stderr


def test_rows_come_as_named_or_best_first(runs):
    assert [row.label for row in rows_of(runs, "rnn_orthogonal", "lstm")] == ["rnn_orthogonal", "lstm"]
    table = kwspot("compare", "rnn_orthogonal", "lstm").stdout
    assert table.index("rnn_orthogonal") < table.index("lstm")
    table = kwspot("compare").stdout
    assert table.index("lstm") < table.index("rnn_orthogonal")


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.key)
def test_every_column_sorts_by_any_of_its_names(runs, column):
    rows = rows_of(runs)
    better_first = sorted(rows, key=lambda row: row.figures[column.key].mean, reverse=column.key.startswith("accuracy"))
    for name in (column.key, column.title, column.short, column.short.upper()):
        assert sort_rows(rows, name) == better_first
        assert sort_rows(rows[::-1], name) == better_first


def test_rows_without_the_figure_come_last(runs):
    make_run(runs, "gru", test=None)
    assert sort_rows(rows_of(runs), "test-acc")[-1].label == "gru"
    assert [row.label for row in sort_rows(rows_of(runs), "model")] == ["gru", "lstm", "rnn_orthogonal"]
    assert sort_rows(rows_of(runs), "seeds")[0].label == "lstm"


def test_an_unknown_column_is_a_usage_error(runs):
    with pytest.raises(ConfigError, match="did you mean 'val-acc'"):
        sort_rows(rows_of(runs), "val-ac")
    assert "known: model, train-loss" in kwspot("compare", "--sort", "zzz", code=2).stderr


def test_formats_exclude_each_other(runs):
    assert "--json and --csv" in kwspot("compare", "--json", "--csv", code=2).stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--versus", "lstm", "--csv"], "--csv: not with --versus"),
        (["--versus", "lstm", "--latex"], "--latex: not with --versus"),
        (["--block", "study"], "--block: goes with --write FILE"),
    ],
)
def test_options_that_would_do_nothing_are_refused(runs, given, said):
    assert said in kwspot("compare", *given, code=2).stderr


def many_runs(runs_dir):
    """Widest figures and awkward names."""
    for seed in (1, 2):
        make_run(
            runs_dir,
            "a_very_long_experiment_name_that_leaves_no_room",
            seed,
            accuracies=(1.0 / seed,),
            test=1.0 / seed,
            seconds=seed * 5990,
            n_parameters=999_950,
            macs=123_456_789,
        )
    for seed in (1, 2, 3):
        make_run(runs_dir, "rnn_ln_last", seed, accuracies=(1e-5 * seed,) * (99 + seed), seconds=300 * seed)


@pytest.mark.parametrize("several", [True, False])
def test_the_table_fits_80_columns_with_nothing_cut_or_wrapped(runs, several):
    if several:
        many_runs(runs)
    rows = rows_of(runs, *([] if several else ["rnn_orthogonal"]))
    text = results_table.terminal(rows, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for row in rows:
        assert row.label in text
        for column in COLUMNS:
            mean, std, unit = results_table.parts(column.key, row.figures[column.key])
            assert f"{mean}{unit.replace(' %', '')}" in text
            assert f"±{std}" in text or not std
    assert results_table.terminal(rows, 200).count("\n") <= text.count("\n")


def test_a_wide_terminal_has_the_deviation_beside_the_mean(runs):
    assert re.search(r"lstm \(3\) .* 92\.0 ±2\.0 ", results_table.terminal(rows_of(runs), 120))
    assert re.search(r"lstm \(3\) .* 92\.0 .*\n +±\S+ +±2\.0", results_table.terminal(rows_of(runs), 80))


def test_one_seed_has_no_deviation_and_no_count(runs):
    text = results_table.terminal(rows_of(runs, "rnn_orthogonal"))
    assert "±" not in text
    assert "(1)" not in text
    assert "20.0" in text
    assert "54.0 K" in text
    assert "2.30 M" in text
    assert "14 min" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(0, "0"), (999, "999"), (1000, "1.00 K"), (9_994, "9.99 K"), (9_996, "10.0 K"), (99_960, "100 K")],
        *[(122_347, "122 K"), (999_499, "999 K"), (999_500, "1.00 M"), (12_345_678, "12.3 M"), (3e9, "3.00 G")],
    ],
)
def test_counts_have_three_digits(value, text):
    assert results_table.human_count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(9, "9 s"), (99, "99 s"), (100, "1.7 min"), (597, "10 min"), (840, "14 min"), (5940, "99 min"), (6000, "1.7 h")],
)
def test_times_have_the_unit_that_suits_them(seconds, text):
    mean, std, unit = results_table.parts("seconds", figure_of([seconds]))
    assert (mean + unit, std) == (text, "")


def test_markdown_has_the_studys_columns_first_and_names_its_sources(runs):
    lines = kwspot("compare", "--markdown").stdout.splitlines()
    heads = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert heads[:6] == ["Model", *TITLES]
    assert heads[6:] == ["Parameters", "MACs per clip", "Training time", "Epochs", "Seeds"]
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert (cells[0], cells[4], cells[5], cells[6], cells[7]) == (
        "`lstm`",
        "92.0 ± 2.0 %",
        "90.0 ± 2.0 %",
        "122 K",
        "12.3 M",
    )
    assert cells[8:] == ["20 ± 10 min", "3 ± 0", "3"]
    assert {line.count("|") for line in lines[:4]} == {12}
    text = lines[-1]
    for part in ("4 words", "speech_commands_v0.02", "waveforms", "8,100 train, 1,000 validation, 1,100 test"):
        assert part in text
    for part in ("seeds 1, 2, 3", "cpu", "kwspot 0.1.0"):
        assert part in text


def test_csv_is_read_back_unrounded(runs):
    lines = list(csv.DictReader(io.StringIO(kwspot("compare", "--csv").stdout)))
    keys = [key for key in lines[0] if key in {column.key for column in COLUMNS}]
    assert keys == [column.key for column in COLUMNS]
    assert [line["model"] for line in lines] == ["lstm", "rnn_orthogonal"]
    assert float(lines[0]["accuracy_validation"]) == pytest.approx(0.92, abs=1e-12)
    assert float(lines[0]["accuracy_validation_std"]) == pytest.approx(0.02, abs=1e-12)
    assert lines[0]["n_parameters"] == "122347"
    assert lines[1]["accuracy_validation_std"] == ""
    assert lines[0]["seeds"] == "1 2 3"


def test_json_is_whole_and_strict(runs):
    make_run(runs, "gru", accuracies=(0.5, 0.6), test=None)
    metrics = next((runs).glob("gru-*")) / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"loss_train": ', '"loss_train": NaN, "was": '))

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads(kwspot("compare", "--json").stdout, parse_constant=refuse)
    rows = {row["model"]: row for row in content["rows"]}
    assert list(rows["lstm"])[1:10] == [column.key for column in COLUMNS]
    assert rows["lstm"]["accuracy_validation"] == {"mean": pytest.approx(0.92), "std": pytest.approx(0.02), "n": 3}
    assert rows["gru"]["loss_train"]["mean"] is None
    assert rows["gru"]["accuracy_test"] is None
    assert rows["lstm"]["corpus"]["name"] == "speech_commands_v0.02"
    assert any("gru" in note for note in content["notes"])


def test_latex_escapes_what_latex_reads(runs):
    make_run(runs, "50%_of&{all}#1$~^", corpus={"name": "back\\slash"})
    text = kwspot("compare", "--latex").stdout
    assert r"50\%\_of\&\{all\}\#1\$\textasciitilde{}\textasciicircum{}" in text
    assert r"back\textbackslash{}slash" in text
    assert r"rnn\_orthogonal {[}b{]} & " in text
    assert r"$92.0 \pm 2.0$\,\%" in text
    assert r"speech\_commands\_v0.02" in text
    assert text.count("{") == text.count("}")
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {10}


def test_a_pipe_in_a_name_does_not_make_a_column(runs):
    make_run(runs, "a|b")
    lines = results_table.markdown(rows_of(runs)).splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines[:5]} == {12}


README = (
    "# Title\n\n<!-- results: written by `kwspot compare --write README.md` -->\nold\n<!-- /results -->\n\nAfter.\n"
)


def test_a_block_is_replaced_and_nothing_else(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(README)
    write_block(path, "new \\1 \\g<0> table\n\n")
    assert read_block(path) == "new \\1 \\g<0> table\n"
    assert path.read_text() == README.replace("old", "new \\1 \\g<0> table")
    write_block(path, "new \\1 \\g<0> table")
    assert path.read_text() == README.replace("old", "new \\1 \\g<0> table")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["no block", README.replace("/results", "/result"), README + README])
def test_without_exactly_one_block_the_file_stays_as_it_was(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(ConfigError, match="results"):
        write_block(path, "new")
    assert path.read_text() == text
    with pytest.raises(MissingError, match="no such file"):
        write_block(tmp_path / "nowhere.md", "new")


def test_write_and_plots_fill_the_readme(runs, tmp_path):
    path = tmp_path / "docs" / "README.md"
    path.parent.mkdir()
    path.write_text(README)
    result = kwspot("compare", "rnn_orthogonal", "--write", path, "--plots", tmp_path / "plots", "--quiet")
    block = read_block(path)
    assert block.startswith("| Model |")
    for address in re.findall(r"!\[.*?\]\((.*?)\)", block):
        assert (path.parent / address).is_file()
    assert block.count("![") == 2
    assert "wrote 8 figures" in result.stderr
    assert "rnn_orthogonal" in result.stdout


def test_comparing_needs_no_torch_and_no_numpy(runs):
    code = (
        "import sys; from pathlib import Path; from kwspot.commands.compare import compare\n"
        f"compare(runs=Path({str(runs)!r}))\n"
        "print([name for name in ('torch', 'numpy', 'matplotlib') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_table_with_silence_says_what_it_is(runs):
    assert "digital zeros" not in kwspot("compare", "lstm").stdout
    run = make_run(runs, "gru", classes=("up", "down", "unknown", "silence"), test=0.5)
    evaluation = {**run.evaluations["test"], "split": "test12", "corpus": {"name": "archive", "digest": "7" * 64}}
    (run.path / "eval-test12-archive.json").write_text(json.dumps(evaluation))
    said = " ".join(kwspot("compare", "gru").stdout.split())
    assert "`silence` is digital zeros in test figures, pieces of the noise recordings elsewhere" in said
    assert "test12 clips of archive (silence: the archive's own recordings): gru 50.0 %" in said
