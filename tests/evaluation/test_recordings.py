"""False alarms in real recordings: counted by hand with a known model, stopped and continued, and by the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kwspot.cli import app
from kwspot.corpus.recordings import Recording, Word
from kwspot.errors import MissingError
from kwspot.evaluation import recordings
from kwspot.evaluation.metrics import poisson_interval
from kwspot.evaluation.recordings import cost, judge, measure_recordings, partial_name
from kwspot.inference.detector import Event
from kwspot.inference.model_zoo import FOLDER
from kwspot.reports.recordings import card_lines, plot_recordings, recordings_table
from kwspot.reports.style import MOST_LINES
from tests.sounds import write_sound

KEYWORDS = ("yes", "no")
RATE = 1000  # Hz


class LevelEar:
    """Takes a constant of 0.1 for "yes" and of 0.2 for "no", a step of 0.1 s at a time; one beside it less surely."""

    name, metadata = "ear", {"spotting": {"threshold": 0.5, "smoothing_ms": 0.0, "refractory_ms": 200.0}}
    labels = ("yes", "no", "unknown", "silence")
    sample_rate, step_length, span_length, lead_length = RATE, 100, 300, 0

    def __init__(self):
        self.reset()
        self.n_fed = 0

    def reset(self):
        self.waiting = np.zeros(0, np.float32)

    def feed(self, samples):
        self.n_fed += len(samples)
        sound = np.concatenate([self.waiting, samples])
        k = len(sound) // 100
        self.waiting = sound[k * 100 :]
        level = sound[: k * 100].reshape(k, 100).mean(1)
        rows = np.zeros((k, 4), np.float32)
        for i, value in enumerate(level):
            label = 0 if 0.05 < value < 0.15 else 1 if value > 0.15 else 3
            posterior = 0.9 if min(abs(value - 0.1), abs(value - 0.2)) < 1e-4 else 0.6
            rows[i], rows[i, label] = (1 - posterior) / 3, posterior
        return rows


def sound(*levels, seconds=0.4):
    """Levels, each for so long, with as much silence after each."""
    n = round(seconds * RATE)
    return np.concatenate([np.repeat(np.float32([level, 0]), n) for level in levels])


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "real"
    write_sound(folder / "speech/a/one.wav", sound(0.1, 0.2, 0.1), RATE, subtype="FLOAT")
    write_sound(folder / "speech/a/two.wav", sound(0.2, 0.11), RATE, subtype="FLOAT")
    write_sound(folder / "noise/b/rain.wav", sound(0.0, 0.21), RATE, subtype="FLOAT")
    (folder / "noise/b/broken.wav").write_bytes(b"no sound")
    lines = ["path\ttext", "speech/a/one.wav\tyes no maybe", "speech/a/two.wav\tNo, nothing"]
    (folder / "text.tsv").write_text("\n".join(lines))
    return folder


def event(word, start_s):
    return Event(word, start_s, start_s + 0.3, 0.9)


def test_a_word_that_is_said_is_a_detection_as_often_as_it_is_said():
    recording = Recording("a.wav", "a", "yes no yes")
    found, alarms = judge([event("yes", 0), event("yes", 1), event("yes", 2), event("no", 9)], recording, KEYWORDS)
    assert found == {"yes": 2, "no": 1}
    assert alarms == [event("yes", 2)]


def test_where_times_are_known_the_place_counts():
    recording = Recording("a.wav", "a", "yes no", (Word("yes", 5.0, 5.4), Word("no", 8.0, 8.2)))
    found, alarms = judge(
        [event("yes", 1), event("yes", 5.7), event("no", 5.1), event("yes", 5.5)], recording, KEYWORDS
    )
    assert found == {"yes": 1}
    assert [alarm.start_s for alarm in alarms] == [1, 5.1, 5.5]


def test_a_keyword_may_be_a_phrase_in_any_case():
    keywords, events = ("Lights_on", "Go"), [event("Lights_on", 1), event("Go", 4), event("Lights_on", 8)]
    untimed = Recording("a.wav", "a", "LIGHTS ON, go")
    timed = Recording("a.wav", "a", "LIGHTS ON, go", (Word("lights", 1, 1.3), Word("on", 1.4, 1.6), Word("go", 4, 4.2)))
    for recording in (untimed, timed):
        assert judge(events, recording, keywords) == ({"Lights_on": 1, "Go": 1}, [events[2]])


def test_counts_by_source_at_the_models_own_threshold(folder, tmp_path):
    record = measure_recordings(LevelEar(), folder, partial=tmp_path / "x.partial.jsonl")
    speech, noise = record["sources"]["speech/a"], record["sources"]["noise/b"]
    assert (speech["said"], speech["found"], speech["false_alarms"]) == (3, 3, 2)
    assert (noise["said"], noise["false_alarms"], noise["recordings"]) == (0, 1, 1)
    assert speech["hours"] == pytest.approx(4.0 / 3600)
    assert speech["per_hour"] == pytest.approx(2 * 3600 / 4.0)
    assert speech["words"]["yes"] == {"said": 1, "found": 1, "alarms": 2}
    assert record["skipped"] == [["noise/b/broken.wav", record["skipped"][0][1]]]
    assert record["speech"] == speech  # the noise has no transcript
    assert (record["transcripts"], record["recordings"]) == (2, 4)
    above = next(point for point in record["curve"] if point[0] == 0.7)
    assert above[1:] == [pytest.approx(900.0), pytest.approx(0.0)]
    assert not (tmp_path / "x.partial.jsonl").exists()


def test_a_higher_threshold_never_has_more(folder, tmp_path):
    record = measure_recordings(LevelEar(), folder, partial=tmp_path / "x.jsonl")
    for curve in (record["curve"], *record["curves"].values()):
        rates, frrs = [point[1] for point in curve], [point[2] for point in curve]
        assert rates == sorted(rates, reverse=True)
        assert frrs == sorted(frrs)
    assert set(record["points"]) == {"0.1", "0.5", "1", "10"}


def test_what_was_done_before_a_stop_is_not_done_again(folder, tmp_path):
    partial = tmp_path / "x.partial.jsonl"
    whole = measure_recordings(LevelEar(), folder, partial=partial)

    class StoppedError(Exception):
        pass

    def stop(done, total, message=""):
        if done == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        measure_recordings(LevelEar(), folder, partial=partial, report=stop)
    partial.write_text(partial.read_text() + '{"name": "cut o')
    ear = LevelEar()
    assert measure_recordings(ear, folder, partial=partial) == whole
    assert ear.n_fed == 1600 + 300  # only the last recording
    with pytest.raises(StoppedError):
        measure_recordings(LevelEar(), folder, partial=partial, report=stop)
    before, kept = partial.read_bytes(), []

    def look(done, total, message=""):
        kept.append(partial.read_bytes())

    measure_recordings(LevelEar(), folder, partial=partial, report=look)
    assert kept[0] == before  # at no time is what was done in memory alone
    for damage in (b"\x00\xff", b'{"name": '):
        with pytest.raises(StoppedError):
            measure_recordings(LevelEar(), folder, partial=partial, report=stop)
        digest, *lines = partial.read_bytes().splitlines(keepends=True)
        partial.write_bytes(digest + damage + b"".join(lines))
        assert measure_recordings(LevelEar(), folder, partial=partial) == whole
    with pytest.raises(StoppedError):
        measure_recordings(LevelEar(), folder, partial=partial, report=stop)
    (folder / "text.tsv").write_text("path\ttext\nspeech/a/one.wav\tmaybe\n")
    assert measure_recordings(LevelEar(), folder, partial=partial)["speech"]["false_alarms"] == 3
    with pytest.raises(StoppedError):
        measure_recordings(LevelEar(), folder, partial=partial, report=stop)
    (folder / "text.tsv").write_text("path\ttext\nspeech/a/one.wav\tyes no\n")
    with pytest.raises(StoppedError):
        measure_recordings(LevelEar(), folder, partial=partial, report=stop)
    (folder / "words.ctm").write_text("one 1 0.0 0.4 yes\none 1 9.0 0.4 no\n")
    assert measure_recordings(LevelEar(), folder, partial=partial)["speech"]["found"] == 1


def test_a_link_that_leads_nowhere_is_named_and_passed_over(folder, tmp_path):
    (folder / "speech/a/three.wav").symlink_to(tmp_path / "nowhere.wav")
    record = measure_recordings(LevelEar(), folder, partial=tmp_path / "x.jsonl")
    assert ["speech/a/three.wav", "no such file"] in record["skipped"]
    assert record["speech"]["found"] == 3


def test_validation_chooses_a_threshold_for_the_rate(tmp_path):
    folder = tmp_path / "real"
    lines = ["path\tspeaker\ttext"]
    for i in range(30):
        write_sound(folder / f"{i}.wav", sound(0.1, 0.21), RATE, subtype="FLOAT")
        lines.append(f"{i}.wav\ts{i}\tyes")
    (folder / "text.tsv").write_text("\n".join(lines))
    record = measure_recordings(LevelEar(), folder, split="validation", partial=tmp_path / "x.jsonl")
    assert 0.6 < record["settings"]["threshold"] < 0.9
    assert (record["speech"]["false_alarms"], record["speech"]["found"]) == (0, record["speech"]["said"])
    assert 0 < record["speech"]["recordings"] < 30
    with pytest.raises(MissingError, match="leave --split out"):
        measure_recordings(LevelEar(), folder, split="test12", partial=tmp_path / "x.jsonl")


@pytest.mark.parametrize(
    ("n", "low", "high"), [(0, 0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39), (100, 81.36, 121.6)]
)
def test_the_interval_is_that_of_the_tables(n, low, high):
    """Garwood's limits, as in any table of the Poisson distribution."""
    assert poisson_interval(n) == pytest.approx((low, high), rel=1e-3, abs=1e-9)


def test_table_card_and_figure_say_the_same(folder, tmp_path):
    record = {"windows": measure_recordings(LevelEar(), folder, partial=tmp_path / "x.jsonl")}
    text = recordings_table(record)
    assert max(map(len, text.splitlines())) <= 80
    assert "1800.0 (218.0 to 6502.2)" in text
    assert "100.0 %" in text
    assert "1 recording skipped" in text
    assert "skipped" not in recordings_table({"windows": record["windows"] | {"skipped": []}})
    noise, speech = card_lines(record)
    assert "3 of 3 keywords in it detected" in speech
    assert "detected" not in noise
    plot_recordings(record, tmp_path / "det.svg")
    assert "false alarms of the keyword per hour" in (tmp_path / "det.svg").read_text()


def test_a_rate_below_one_false_alarm_in_all_that_was_measured_is_marked(folder, tmp_path):
    measured = measure_recordings(LevelEar(), folder, partial=tmp_path / "x.jsonl")
    assert recordings_table({"windows": measured}).count("fewer than one in 0.00 hours") == 4
    speech = measured["speech"] | {"hours": 2.0}
    table = recordings_table({"windows": measured | {"speech": speech}}).splitlines()
    rows = {line.split()[0]: line for line in table if line.split()[:1] in (["0.1"], ["0.5"], ["1"], ["10"])}
    assert {rate for rate, line in rows.items() if "fewer than one in 2.00 hours" in line} == {"0.1"}
    assert max(map(len, table)) <= 80


def test_of_keywords_that_nobody_said_no_share_is_found(folder, tmp_path):
    (folder / "text.tsv").unlink()
    table = recordings_table({"windows": measure_recordings(LevelEar(), folder, partial=tmp_path / "x.jsonl")})
    found = [line.split()[3] for line in table.splitlines() if line.split()[:1] in (["0.1"], ["0.5"], ["1"], ["10"])]
    assert found == ["-"] * 4


def test_more_keywords_than_can_be_followed_are_shared_out_among_panels(folder, tmp_path):
    measured = measure_recordings(LevelEar(), folder, partial=tmp_path / "x.jsonl")
    for n, panels in ((MOST_LINES, 1), (MOST_LINES + 1, 2)):
        curves = {f"word {i}": measured["curve"] for i in range(n)}
        plot_recordings({"windows": measured | {"curves": curves}}, path := tmp_path / f"{n}.svg")
        text = path.read_text()
        assert all(f">{word}<" in text for word in curves)
        assert text.count(">all<") == panels  # of the legends


@pytest.mark.slow
def test_the_command_measures_a_model_that_is_no_run(tmp_path):
    folder = tmp_path / "real"
    write_sound(folder / "a.wav", np.zeros(8000, np.float32))
    (folder / "text").write_text("a YES\n")
    (folder / "b.wav").write_bytes(b"no sound")
    asked = ["eval", "keywords10", "--false-alarms", str(folder), "--runs", str(tmp_path / "runs"), "--json"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    (record,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert record["model"] == "keywords10"
    assert result.stderr.count(f"skipped {folder / 'b.wav'}: ") == 1
    assert "1 of 2 recordings have a transcript; in the others every keyword counts as a false alarm\n" in result.stderr
    (folder / "text").unlink()
    result = CliRunner().invoke(app, asked)
    assert "0 of 2 recordings have a transcript" in result.stderr
    assert "--transcripts names a table" in result.stderr
    (folder / "text.csv").write_text("path,text\na.wav,yes\nb.wav,no\n")
    assert "have a transcript" not in CliRunner().invoke(app, asked).stderr
    assert (record["windows"]["speech"]["said"], record["windows"]["speech"]["false_alarms"]) == (1, 0)
    said = "keywords10: no run, so no record is kept; --json prints all that is measured\n"
    assert [CliRunner().invoke(app, those).stderr.count(said) for those in (asked, asked[:-1])] == [0, 1]


def test_of_a_model_that_is_no_run_the_command_says_what_it_can_measure(tmp_path):
    for name, what in (("keywords10", "a model and no run; --false-alarms FOLDER measures it"), ("x", "no such run")):
        result = CliRunner().invoke(app, ["eval", name, "--runs", str(tmp_path)])
        assert result.exit_code == 3
        assert f"error: {name}: {what}" in result.stderr


def test_what_would_do_nothing_is_refused(tmp_path):
    def refused(*arguments):
        result = CliRunner().invoke(app, ["eval", "keywords10", "--runs", str(tmp_path), *arguments])
        assert result.exit_code == 2
        return result.stderr

    beside = ["--false-alarms", str(tmp_path), "--min-accuracy", "0.9", "--robustness"]
    assert "leave out --min-accuracy, --robustness" in refused(*beside)
    assert "goes with --false-alarms" in refused("--transcripts", str(tmp_path))


@pytest.mark.slow
def test_the_figure_of_a_file_lies_in_the_folder_of_figures(tmp_path):
    write_sound(tmp_path / "real/a.wav", np.zeros(1600, np.float32))
    model, plots = FOLDER / "keywords10_nano.onnx", tmp_path / "plots"
    asked = ["eval", str(model), "--false-alarms", str(tmp_path / "real"), "--plots", str(plots)]
    assert CliRunner().invoke(app, [*asked, "--runs", str(tmp_path / "runs")]).exit_code == 0
    (figure,) = plots.rglob("*")
    assert figure.name.endswith("_bundled_keywords10_nano.onnx.svg")


@pytest.mark.slow
def test_the_command_goes_on_where_it_was_stopped_after_another_folder(tmp_path, monkeypatch):
    search, searched = recordings.search, []

    def stopped_once(model, path, *asked):
        searched.append(path.name)
        if path.name == "c.wav" and "b.wav" in searched:
            raise KeyboardInterrupt
        return search(model, path, *asked)

    for name in ("one/a", "one/b", "one/c", "two/a"):
        write_sound(tmp_path / f"{name}.wav", np.zeros(1600, np.float32))

    def measure(folder):
        searched.clear()
        arguments = ["eval", "keywords10", "--false-alarms", str(tmp_path / folder), "--runs", str(tmp_path / "runs")]
        return CliRunner().invoke(app, arguments).exit_code, list(searched)

    monkeypatch.setattr(recordings, "search", stopped_once)
    assert measure("one") == (130, ["a.wav", "b.wav", "c.wav"])
    assert measure("two") == (0, ["a.wav"])
    assert measure("one") == (0, ["c.wav"])
    assert not list((tmp_path / "runs/measured").iterdir())


def test_models_folders_and_splits_have_partial_files_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = [("a/m.onnx", "x", "all"), ("b/m.onnx", "x", "all"), ("a/m.onnx", "y", "all"), ("a/m.onnx", "x", "test")]
    assert len({partial_name(name, Path(folder), split) for name, folder, split in asked}) == 4
    assert partial_name("m", Path("x"), "all") == partial_name("m", tmp_path / "x", "all")


def test_smoothing_is_chosen_by_the_rates_around_the_one_asked_for():
    lucky = [[0.5, 10.0, 0.6], [0.7, 3.0, 0.8], [0.9, 1.0, 0.96]]  # threshold, false alarms an hour, FRR
    better = [[0.5, 9.0, 0.5], [0.7, 2.0, 0.7], [0.9, 1.0, 0.97]]
    loud = [[0.9, 1.5, 0.1]]
    assert sorted([loud, lucky, better], key=lambda curve: cost(curve, 1.0)) == [better, lucky, loud]
