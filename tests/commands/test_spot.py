"""`kwspot spot` as a shell uses it: a line a word, tables, JSON and label tracks, errors in their place."""

import csv
import json
import os
import pty
import re
import subprocess
import sys

import pytest
import soundfile
from typer.testing import CliRunner

from kwspot.cli import app
from tests.sounds import RATE, tone, write_sound
from tests.speech import spoken

pytestmark = pytest.mark.slow

SETTINGS = ("--threshold", "0.8", "--smoothing-ms", "200", "--refractory-ms", "300")
MODEL = ("--model", "keywords10", *SETTINGS)  # which speech.py chooses its words by
KWSPOT = [sys.executable, "-m", "kwspot"]


@pytest.fixture(scope="module")
def said():
    return spoken(2)


@pytest.fixture
def folder(tmp_path, monkeypatch, said):
    write_sound(tmp_path / "long.wav", said[0])
    write_sound(tmp_path / "more" / "quiet.flac", tone(440, 2.0, volume=1e-3))
    (tmp_path / "more" / "bad.wav").write_text("no sound")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KWSPOT_RUNS", raising=False)
    return tmp_path


def spot(*arguments):
    return CliRunner().invoke(app, ["spot", *MODEL, *map(str, arguments)])


def words_of(said):
    return [word for word, _, _ in said[1]]


def csv_rows(done):
    for record in map(json.loads, done.stdout.splitlines()):
        times = [f"{record[key]:.3f}" for key in ("start_s", "end_s")]
        yield [record["path"], record["word"], f"{record['posterior']:.6f}", *times, record["model"]]


def check_times(rows, said):
    """Rows of texts: start and end."""
    for (start, end), (_, start_s, end_s) in zip(rows, said[1], strict=True):
        assert float(start) < float(end)
        assert (float(start) + float(end)) / 2 == pytest.approx((start_s + end_s) / 2, abs=0.15)


def test_in_a_pipe_a_line_is_path_times_word_posterior(folder, said):
    done = spot("long.wav", "more/quiet.flac")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    assert list(csv.DictReader(spot("--csv", "long.wav").stdout.splitlines())) == [
        dict(zip(("path", "word", "posterior", "start_s", "end_s", "model"), row, strict=True))
        for row in csv_rows(spot("--json", "long.wav"))
    ]
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert {row[0] for row in rows} == {"long.wav"}
    assert [row[3] for row in rows] == words_of(said)
    check_times([row[1:3] for row in rows], said)
    assert all(0.8 <= float(row[4]) <= 1 for row in rows)


def test_json_has_the_documented_keys(folder, said):
    records = [json.loads(line) for line in spot("--json", "long.wav").stdout.splitlines()]
    assert [record["word"] for record in records] == words_of(said)
    for record in records:
        assert list(record) == ["schema", "path", "word", "posterior", "start_s", "end_s", "model"]
        assert (record["schema"], record["path"], record["model"]) == (1, "long.wav", "keywords10")
    check_times([(record["start_s"], record["end_s"]) for record in records], said)


def test_labels_are_a_track_for_audacity(folder, said):
    done = spot("--labels", "long.wav")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[2] for row in rows] == words_of(said)
    assert all(len(text.partition(".")[2]) >= 3 for row in rows for text in row[:2])
    check_times([row[:2] for row in rows], said)
    done = spot("--labels", "long.wav", "more/quiet.flac")
    assert done.exit_code == 2
    assert "one recording at a time" in done.stderr


def test_a_recording_is_drawn_with_its_keywords(folder, said):
    done = spot("long.wav", "--plot", "long.svg")
    assert done.stderr == "wrote long.svg\n"
    content = (folder / "long.svg").read_text()
    assert all(content.count(f">{word}<") == 2 for word in set(words_of(said)))  # above the wave, and in the legend
    assert "smoothed posterior" in content


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("long.wav", "long.wav", "--plot", "x.svg"), "--plot: one recording at a time"),
        (("long.wav", "long.wav", "--labels"), "--labels: one recording at a time"),
        (("long.wav", "--plot", "x.pdf"), ".svg or .png"),
    ],
)
def test_what_cannot_be_drawn_or_labelled_is_refused_before_anything_is_printed(folder, arguments, error):
    done = spot(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert error in done.stderr


def test_a_textgrid_holds_the_words_and_the_whole_recording(folder, said):
    text = spot("--textgrid", "long.wav").stdout
    found = re.findall(r"xmin = (\S+)\s+xmax = (\S+)\s+text = \"(\w+)\"", text)
    assert [word for _, _, word in found] == words_of(said)
    check_times([(start, end) for start, end, _ in found], said)
    assert f"xmax = {len(said[0]) / RATE:.6f}" in text
    done = spot("--textgrid", "--json", "long.wav")
    assert done.exit_code == 2
    assert "--json and --textgrid: give one of them" in done.stderr


def test_subtitles_hold_the_words_in_their_order(folder, said):
    blocks = spot("--srt", "long.wav").stdout.strip().split("\n\n")
    assert [block.splitlines()[2] for block in blocks] == words_of(said)
    assert [block.splitlines()[0] for block in blocks] == [str(i + 1) for i in range(len(blocks))]


def test_a_bad_file_among_good_ones_is_a_line_and_code_1(folder, said):
    done = spot("more", "missing.wav", "long.wav")
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == len(said[1])
    first, second = done.stderr.splitlines()
    assert first.startswith("error: more/bad.wav: no readable audio")
    assert second == "error: missing.wav: no such file"
    records = [json.loads(line) for line in spot("more", "--json", "long.wav").stdout.splitlines()]
    assert [(record["path"], "error" in record) for record in records] == [
        ("more/bad.wav", True), ("long.wav", False), ("long.wav", False)
    ]  # fmt: skip
    assert list(records[0]) == ["schema", "path", "error", "model"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "lstn", "long.wav"], 3, "bundled models: keywords10, keywords10_long, keywords10_nano"),
        (["--threshold", "2", "long.wav"], 2, "threshold: a posterior above 0 and at most 1 is needed, got 2"),
        (["--smoothing-ms", "inf", "long.wav"], 2, "--smoothing-ms: a finite number is needed, got inf"),
        (
            ["--model", "keywords10", "--stream", "long.wav"],
            3,
            "keywords10: comes without a stream; keywords10_long has one",
        ),
    ],
)
def test_error_is_one_line_with_its_code(folder, arguments, code, message):
    done = spot(*arguments)
    assert done.exit_code == code
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_options_decide_what_is_an_event(folder, said):
    done = spot("--threshold", 1, "long.wav")
    assert done.stdout == ""
    assert re.fullmatch(r"no keyword detected in 1 recording, [\d.]+ s; threshold 1\n", done.stderr)
    assert spot("--threshold", 1, "--quiet", "long.wav").stderr == ""
    assert len(spot("--smoothing-ms", 0, "--threshold", 0.5, "long.wav").stdout.splitlines()) >= len(said[1])
    merged = spot("--refractory-ms", 10_000, "long.wav").stdout.splitlines()
    assert len(merged) <= len(said[1])


@pytest.mark.parametrize("form", ["wav", "raw"])
def test_sound_on_standard_input(folder, said, form):
    content, arguments = (folder / "long.wav").read_bytes(), ["-"]
    if form == "raw":
        content = soundfile.read(folder / "long.wav", dtype="int16")[0].astype("<i2").tobytes()
        arguments = ["-", "--raw-rate", str(RATE)]
    done = subprocess.run([*KWSPOT, "spot", *MODEL, *arguments], input=content, capture_output=True, check=True)
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [(row[0], row[3]) for row in rows] == [("-", word) for word in words_of(said)]


def test_closed_pipe_is_quiet(folder):
    command = [*KWSPOT, "spot", *MODEL, *["long.wav"] * 4]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_columns_stand_below_each_other_on_a_terminal(folder, said):
    parent, child = pty.openpty()
    with subprocess.Popen([*KWSPOT, "spot", *MODEL, "long.wav"], stdout=child):
        os.close(child)
        content = b""
        while True:
            try:
                piece = os.read(parent, 4096)
            except OSError:  # the terminal is gone
                break
            if not piece:
                break
            content += piece
    os.close(parent)
    lines = content.decode().splitlines()
    assert len(lines) == len(said[1])
    assert "\t" not in content.decode()
    assert len({line.rindex(" ") for line in lines}) == 1
    assert max(map(len, lines)) < 80


def test_spotting_imports_nothing_of_training(folder):
    heavy = ("torch", "torchaudio", "matplotlib", "onnx", "spox", "tensorboard", "starlette", "rich", "sounddevice")
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom kwspot.cli import app\n"
        "assert CliRunner().invoke(app, ['spot', 'more/quiet.flac']).exit_code == 0\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_a_name_the_model_for_long_sound_is_taken(folder):
    done = CliRunner().invoke(app, ["spot", "--threshold", "0.3", "--json", "long.wav"])
    assert {json.loads(line)["model"] for line in done.stdout.splitlines()} == {"keywords10_long"}


def test_the_default_model_has_a_stream(folder):
    done = CliRunner().invoke(app, ["spot", "--stream", "--threshold", "0.3", "--json", "long.wav"])
    assert done.exit_code == 0, done.stderr
    assert {json.loads(line)["model"] for line in done.stdout.splitlines()} <= {"keywords10_long"}
