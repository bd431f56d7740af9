"""From an address to a corpus with its marker: verified, whole, and never over other people's files."""

from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
import signal
import subprocess
import sys
import tarfile
import time

import pytest
from typer.testing import CliRunner

from kwspot.commands.download import download as download_command
from kwspot.corpus import http as fetch_module
from kwspot.corpus.download import VERSIONS, Archive, choose, custom, download_archive, install_file
from kwspot.corpus.install import CORPUS, TEST12, check, read_marker
from kwspot.errors import ConfigError, IntegrityError, KwspotError
from tests.archives import corpus_files, pack, read_tree, served

FILES = corpus_files()
TEST_FILES = {"yes/t.wav.wav": b"RIFF", "_silence_/s.wav": b"RIFF"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(fetch_module, "PAUSE_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("KWSPOT_DATA", raising=False)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("made") / "words.tar.gz", FILES).read_bytes()


def archive_of(web, content, part=CORPUS):
    return Archive("words", "words.tar.gz", web.url, sha256(content).hexdigest(), part)


def kept(dest):
    return {path.name for path in (dest / ".kwspot").iterdir()} - {"lock"}


DONE = {"corpus.json", "corpus.files.json"}


def test_the_official_archives():
    """Digests are 64 hex digits, addresses end in the file names; v2 comes with the 12-class test archive."""
    assert [one.part for one in VERSIONS["v2"]] == [CORPUS, TEST12]
    for archives in VERSIONS.values():
        for one in archives:
            assert len(bytes.fromhex(one.sha256)) == 32
            assert one.url.endswith(f"/{one.file}") and one.file.startswith(one.name)
    assert len({one.sha256 for archives in VERSIONS.values() for one in archives}) == 3


def test_choose_a_mirror_or_an_archive_of_ones_own():
    corpus, test12 = VERSIONS["v2"]
    assert choose("v2") == (corpus, test12)
    assert choose("v2", url="http://m/x") == (replace(corpus, url="http://m/x"),)
    assert [one.url for one in choose("v2", url="http://m/")] == [f"http://m/{corpus.file}", f"http://m/{test12.file}"]
    own = choose("v2", url="http://m/a/my words.tgz?x=1", sha256="AB" * 32)[0]
    assert (own.name, own.file, own.sha256) == ("my_words", "my_words.tar.gz", "ab" * 32)
    assert custom("http://m/..", "ab" * 32).file == "archive.tar.gz"
    for wrong in ({"sha256": "ab" * 32}, {"url": "http://m/x", "sha256": "12"}):
        with pytest.raises(ConfigError):
            choose("v2", **wrong)


def test_a_download_ends_in_a_marked_corpus_and_the_next_call_does_nothing(tmp_path, content):
    dest = tmp_path / "d"
    with served(content) as web:
        marker, new = download_archive(archive_of(web, content), dest)
        assert new
        assert download_archive(archive_of(web, content), dest) == (marker, False)
    assert len(web.asked) == 1
    assert read_tree(dest) == FILES
    assert kept(dest) == DONE
    assert (
        marker
        == read_marker(dest)
        == {
            "schema": 1,
            "name": "words",
            "source": web.url,
            "sha256": sha256(content).hexdigest(),
            "n_files": len(FILES),
            "n_bytes": sum(map(len, FILES.values())),
        }
    )


def test_titles_and_progress_of_all_stages(tmp_path, content):
    seen = {}

    @contextmanager
    def progress(title):
        lines = seen.setdefault(title, [])
        yield lambda done, total, message="": lines.append((done, total))

    with served(content, drops=[len(content) // 2, 0, 0]) as web:
        with pytest.raises(KwspotError):
            download_archive(archive_of(web, content), tmp_path / "d", progress=progress)
        seen.clear()
        download_archive(archive_of(web, content), tmp_path / "d", progress=progress)
    assert list(seen) == ["fetch words.tar.gz", "verify words.tar.gz", "extract words.tar.gz"]
    assert seen["fetch words.tar.gz"][0] == (len(content) // 2, len(content))
    for lines in filter(None, seen.values()):
        assert lines[-1][0] == lines[-1][1]


def test_keep_archive(tmp_path, content):
    dest = tmp_path / "d"
    with served(content) as web:
        download_archive(archive_of(web, content), dest, keep_archive=True)
        (dest / "yes").rename(tmp_path / "yes")
        download_archive(archive_of(web, content), dest)  # restored from the archive that was kept
    assert len(web.asked) == 1
    assert kept(dest) == DONE | {"words.tar.gz"}
    assert (dest / ".kwspot" / "words.tar.gz").read_bytes() == content
    assert read_tree(dest) == FILES


def test_wrong_checksum_removes_the_file(tmp_path, content):
    dest = tmp_path / "d"
    other = pack(tmp_path / "other.tar.gz", corpus_files(seed=7)).read_bytes()
    with served(other) as web:
        with pytest.raises(IntegrityError, match=sha256(other).hexdigest()) as caught:
            download_archive(archive_of(web, content), dest)
        assert caught.value.exit_code == 4
        assert not read_tree(dest)
        assert not any(name.endswith(("tar.gz", ".partial")) for name in kept(dest))
        web.content = content
        download_archive(archive_of(web, content), dest)
    assert read_tree(dest) == FILES
    assert web.asked == [None, None]


@pytest.mark.parametrize("cut", [False, True])
def test_a_refused_or_truncated_archive_with_the_right_checksum_is_not_kept(tmp_path, content, cut):
    bad = content[: len(content) // 2]
    if not cut:
        bad = pack(tmp_path / "bad.tar.gz", FILES, tarfile.TarInfo("../x.wav")).read_bytes()
    with served(bad) as web, pytest.raises(IntegrityError, match="cut short" if cut else "refused"):
        download_archive(archive_of(web, bad), tmp_path / "d")
    assert not read_tree(tmp_path / "d")
    assert not any(name.endswith((".partial", ".whole", ".gz")) for name in kept(tmp_path / "d"))
    assert not (tmp_path / "x.wav").exists()


def test_space_is_checked_before_the_body_is_fetched(tmp_path, content):
    dest = tmp_path / "d"
    with served(content) as web:
        with pytest.raises(KwspotError, match="GB needed") as caught:
            download_archive(archive_of(web, content), dest, free=lambda folder: 2 * len(content))
        assert caught.value.exit_code == 1
        assert kept(dest) == set()
        download_archive(archive_of(web, content), dest, free=lambda folder: 3 * len(content))


def test_files_of_ones_own_are_never_touched(tmp_path, content):
    dest = tmp_path / "mine"
    (dest / "hello").mkdir(parents=True)
    (dest / "hello" / "me.wav").write_bytes(b"my voice")
    with served(content) as web:
        with pytest.raises(ConfigError, match=r"hello.*left alone.*--data"):
            download_archive(archive_of(web, content), dest)
        assert web.asked == []
    assert [str(p.relative_to(dest)) for p in dest.rglob("*")] == ["hello", "hello/me.wav"]


def test_another_corpus_is_not_mixed_in(tmp_path, content):
    with served(content) as web:
        download_archive(archive_of(web, content), tmp_path)
        with pytest.raises(ConfigError, match=r"holds words, not speech_commands_v0\.02.*--data"):
            download_archive(replace(VERSIONS["v2"][0], url=web.url), tmp_path)
        assert len(web.asked) == 1


def test_missing_files_come_back_and_added_files_stay(tmp_path, content):
    with served(content) as web:
        download_archive(archive_of(web, content), tmp_path)
        (tmp_path / "yes" / "mine.wav").write_bytes(b"mine")
        assert download_archive(archive_of(web, content), tmp_path)[1] is False
        (tmp_path / "no" / "00000000_nohash_0.wav").unlink()
        assert download_archive(archive_of(web, content), tmp_path)[1] is True
        assert read_tree(tmp_path) == FILES | {"yes/mine.wav": b"mine"}
        (tmp_path / "no" / "00000000_nohash_0.wav").write_bytes(b"changed")
        with pytest.raises(IntegrityError, match=r"no/00000000_nohash_0\.wav"):
            download_archive(archive_of(web, content), tmp_path)


def test_the_test_archive_lies_beside_the_words_in_either_order(tmp_path, content):
    tests = pack(tmp_path / "t.tar.gz", TEST_FILES).read_bytes()
    for n, order in enumerate(((CORPUS, TEST12), (TEST12, CORPUS))):
        dest = tmp_path / str(n)
        for part in order:
            body = content if part == CORPUS else tests
            with served(body) as web:
                assert download_archive(archive_of(web, body, part), dest)[1]
                assert not download_archive(archive_of(web, body, part), dest)[1]
        assert read_tree(dest) == FILES | {f"_test12_/{name}": body for name, body in TEST_FILES.items()}
        assert check(dest, CORPUS).complete and check(dest, TEST12).complete


def test_two_downloads_into_one_folder_do_not_meet(tmp_path, content):
    with served(content) as web:
        archive = archive_of(web, content)

        def progress(title):
            with pytest.raises(KwspotError, match="another command is at work"):
                download_archive(archive, tmp_path)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            download_archive(archive, tmp_path, progress=progress)
        download_archive(archive, tmp_path)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, content):
    (tmp_path / "file").write_bytes(b"")
    with served(content) as web, pytest.raises(KwspotError, match=r"file.*; fix that or give another folder"):
        download_archive(archive_of(web, content), tmp_path / "file" / "d")


def test_install_from_a_file(tmp_path, content, monkeypatch):
    path, dest = tmp_path / "words.tar.gz", tmp_path / "d"
    path.write_bytes(content)
    digest = sha256(content).hexdigest()
    with pytest.raises(IntegrityError, match=f"{digest}.*--sha256"):
        install_file(path, dest)
    assert not dest.exists()
    assert path.exists()
    marker, new = install_file(path, dest, sha256=digest)
    assert new and marker["source"] == str(path) and marker["name"] == "words"
    assert install_file(path, dest, sha256=digest) == (marker, False)
    assert read_tree(dest) == FILES
    assert path.read_bytes() == content
    with pytest.raises(ConfigError, match="no such file"):
        install_file(tmp_path / "none", dest)

    monkeypatch.setitem(VERSIONS, "v1", (replace(VERSIONS["v1"][0], sha256=digest),))
    with pytest.raises(IntegrityError, match="--release v1"):
        install_file(path, tmp_path / "e")
    assert install_file(path, tmp_path / "e", "v1")[0]["name"] == "speech_commands_v0.01"


SCRIPT = """
import sys
from pathlib import Path
from kwspot.corpus.download import Archive, download_archive
download_archive(Archive("words", "words.tar.gz", sys.argv[1], sys.argv[2]), Path(sys.argv[3]))
"""


def test_killed_while_it_fetches_the_next_call_asks_for_the_rest(tmp_path, content):
    cut, dest = len(content) // 3, tmp_path / "d"
    with served(content, stall_after=cut) as web:
        archive = archive_of(web, content)
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, web.url, archive.sha256, str(dest)])
        partial = dest / ".kwspot" / "words.tar.gz.partial"
        try:
            while not (partial.exists() and partial.stat().st_size == cut):
                assert process.poll() is None
                time.sleep(0.01)
        finally:
            process.kill()
        assert process.wait() == -signal.SIGKILL
        assert not read_tree(dest)
        web.stall_after = None
        download_archive(archive, dest)
    assert web.asked == [None, f"bytes={cut}-"]
    assert web.sent[1] == len(content) - cut
    assert read_tree(dest) == FILES
    assert kept(dest) == DONE


# --- the command


@pytest.fixture
def kwspot(monkeypatch, tmp_path, content):
    """Return what runs the command line, with the archives of these tests for v2."""
    from kwspot.cli import app

    tests = pack(tmp_path / "t.tar.gz", TEST_FILES).read_bytes()
    with served(content) as web, served(tests) as web12:
        one = replace(archive_of(web, content), name="speech_commands_v0.02")
        monkeypatch.setitem(VERSIONS, "v2", (one, archive_of(web12, tests, TEST12)))
        run = CliRunner().invoke

        def command(*arguments):
            return run(app, ["download", *map(str, arguments)], catch_exceptions=False)

        command.web = web  # type: ignore[attr-defined]
        yield command


def test_command_fetches_both_archives_and_verifies_them(kwspot, tmp_path):
    dest = tmp_path / "d"
    result = kwspot("--data", dest)
    assert result.exit_code == 0, result.output
    assert [line.split(": ")[1] for line in result.stdout.splitlines()] == [
        "speech_commands_v0.02 installed",
        "words installed",
    ]
    assert f"next: kwspot featurize --data {dest}" in result.stderr
    assert "complete" in kwspot("--data", dest).stdout
    assert kwspot("--verify", "--data", dest).exit_code == 0

    (dest / "yes" / "0000000a_nohash_0.wav").unlink()
    (dest / "_test12_" / "yes" / "t.wav.wav").write_bytes(b"")
    (dest / "yes" / "new.wav").write_bytes(b"")
    result = kwspot("--verify", "--data", dest)
    assert result.exit_code == 4
    assert result.stdout.splitlines() == [
        "missing\tyes/0000000a_nohash_0.wav",
        "new\tyes/new.wav",
        "changed\tyes/t.wav.wav",
    ]
    assert "error:" in result.stderr and "1 missing, 1 new" in result.stderr


@pytest.mark.parametrize(
    ("way", "code", "told"),
    [
        ({"status": 404}, 1, "404"),
        ({"status": 500}, 1, "500"),
        ({"page": b"<html>"}, 4, "web page"),
        ({"content": b"\x1f\x8b not the archive"}, 4, "sha256"),
        ({"drops": [10, 10, 10]}, 1, "3 times"),
    ],
)
def test_command_fails_in_one_line_and_the_next_call_succeeds(kwspot, tmp_path, way, code, told):
    good = dict(vars(kwspot.web))
    for name, value in way.items():
        setattr(kwspot.web, name, value)
    result = kwspot("--quiet", "--data", tmp_path / "d")
    assert (result.exit_code, result.stdout) == (code, "")
    assert len(result.stderr.splitlines()) == 1 and told in result.stderr
    for name in way:
        setattr(kwspot.web, name, good[name] if name != "drops" else [])
    assert kwspot("--data", tmp_path / "d").exit_code == 0


def test_command_reads_the_data_folder_of_the_environment(kwspot, tmp_path, monkeypatch, content):
    monkeypatch.setenv("KWSPOT_DATA", str(tmp_path / "env"))
    path = tmp_path / "mine.tar.gz"
    path.write_bytes(content)
    result = kwspot("--from-archive", path, "--sha256", sha256(content).hexdigest())
    assert result.exit_code == 0, result.output
    assert read_tree(tmp_path / "env") == FILES
    assert kwspot.web.asked == []


def test_command_says_what_a_mirror_of_one_archive_leaves_out(kwspot, tmp_path):
    result = kwspot("--url", kwspot.web.url, "--data", tmp_path / "d")
    assert result.exit_code == 0
    assert "12-class" in result.stderr
    assert not (tmp_path / "d" / "_test12_").exists()


def test_command_takes_one_way_at_a_time(kwspot, tmp_path):
    assert kwspot("--verify", "--synthetic", "--data", tmp_path).exit_code == 2
    assert kwspot("--url", "http://h/x", "--from-archive", "x", "--data", tmp_path).exit_code == 2
    assert kwspot("--verify", "--data", tmp_path).exit_code == 3
    assert kwspot("--release", "v3").exit_code == 2


def test_help_names_copyable_examples():
    assert download_command.__doc__.count("\n      kwspot download") >= 3
