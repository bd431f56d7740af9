"""`kwspot predict` as a shell uses it: lines in order, JSON for programs, errors in their place."""

import csv
import json
import os
from pathlib import Path
import resource
import subprocess
import sys

import onnx
import pytest
import soundfile
from typer.testing import CliRunner

from kwspot import Spotter
from kwspot.audio.reading import HIGHEST_RATE, LOWEST_RATE
from kwspot.cli import app
from tests.sounds import make_corpus, tone, write_sound

KWSPOT = [sys.executable, "-m", "kwspot"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for i, seconds in enumerate((1.0, 0.4, 2.0)):
        write_sound(tmp_path / "clips" / f"{i}.wav", tone(300 * (i + 1), seconds))
    (tmp_path / "clips" / "bad.wav").write_text("no sound")
    monkeypatch.chdir(tmp_path)
    for name in ("KWSPOT_DATA", "KWSPOT_RUNS", "KWSPOT_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def predict(*arguments, **options):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)], **options)


def test_in_a_pipe_a_line_is_path_word_posterior(folder):
    done = predict("clips/1.wav", "clips/0.wav")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    spotter = Spotter.load()
    for path, (name, word, posterior) in zip(("clips/1.wav", "clips/0.wav"), rows, strict=True):
        expected = spotter.predict_file(path)
        assert (name, word, posterior) == (path, expected.word, f"{expected.posterior:.2f}")


def test_json_has_the_documented_keys(folder):
    done = predict("clips/1.wav", "--json", "--top", 3)
    record = json.loads(done.stdout)
    assert list(record) == ["schema", "path", "word", "posterior", "top", "seconds", "model"]
    assert record["schema"] == 1
    assert record["seconds"] == 0.4
    assert record["model"] == "keywords10"
    assert len(record["top"]) == 3
    assert record["top"][0] == {"word": record["word"], "posterior": record["posterior"]}


def test_csv_has_a_header_and_a_row_a_file(folder):
    done = predict("clips/1.wav", "clips/bad.wav", "--csv", "--top", 2)
    (row,) = csv.DictReader(done.stdout.splitlines())
    expected = Spotter.load().predict_file("clips/1.wav", n_top=2)
    assert [row["path"], row["word"], row["word_2"], row["model"]] == [
        "clips/1.wav", expected.word, expected.top[1][0], "keywords10"
    ]  # fmt: skip
    assert float(row["posterior"]) == pytest.approx(expected.posterior, abs=1e-6)
    assert done.stderr.startswith("error: clips/bad.wav")
    assert "--json and --csv: give one of them" in predict("clips/1.wav", "--csv", "--json").stderr


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_clip_is_drawn_with_what_was_predicted(folder, suffix):
    done = predict("clips/2.wav", "--plot", f"clip.{suffix}")
    assert done.exit_code == 0, done.stderr
    content = (folder / f"clip.{suffix}").read_bytes()
    assert content.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    if suffix == "svg":
        prediction = Spotter.load().predict_file("clips/2.wav", n_top=5)
        assert all(word in content.decode() for word, _ in prediction.top)


def test_a_picture_says_what_the_line_says(folder):
    done = predict("clips/2.wav", "--threshold", "1", "--plot", "clip.svg")
    word, posterior = done.stdout.split("\t")[1:3]
    assert word == "unknown"
    assert f"{word} {float(posterior):.2f}" in (folder / "clip.svg").read_text()


def test_what_cannot_be_drawn_is_refused(folder):
    done = predict("clips/1.wav", "--plot", "clip.pdf")
    assert (done.exit_code, done.stdout) == (2, "")
    assert ".svg or .png" in done.stderr
    (folder / "empty.txt").write_text("")
    for sources in ("clips", "@empty.txt"):
        done = predict(sources, "--plot", "clip.svg")
        assert (done.exit_code, done.stderr) == (2, "error: --plot: one recording at a time; give one\n")
    assert not (folder / "clip.svg").exists()


def test_a_bad_file_is_an_error_in_its_place_and_code_1(folder):
    done = predict("clips", "missing.wav", "--json")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert [r["path"].rpartition("/")[2] for r in records] == ["0.wav", "1.wav", "2.wav", "bad.wav", "missing.wav"]
    assert ["error" in r for r in records] == [False, False, False, True, True]
    assert "no readable audio" in records[3]["error"]
    assert list(records[3]) == ["schema", "path", "error", "model"]
    plain = predict("clips", "missing.wav")
    assert plain.exit_code == 1
    assert len(plain.stdout.splitlines()) == 3
    assert len(plain.stderr.splitlines()) == 2
    assert all(line.startswith("error: ") for line in plain.stderr.splitlines())


def test_fail_fast_stops_at_the_first(folder):
    done = predict("clips/0.wav", "clips/bad.wav", "clips/1.wav", "--fail-fast")
    assert done.exit_code == 1
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["clips/0.wav"]


@pytest.mark.parametrize("arguments", [["-"], ["-", "--raw-rate", "8000"]])
def test_sound_on_standard_input(folder, arguments):
    write_sound(folder / "x.flac", tone(300, 1.0, 8000), 8000)
    raw = soundfile.read("x.flac", dtype="int16")[0].astype("<i2").tobytes()
    content = raw if "--raw-rate" in arguments else (folder / "x.flac").read_bytes()
    done = subprocess.run([*KWSPOT, "predict", *arguments, "--json"], input=content, capture_output=True, check=True)
    record = json.loads(done.stdout)
    assert record["path"] == "-"
    assert record["seconds"] == 1.0
    assert record["posterior"] == pytest.approx(Spotter.load().predict_file("x.flac").posterior, abs=1e-3)


def test_a_list_is_answered_line_by_line(folder):
    """Each line comes back before the next is written: nothing waits for a full buffer or the end of the list."""
    command = [*KWSPOT, "predict", "@-", "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for name in ("clips/1.wav", "clips/bad.wav", "clips/0.wav"):
            process.stdin.write(name + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["path"] == name
        process.stdin.close()
    assert process.returncode == 1


@pytest.mark.slow
def test_memory_does_not_grow_with_the_list(folder):
    """A list without end: after thousands of files the process is no larger than after hundreds."""
    code = "import sys\nwhile True: sys.stdout.write('clips/1.wav\\n' * 100)"
    with (
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as names,
        subprocess.Popen([*KWSPOT, "predict", "@-"], stdin=names.stdout, stdout=subprocess.PIPE) as process,
    ):
        names.stdout.close()

        def resident():
            return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

        sizes = []
        for _ in range(2):
            for _ in range(1500):
                process.stdout.readline()
            sizes.append(resident())
        process.stdout.close()  # whoever reads goes away: quiet, code 0
        assert process.wait(30) == 0
    assert sizes[1] - sizes[0] < 8e6


def test_names_that_are_no_text_go_through_as_they_are(folder):
    name = os.fsdecode(b"clips/\xff\xc3\xa9.wav")
    write_sound(folder / "clips" / "1.wav", tone(300)).rename(name)
    done = subprocess.run([*KWSPOT, "predict", name], capture_output=True, check=True)
    assert done.stdout.startswith(b"clips/\xff\xc3\xa9.wav\t")
    done = subprocess.run([*KWSPOT, "predict", name, "--json"], capture_output=True, check=True)
    assert json.loads(done.stdout)["path"] == name


def test_words_that_the_terminal_lacks_are_escaped_and_bytes_of_names_go_through(folder):
    model = onnx.load(Spotter.load().path)
    known = {entry.key: entry.value for entry in model.metadata_props}
    labels = json.dumps([f"слово{i}é" for i in range(len(json.loads(known["labels"])))])
    onnx.helper.set_model_props(model, known | {"labels": labels})
    onnx.save(model, "m.onnx")
    name = os.fsdecode(b"clips/\xff.wav")
    Path("clips/1.wav").rename(name)
    for command in ("predict", "spot"):
        arguments = [
            *KWSPOT,
            command,
            "--model",
            "m.onnx",
            *(["--threshold", "0.01"] if command == "spot" else []),
            name,
        ]
        done = subprocess.run(
            arguments, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "latin-1"}, check=True
        )
        assert done.stdout.startswith(b"clips/\xff.wav\t")
        assert rb"\u0441\u043b\u043e\u0432\u043e" in done.stdout
        assert b"\xe9\t" in done.stdout


@pytest.mark.parametrize(("rate", "bound"), [(LOWEST_RATE - 1, LOWEST_RATE), (HIGHEST_RATE + 1, HIGHEST_RATE)])
@pytest.mark.parametrize("command", ["predict", "spot", "listen"])
def test_a_raw_rate_that_cannot_be_is_refused(folder, command, rate, bound):
    done = CliRunner().invoke(app, [command, "-", "--raw-rate", str(rate)], input=bytes(2000))
    assert done.exit_code == 2
    assert str(bound) in done.stderr


def test_a_figure_needs_no_display_whatever_is_asked_for(folder):
    environment = os.environ | {"MPLBACKEND": "nonsense"}
    subprocess.run([*KWSPOT, "predict", "clips/1.wav", "--plot", "x.svg"], env=environment, check=True)
    assert Path("x.svg").is_file()


def test_random_takes_a_test_recording_and_says_its_word(folder):
    make_corpus(folder / "data", ("left", "right", "house"), n_speakers=40)
    words = set()
    for _ in range(4):
        record = json.loads(predict("--random", "--json").stdout)
        assert record["true_word"] == record["path"].split("/")[1]
        words.add(record["true_word"])
    assert words <= {"left", "right", "house"}
    assert "true word: " in predict("--random").stdout


def test_predict_and_random_are_two_things(folder):
    assert predict("x.wav", "--random").exit_code == 2


def test_nothing_is_reported_and_nothing_written_at_home(folder):
    home = folder / "home"
    home.mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_", "CI"))}
    subprocess.run(
        [*KWSPOT, "predict", "clips/1.wav"], env={**kept, "HOME": str(home)}, check=True, capture_output=True
    )
    assert list(home.rglob("*")) == []


def test_prediction_imports_nothing_of_training(folder):
    heavy = ("torch", "torchaudio", "matplotlib", "onnx", "spox", "tensorboard", "starlette", "rich")
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom kwspot.cli import app\n"
        "assert CliRunner().invoke(app, ['predict', 'clips/0.wav']).exit_code == 0\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_columns_stand_below_each_other_on_a_terminal(folder):
    import pty

    write_sound(folder / "clips" / "a-long-name.wav", tone(440))
    parent, child = pty.openpty()
    process = subprocess.Popen([*KWSPOT, "predict", "clips/1.wav", "clips/a-long-name.wav"], stdout=child)
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
    assert process.wait() == 0
    first, second = content.decode().splitlines()
    assert first.startswith("clips/1.wav" + " " * 10)
    assert first.rindex(" ") == second.rindex(" ")
    assert "\t" not in first


def test_below_the_threshold_a_word_is_unknown(folder):
    word, posterior = Spotter.load().predict_file("clips/1.wav").top[0]
    for threshold, said in ((posterior - 0.01, word), (posterior + 0.01, "unknown")):
        record = json.loads(predict("clips/1.wav", "--json", "--threshold", threshold).stdout)
        assert record["word"] == said
        assert record["top"][0]["word"] == word
        assert predict("clips/1.wav", "--threshold", threshold).stdout.split("\t")[1] == said
