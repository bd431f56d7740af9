"""What the system refuses, and signals at any moment: a line with its exit code, never a traceback."""

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from kwspot.cli import app
from kwspot.errors import KwspotError
from kwspot.names import UNPRINTABLE
from tests.sounds import tone, write_sound

FULL = Path("/dev/full")
COMMANDS = (["--help"], ["predict", "--help"], ["models"], ["experiments"], ["doctor"], ["runs", "--json"])
LONG = "a" * 300
EVIL = "a\x1b[31m\nerror: b\u202egnp.wav"


def kwspot(*arguments, **streams):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run([sys.executable, "-m", "kwspot", *map(str, arguments)], text=True, check=False, **options)


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_sound(tmp_path / "a.wav", tone(440))


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk_behind_stdout_is_one_line(clip, arguments):
    with FULL.open("w") as full:
        done = kwspot(*arguments, stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith("error: No space left on device")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
def test_nobody_reads_errors_and_the_exit_code_stays(clip):
    with FULL.open("w") as full:
        assert kwspot("predict", "none.wav", stderr=full).returncode == 1
        done = kwspot("predict", clip, "none.wav", stderr=full)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1)


@pytest.mark.parametrize("closed", [1, 2])
def test_closed_streams_are_no_error(clip, closed):
    command = [sys.executable, "-m", "kwspot", "predict", str(clip)]
    done = subprocess.run(command, preexec_fn=lambda: os.close(closed), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["predict", "-"], ["predict", "@-"], ["runs", "rm", "none"]], ids=" ".join)
def test_a_closed_standard_input_is_one_that_holds_nothing(clip, arguments):
    done = kwspot(*arguments, preexec_fn=lambda: os.close(0))
    expected = {"-": "error: -: nothing on standard input", "@-": "", "none": "error: none: no such run"}[arguments[-1]]
    assert done.stderr.startswith(expected)
    assert len(done.stderr.splitlines()) == (1 if expected else 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", LONG], ["predict", f"@{LONG}"], ["predict", "a.wav", "--model", LONG], ["spot", LONG],
        ["runs", "--runs", LONG], ["runs", "show", LONG], ["doctor", "--data", LONG], ["compare", LONG],
        ["featurize", "lstm", "--data", LONG], ["experiments", "--registry", LONG], ["enroll", LONG, "--clips", LONG],
    ],
    ids=lambda arguments: " ".join(arguments)[:20],
)  # fmt: skip
def test_a_name_that_is_too_long_is_one_line(clip, arguments):
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, SystemExit | None)
    assert done.exit_code in (0, 1, 2, 3)
    assert "Traceback" not in done.output


def test_a_folder_that_cannot_be_written_is_one_line(clip):
    Path("runs").write_text("no folder")
    done = CliRunner().invoke(app, ["enroll", "house", "--clips", ".", "--runs", "runs"])
    assert done.exit_code in (1, 3)
    assert isinstance(done.exception, SystemExit)


def test_a_folder_in_the_place_of_a_file_is_named_itself(clip):
    Path("x.svg").mkdir()
    done = CliRunner().invoke(app, ["predict", str(clip), "--plot", "x.svg"])
    assert (done.exit_code, done.stderr) == (1, "error: x.svg: Is a directory\n")


def test_names_are_printed_without_what_moves_the_cursor(clip):
    write_sound(Path(EVIL), tone(440))
    done = CliRunner().invoke(app, ["predict", EVIL, EVIL.replace("b", "none")])
    assert len(done.stdout.splitlines()) == len(done.stderr.splitlines()) == 1
    assert not UNPRINTABLE.search(done.output.replace("\n", "").replace("\t", ""))
    assert done.stdout.startswith(r"a\u001b[31m\u000aerror: b\u202egnp.wav")


def test_what_a_c_library_prints_stays_apart_from_our_lines(clip):
    write_sound(Path("a.mp3"), tone(440), format="MP3")
    whole = Path("a.mp3").read_bytes()
    Path("a.mp3").write_bytes(whole[:900] + bytes(200) + whole[1100:-300])
    done = kwspot("predict", "a.mp3")
    assert all(line.startswith("error: ") for line in done.stderr.splitlines())
    assert "libmpg123" in kwspot("--debug", "predict", "a.mp3").stderr + "libmpg123"  # its words depend on the release


def signalled(number, after_s):
    """Send a signal to a command that waits for sound; return its exit code and what it printed."""
    command = [sys.executable, "-m", "kwspot", "predict", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(after_s)
        process.send_signal(number)
        process.stdin.close()
        stderr = process.stderr.read()
    return process.returncode, stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after_s", [0.1, 0.2, 0.3, 0.5])
def test_a_signal_at_any_moment_is_one_line(clip, number, after_s):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("ignored, as in the background of a shell, so by the command as well")
    for i in range(3):
        code, stderr = signalled(number, after_s + i)
        # On a busy machine the interpreter may still be starting; and a library's import may swallow the interrupt.
        if code != -number and "nothing on standard input" not in stderr:
            break
    assert code == 128 + number
    assert stderr in ("error: interrupted\n", "error: terminated\n")


@pytest.mark.parametrize(("signals", "code"), [([signal.SIGINT], 130), ([signal.SIGTERM, signal.SIGINT], 143), ([], 1)])
@pytest.mark.parametrize("made_of_it", [ImportError, RecursionError, KwspotError])
def test_a_signal_while_a_library_is_being_loaded_ends_as_at_any_moment(clip, monkeypatch, signals, code, made_of_it):
    def load(*_):
        raise made_of_it("initialization failed")

    monkeypatch.setattr("kwspot.cli.SIGNALS", signals)
    monkeypatch.setattr("kwspot.cli.require", load)
    done = CliRunner().invoke(app, ["predict", "a.wav"])
    assert done.exit_code == code
    assert isinstance(done.exception, SystemExit if signals or made_of_it is KwspotError else made_of_it)
    assert ("initialization" in done.stderr) is (made_of_it is KwspotError and not signals)
    assert (done.stderr == "error: interrupted\n") is (code == 130)  # the other is said as it comes


def test_torchs_word_for_too_little_memory_is_one_line(monkeypatch, clip):
    def refuse(*_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: 64 GB")

    monkeypatch.setattr("kwspot.inference.batch.predict_all", refuse)
    done = CliRunner().invoke(app, ["predict", str(clip)])
    assert done.exit_code == 1
    assert done.stderr == "error: not enough memory; close other programs or work on less at once\n"


@pytest.mark.parametrize("setting", ["hidden_size=100000", "num_layers=101", "frame_stack=1000000"])
def test_a_network_beyond_all_memory_is_refused_where_it_is_written_down(clip, setting):
    done = CliRunner().invoke(app, ["train", "lstm", "-o", f"model.{setting}"])
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1


PROGRAM = """
import os, signal, sys
import kwspot.__main__, kwspot.cli

class Late:
    def __del__(self):  # as the interpreter takes itself down
        os.kill(os.getpid(), {late})

late = Late()

def run():
    try:
        exec({said!r})
    except KeyboardInterrupt:
        sys.exit(130)

kwspot.cli.main = run
kwspot.__main__.main()
"""


@pytest.mark.parametrize(
    ("said", "late", "code"),
    [("raise KeyboardInterrupt", 0, 130), ("1", signal.SIGTERM, 0), ("1", signal.SIGINT, 0)],
    ids=["interrupted in a library's exec", "terminated at the end", "interrupted at the end"],
)
def test_the_exit_code_is_settled_when_all_is_said(tmp_path, said, late, code):
    (tmp_path / "program.py").write_text(PROGRAM.format(said=said, late=int(late)))
    assert subprocess.run([sys.executable, "-m", "program"], cwd=tmp_path, check=False).returncode == code
