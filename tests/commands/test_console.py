"""kwspot.commands.console: results and a bar share a terminal."""

import os
import pty
import re
import subprocess
import sys

PROGRAM = """
from kwspot.commands import console
console.PATIENCE_S = -1.0
with console.progress("spot", unit="s", brief=True) as report:
    for i in (1, 2):
        report(i, 10, "long.wav")
        console.say(f"a word at {i}")
        console.note(f"a remark at {i}")
"""
REDRAWN = re.compile(r"[^\n]*\r\x1b\[2K")  # what stood on a line until it was erased
STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(program: str) -> list[str]:
    """Run a program whose outputs are one terminal; return the lines that it leaves there."""
    parent, child = pty.openpty()
    content = b""
    with subprocess.Popen([sys.executable, "-c", program], stdout=child, stderr=child):
        os.close(child)
        while True:
            try:
                content += os.read(parent, 4096)
            except OSError:  # the terminal is gone
                break
    os.close(parent)
    lines = content.decode().replace("\r\n", "\n").split("\n")
    return [STYLE.sub("", REDRAWN.sub("", line)).strip() for line in lines]


def test_results_and_remarks_stand_on_lines_of_their_own_above_a_bar():
    lines = on_terminal(PROGRAM)
    assert [line for line in lines if line.startswith("a ")] == [
        "a word at 1", "a remark at 1", "a word at 2", "a remark at 2",
    ]  # fmt: skip


def test_a_file_whose_name_looks_like_markup_is_shown_as_it_is_named():
    lines = on_terminal(PROGRAM.replace("long.wav", "x[/b].wav"))
    assert [line for line in lines if line.startswith("a ")] == [
        "a word at 1", "a remark at 1", "a word at 2", "a remark at 2",
    ]  # fmt: skip
    assert not any("Error" in line for line in lines)


def test_a_sentence_is_wrapped_on_a_terminal_only():
    sentence = "caution: " + "a word " * 20
    program = f"from kwspot.commands import console\nconsole.say_wrapped({sentence!r})"
    lines = on_terminal(f"import os\nos.environ.pop('COLUMNS', None)\n{program}")
    assert max(map(len, lines)) <= 80
    assert " ".join(lines).split() == sentence.split()
    assert len([line for line in lines if line]) == 2
    plain = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert plain.stdout == sentence + "\n"
