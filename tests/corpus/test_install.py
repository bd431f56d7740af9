"""A part is in its folder whole and marked, or not there; what was there before stays as it was."""

import signal
import subprocess
import sys

import pytest

from kwspot.corpus.install import CORPUS, TEST12, check, place, read_marker, settle, unsettled
from kwspot.errors import ConfigError, IntegrityError, MissingError
from tests.archives import corpus_files, read_tree

# Kills itself, as a power cut would, at the n-th change of the folder tree.
KILLED = """
import os, pathlib, shutil, signal, sys
from kwspot.corpus import install

left = int(sys.argv[2])

def counted(function):
    def run(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return run

pathlib.Path.rename = counted(pathlib.Path.rename)
pathlib.Path.replace = counted(pathlib.Path.replace)
pathlib.Path.write_text = counted(pathlib.Path.write_text)
os.replace = counted(os.replace)
os.unlink = counted(os.unlink)
os.rmdir = counted(os.rmdir)
os.mkdir = counted(os.mkdir)

def fill(folder):
    for name in ("yes/a.wav", "yes/b.wav", "no/a.wav", "validation_list.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)

dest = pathlib.Path(sys.argv[1])
install.settle(dest)
if install.read_marker(dest) is None:
    install.place(dest, "corpus", fill, name="words", source="test", sha256=None)
"""


WANTED = {name: name.encode() for name in ("yes/a.wav", "yes/b.wav", "no/a.wav", "validation_list.txt")}


def filler(files):
    def fill(folder):
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    return fill


def put(dest, files, part=CORPUS):
    return place(dest, part, filler(files), name="words", source="test", sha256="0" * 64)


def test_marker_counts_what_is_there(tmp_path):
    files = corpus_files()
    marker = put(tmp_path / "d", files)
    assert marker == read_marker(tmp_path / "d")
    assert (marker["n_files"], marker["n_bytes"]) == (len(files), sum(map(len, files.values())))
    assert read_tree(tmp_path / "d") == files
    assert check(tmp_path / "d").complete
    assert not unsettled(tmp_path / "d")


def test_one_corpus_is_not_put_over_another(tmp_path):
    put(tmp_path, {"yes/a.wav": b"1"})
    with pytest.raises(ConfigError, match="holds another corpus, words"):
        place(tmp_path, CORPUS, filler({"yes/b.wav": b"2"}), name="synthetic", source="test", sha256=None)
    (tmp_path / "yes" / "a.wav").unlink()
    put(tmp_path, {"yes/a.wav": b"1"})
    assert read_tree(tmp_path) == {"yes/a.wav": b"1"}


def test_both_parts_lie_in_one_folder_and_are_checked_apart(tmp_path):
    put(tmp_path, corpus_files())
    put(tmp_path, {"yes/t.wav": b"123"}, TEST12)
    assert (tmp_path / "_test12_" / "yes" / "t.wav").read_bytes() == b"123"
    assert check(tmp_path, CORPUS).complete
    assert check(tmp_path, TEST12).complete
    assert not check(tmp_path, CORPUS).new
    (tmp_path / "_test12_" / "yes" / "t.wav").unlink()
    assert check(tmp_path, CORPUS).complete
    assert check(tmp_path, TEST12).missing == ("yes/t.wav",)


def test_check_names_missing_changed_and_new_files(tmp_path):
    put(tmp_path, {"yes/a.wav": b"1", "yes/b.wav": b"22", "no/c.wav": b"333"})
    (tmp_path / "no" / "c.wav").unlink()
    (tmp_path / "yes" / "b.wav").write_bytes(b"2")
    (tmp_path / "yes" / "mine.wav").write_bytes(b"m")
    (tmp_path / "yes" / ".DS_Store").write_bytes(b"a file manager's note is no clip")
    found = check(tmp_path)
    assert (found.missing, found.changed, found.new) == (("no/c.wav",), ("yes/b.wav",), ("yes/mine.wav",))
    assert not found.complete


def test_no_marker_no_corpus(tmp_path):
    (tmp_path / "yes").mkdir()
    with pytest.raises(MissingError, match="kwspot download"):
        check(tmp_path)
    (tmp_path / ".kwspot").mkdir()
    (tmp_path / ".kwspot" / "corpus.json").write_text("{half")
    with pytest.raises(IntegrityError, match=r"corpus\.json: not a marker"):
        check(tmp_path)


def test_a_failing_fill_leaves_nothing(tmp_path):
    def fill(folder):
        (folder / "yes").mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place(tmp_path, CORPUS, fill, name="words", source="test", sha256=None)
    assert not list((tmp_path / ".kwspot").iterdir())


def test_what_is_there_is_never_overwritten(tmp_path):
    (tmp_path / "yes").mkdir()
    (tmp_path / "yes" / "a.wav").write_bytes(b"mine")
    put(tmp_path, {"yes/a.wav": b"theirs", "yes/b.wav": b"new"})
    assert read_tree(tmp_path) == {"yes/a.wav": b"mine", "yes/b.wav": b"new"}


@pytest.mark.slow
def test_killed_at_any_change_the_next_call_ends_the_same(tmp_path):
    """The marker is there only with all the files; in every fifth case the next call is killed as well."""
    for n_changes in range(100):
        dest = tmp_path / str(n_changes)
        codes = []
        for n in (n_changes, 3)[: 1 if n_changes % 5 else 2]:
            codes.append(subprocess.run([sys.executable, "-c", KILLED, str(dest), str(n)], check=False).returncode)
            assert codes[-1] in (0, -signal.SIGKILL)
            if read_marker(dest):
                assert check(dest).complete
        settle(dest)
        if read_marker(dest) is None:
            assert not [p for p in dest.glob("*") if p.name != ".kwspot"], "files without a marker"
            put(dest, WANTED)
        assert read_tree(dest) == WANTED
        assert check(dest).complete
        assert {path.name for path in (dest / ".kwspot").iterdir()} == {"corpus.json", "corpus.files.json"}
        if codes[0] == 0:
            break
    assert 10 < n_changes < 99


@pytest.mark.parametrize("content", ["{}", "[]", "3", '{"name": 3}', '{"name": "a\\u001b[2J"}', "[" * 100_000, "{"])
def test_what_is_no_marker_is_named(tmp_path, content):
    (tmp_path / ".kwspot").mkdir()
    (tmp_path / ".kwspot" / "corpus.json").write_text(content)
    with pytest.raises(IntegrityError, match=r"corpus\.json: not a marker"):
        read_marker(tmp_path)
