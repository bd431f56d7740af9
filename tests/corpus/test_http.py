"""A fetch resumes where it stopped, asks for the missing bytes only, and takes no other thing for it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from kwspot.corpus import http as module
from kwspot.corpus.http import TRIES, fetch, state_path
from kwspot.errors import ConfigError, IntegrityError, KwspotError
from kwspot.names import is_printable
from tests.archives import served

CONTENT = module.GZIP_MAGIC + os.urandom(300_000)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def partial(tmp_path):
    return tmp_path / "words.tar.gz.partial"


def silent(done, total, message=""):
    pass


def test_a_whole_file_in_one_request_with_honest_progress(partial):
    seen = []
    with served(CONTENT) as web:
        fetch(web.url, partial, report=lambda done, total: seen.append((done, total)))
    assert partial.read_bytes() == CONTENT
    assert web.asked == [None]
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("cuts", [(1,), (2,), (65_536,), (100_000, 50_000), (299_999,), (300_001,), (0,)])
def test_a_dropped_connection_asks_for_the_missing_bytes_only(partial, cuts):
    seen = []
    with served(CONTENT, drops=list(cuts)) as web:
        fetch(web.url, partial, report=lambda done, total: seen.append(done))
    assert partial.read_bytes() == CONTENT
    starts = [sum(cuts[: i + 1]) for i in range(len(cuts))]
    assert web.asked == [None, *(f"bytes={start}-" if start else None for start in starts)]
    assert sum(web.sent) == len(CONTENT)  # not one byte twice
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)


def test_three_drops_fail_in_one_line_and_the_next_call_goes_on(partial):
    with served(CONTENT, drops=[1000, 1000, 1000]) as web:
        with pytest.raises(KwspotError, match=r"lost 3 times .*0\.0 MB are kept in .*partial.* again") as caught:
            fetch(web.url, partial, report=silent)
        assert caught.value.exit_code == 1
        assert "\n" not in str(caught.value)
        assert partial.read_bytes() == CONTENT[:3000]
        seen = []
        fetch(web.url, partial, report=lambda done, total: seen.append((done, total)))
    assert partial.read_bytes() == CONTENT
    assert web.asked == [None, "bytes=1000-", "bytes=2000-", "bytes=3000-"]
    assert seen[0] == (3000, len(CONTENT))  # the bar starts where it stopped, and speed counts new bytes only


def test_nobody_there_is_one_line(partial):
    with served() as web:
        pass
    with pytest.raises(KwspotError, match=f"not reached in {TRIES} tries .*--from-archive") as caught:
        fetch(web.url, partial, report=silent)
    assert caught.value.exit_code == 1
    assert not partial.exists()


def test_a_server_that_ignores_range_sends_all_and_all_replaces_the_part(partial):
    with served(CONTENT, ranges=False, drops=[50_000]) as web:
        fetch(web.url, partial, report=silent)
    assert partial.read_bytes() == CONTENT
    assert web.asked == [None, "bytes=50000-"]


@pytest.mark.parametrize("etag", ['"two"', None, 'W/"weak"'])
def test_another_file_at_the_address_starts_over(partial, etag):
    """By its ETag where the server has one, else by its size."""
    with served(CONTENT, drops=[50_000, 0, 0], etag=etag and '"one"') as web:
        with pytest.raises(KwspotError):
            fetch(web.url, partial, report=silent)
        web.content, web.etag = module.GZIP_MAGIC + os.urandom(200_000), etag
        fetch(web.url, partial, report=silent)
        assert partial.read_bytes() == web.content


def test_more_on_disk_than_the_server_has_starts_over(partial):
    partial.write_bytes(CONTENT + b"more")
    with served(CONTENT) as web:
        fetch(web.url, partial, report=silent)
    assert partial.read_bytes() == CONTENT
    assert web.asked == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_part_that_is_whole_asks_for_nothing_more(partial):
    partial.write_bytes(CONTENT)  # whole, but killed before a note of its size: the server says so
    with served(CONTENT) as web:
        fetch(web.url, partial, report=silent)
        assert web.sent == [0]
    partial.unlink()
    with served(CONTENT) as web:
        fetch(web.url, partial, report=silent)
        fetch(web.url, partial, report=silent)
        assert len(web.asked) == 1


def test_another_mirror_goes_on_with_the_same_part(partial):
    with served(CONTENT, drops=[70_000, 0, 0], etag='"mine"') as web, pytest.raises(KwspotError):
        fetch(web.url, partial, report=silent)
    with served(CONTENT, etag='"yours"') as web:
        fetch(web.url, partial, report=silent)
    assert web.asked == ["bytes=70000-"]
    assert partial.read_bytes() == CONTENT


def test_without_a_length_the_end_is_the_end(partial):
    with served(CONTENT, sized=False) as web:
        fetch(web.url, partial, report=silent)
    assert partial.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_an_error_status_is_one_line_and_keeps_the_part(partial, status):
    partial.write_bytes(CONTENT[:1000])
    with (
        served(CONTENT, status=status) as web,
        pytest.raises(KwspotError, match=f"answered {status} .*--url") as caught,
    ):
        fetch(web.url, partial, report=silent)
    assert caught.value.exit_code == 1
    assert len(web.asked) == 1
    assert partial.read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("kept", [0, 1000])
@pytest.mark.parametrize("page", [b"<html>Log in to this network</html>", CONTENT])
def test_a_web_page_is_refused_and_spares_the_part(partial, kept, page):
    if kept:
        partial.write_bytes(CONTENT[:kept])
    with served(page=page) as web, pytest.raises(IntegrityError, match="web page") as caught:
        fetch(web.url, partial, report=silent)
    assert caught.value.exit_code == 4
    assert (partial.read_bytes() if kept else b"") == CONTENT[:kept]
    assert kept or not partial.exists()


def test_what_is_no_gzip_is_refused(partial):
    with served(b"PK\3\4 a zip file") as web, pytest.raises(IntegrityError, match="no gzip archive"):
        fetch(web.url, partial, report=silent)
    assert not partial.exists()


def test_only_web_addresses_are_fetched(partial):
    for url in ("file:///etc/passwd", "ftp://host/x.tar.gz", "words.tar.gz", "http://", "http://host:x/a.tar.gz"):
        with pytest.raises(ConfigError):
            fetch(url, partial, report=silent)


def test_room_is_asked_for_before_a_byte_is_written(partial):
    def room(n_bytes):
        assert n_bytes == len(CONTENT)
        raise KwspotError("full")

    with served(CONTENT) as web, pytest.raises(KwspotError, match="full"):
        fetch(web.url, partial, report=silent, room=room)
    assert not partial.exists()


def test_killed_in_the_middle_the_next_call_goes_on(partial):
    script = (
        "import sys; from pathlib import Path; from kwspot.corpus.http import fetch;"
        "fetch(sys.argv[1], Path(sys.argv[2]), report=lambda done, total: None)"
    )
    with served(CONTENT, stall_after=123_456) as web:
        process = subprocess.Popen([sys.executable, "-c", script, web.url, str(partial)])
        try:
            while not (partial.exists() and partial.stat().st_size == 123_456):
                assert process.poll() is None
                time.sleep(0.01)
        finally:
            process.kill()
        assert process.wait() == -signal.SIGKILL
        web.stall_after = None
        assert json.loads(state_path(partial).read_text())["total"] == len(CONTENT)
        fetch(web.url, partial, report=silent)
    assert web.asked == [None, "bytes=123456-"]
    assert partial.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "9" * 5000}, {"Content-Length": "-1"}, {"Content-Length": "٣"}, {"Content-Length": "1e9"},
        {"ETag": '"' + "x" * 9000 + '"'}, {"Last-Modified": "\x80never"},
    ],
    ids=lambda headers: next(iter(headers)),
)  # fmt: skip
def test_headers_that_make_no_sense_are_not_believed(partial, headers):
    with served(CONTENT, etag=None, sized=False, headers=headers) as web:
        fetch(web.url, partial, report=silent)
        assert partial.read_bytes() == CONTENT
        partial.write_bytes(CONTENT[:1000])  # and the next connection is not spoilt by what was noted
        fetch(web.url, partial, report=silent)
    assert partial.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "state", ["[]", "3", '{"validator": "a\\r\\nb", "url": 3, "total": "9"}', '{"validator": [1]}']
)
def test_notes_that_somebody_changed_are_not_believed(partial, state):
    with served(CONTENT) as web:
        partial.write_bytes(CONTENT[:1000])
        state_path(partial).write_text(state.replace("3", f'"{web.url}"'))
        fetch(web.url, partial, report=silent)
    assert partial.read_bytes() == CONTENT


def test_the_reason_of_a_server_is_printed_as_it_may_be(partial):
    with served(CONTENT, status=404, reason="gone\x1b[2J\x9b") as web, pytest.raises(KwspotError) as caught:
        fetch(web.url, partial, report=silent)
    assert is_printable(str(caught.value))
