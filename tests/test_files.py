"""Files are written whole, to what a path leads to, and never over what is no file."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kwspot.cli import app
from kwspot.errors import ConfigError
from kwspot.files import write_text
from kwspot.inference.model_zoo import bundled_models
from tests.records import make_run
from tests.sounds import tone, write_sound


def test_a_link_stays_a_link_and_what_it_leads_to_is_written(tmp_path):
    there, link = tmp_path / "there" / "page.html", tmp_path / "link.html"
    link.symlink_to(Path("there", "page.html"))
    for text in ("new", "written over"):  # the link dangles at first
        write_text(link, text)
        assert link.is_symlink()
        assert there.read_text() == text
    assert sorted(tmp_path.rglob("*")) == [link, there.parent, there]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_pipe_or_device_is_left_alone(tmp_path, through_a_link):
    pipe = path = tmp_path / "pipe"
    os.mkfifo(pipe)
    if through_a_link:
        path = tmp_path / "link"
        path.symlink_to(pipe)
    with pytest.raises(ConfigError, match=f"{path}: a device or pipe"):
        write_text(path, "text")
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    "arguments",
    [
        ["cut", "latin.tsv", "--recordings", ".", "--out", "out"],
        ["vocabulary", "--first", "latin.tsv", "--out", "out"],
        ["eval", "lstm", "--false-alarms", "rec"],
        ["models", "m.onnx"],
        ["compare", "--write", "latin.tsv"],
        ["export", "lstm", "--card", "latin.tsv"],
    ],
    ids=lambda words: words[0],
)
def test_a_text_that_is_no_utf_8_is_named_with_its_place(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path / "runs")
    write_sound(Path("rec/a.wav"), tone(440))
    model = bundled_models()[0].path.read_bytes()
    for path in (Path("m.onnx"), run.path / "model.onnx"):
        path.write_bytes(model)
    for name in ("latin.tsv", "m.md", "rec/words.ctm"):
        Path(name).write_bytes("caf\u00e9\n".encode("latin-1"))
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 4, done.output
    assert done.stderr.splitlines()[-1].endswith(": not UTF-8, byte 3; save it as UTF-8")
    assert not Path("out").exists()


@pytest.mark.parametrize("command", [["report", "lstm", "--no-audio"], ["export", "lstm"]], ids=lambda words: words[0])
@pytest.mark.parametrize("out", [".", "/", "", "below/.."])
def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_is_done(tmp_path, monkeypatch, command, out):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs")
    Path("below").mkdir()
    monkeypatch.setattr("kwspot.evaluation.comparison.choose_runs", None)
    done = CliRunner().invoke(app, [*command, "--out", out])
    assert (done.exit_code, done.stderr) == (1, f"error: {Path(out)}: Is a directory\n")
