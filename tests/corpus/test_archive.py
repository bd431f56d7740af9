"""An archive is taken whole or refused whole, and a refusal writes nothing."""

import gzip
import tarfile
import tracemalloc

import pytest

from kwspot.corpus.archive import extract
from kwspot.errors import IntegrityError, KwspotError
from tests.archives import corpus_files, pack, read_tree


def silent(done, total, message=""):
    pass


def member(name, kind=tarfile.REGTYPE, *, link="", size=0):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def test_every_file_arrives_as_it_was(tmp_path):
    files = corpus_files()
    path = pack(tmp_path / "a.tar.gz", files, member("./empty", tarfile.DIRTYPE))
    (tmp_path / "into").mkdir()
    extract(path, tmp_path / "into", report=silent)
    assert read_tree(tmp_path / "into") == files


def test_hidden_files_are_passed_over(tmp_path):
    extra = {".DS_Store": b"x", "yes/._a.wav": b"x", ".kwspot/corpus.json": b"{}", "..yes/a.wav": b"x"}
    path = pack(tmp_path / "a.tar.gz", corpus_files() | extra)
    (tmp_path / "into").mkdir()
    extract(path, tmp_path / "into", report=silent)
    assert {str(p.relative_to(tmp_path / "into")) for p in (tmp_path / "into").rglob("*") if p.is_file()} == set(
        corpus_files()
    )


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (member("../out.wav"), "outside"),
        (member("yes/../../out.wav"), "outside"),
        (member("yes\\..\\..\\out.wav"), "outside"),
        (member("/tmp/out.wav"), "absolute"),
        (member("C:\\out.wav"), "absolute"),
        (member("yes/link.wav", tarfile.SYMTYPE, link="/etc/passwd"), "link"),
        (member("yes/link.wav", tarfile.LNKTYPE, link="no/00000000_nohash_0.wav"), "link"),
        (member(".hidden", tarfile.SYMTYPE, link="/etc"), "link"),
        (member("yes/null", tarfile.CHRTYPE), "device"),
        (member("yes/disk", tarfile.BLKTYPE), "device"),
        (member("yes/pipe", tarfile.FIFOTYPE), "device"),
        (member("yes/a\nb.wav"), "printed"),
        (member("no/00000000_nohash_0.wav"), "twice"),
        (member("./no//00000000_nohash_0.wav"), "twice"),
        (member("yes"), "a file and a folder"),
    ],
    ids=lambda value: repr(value.name) if isinstance(value, tarfile.TarInfo) else None,
)
def test_a_harmful_member_refuses_the_whole_archive_before_anything_is_written(tmp_path, bad, told):
    path = pack(tmp_path / "bad.tar.gz", corpus_files(), bad)
    (tmp_path / "into").mkdir()
    with pytest.raises(IntegrityError, match=f"bad.tar.gz: refused: .*{told}"):
        extract(path, tmp_path / "into", report=silent)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["bad.tar.gz", "into"]


@pytest.mark.parametrize("part", [0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_archive_writes_nothing(tmp_path, part):
    path = pack(tmp_path / "a.tar.gz", corpus_files())
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    (tmp_path / "into").mkdir()
    with pytest.raises(IntegrityError, match=r"a\.tar\.gz: damaged or cut short"):
        extract(path, tmp_path / "into", report=silent)
    assert not list((tmp_path / "into").iterdir())


def damaged_contents(tmp_path):
    """Yield archives that are broken in ways that tarfile alone would take for their end, or for nothing."""
    whole = pack(tmp_path / "a.tar.gz", corpus_files()).read_bytes()
    inner = gzip.decompress(whole)
    yield "flipped bit", whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
    yield "checksum of gzip", whole[:-8] + b"\0\0\0\0" + whole[-4:]
    second = inner.index(b"./no/00000001_nohash_0.wav")
    yield "broken second header", gzip.compress(inner[:second] + b"#" + inner[second + 1 :])
    yield "tar cut within a file", gzip.compress(inner[: second + 1000])
    yield "no tar inside", gzip.compress(b"hello " * 1000)
    yield "no gzip", inner
    yield "empty tar", gzip.compress(b"\0" * 10240)
    yield "empty", b""


def test_damage_is_found_in_the_first_pass(tmp_path):
    for what, content in damaged_contents(tmp_path):
        path, into = tmp_path / "broken.tar.gz", tmp_path / what
        path.write_bytes(content)
        into.mkdir()
        with pytest.raises(IntegrityError, match=r"broken\.tar\.gz"):
            extract(path, into, report=silent)
        assert not list(into.iterdir()), what


def test_the_disk_must_have_room_for_all_files(tmp_path):
    files = corpus_files()
    path = pack(tmp_path / "a.tar.gz", files)
    n_bytes = sum(map(len, files.values()))
    (tmp_path / "into").mkdir()
    with pytest.raises(KwspotError, match=r"into: .* GB needed, .* GB free") as caught:
        extract(path, tmp_path / "into", report=silent, free=lambda folder: n_bytes - 1)
    assert caught.value.exit_code == 1
    assert not list((tmp_path / "into").iterdir())
    extract(path, tmp_path / "into", report=silent, free=lambda folder: n_bytes)


def test_progress_only_grows_and_ends_at_its_total(tmp_path):
    path = pack(tmp_path / "a.tar.gz", corpus_files(n_takes=40))
    (tmp_path / "into").mkdir()
    seen = []
    extract(path, tmp_path / "into", report=lambda done, total, message="": seen.append((done, total)))
    done, totals = zip(*seen, strict=True)
    assert set(totals) == {path.stat().st_size} == {done[-1]}
    assert list(done) == sorted(done)


def block(name, kind, content=b"", size=None, **more):
    """A member of a tar, whose header may claim any size."""
    info = member(name, kind, size=len(content) if size is None else size)
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + b"\0" * (-len(content) % 512)


def pax(text):
    return block("pax", tarfile.XHDTYPE, text)


def record(text):
    """A line of a pax header, which begins with its own length."""
    length = len(text) + 2
    while len(f"{length} {text}\n") != length:
        length += 1
    return f"{length} {text}\n".encode()


FILE = block("yes/a.wav", tarfile.REGTYPE, b"sound")
HOSTILE = {
    "a long name of 1.5 GB": block("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=1_500_000_000),
    "a pax header of 8 GB": block("pax", tarfile.XHDTYPE, size=8_000_000_000),
    "a thousand names in a row": block("././@LongLink", tarfile.GNUTYPE_LONGNAME, b"yes/a.wav\0") * 2000 + FILE,
    "a sparse map of words": pax(record("GNU.sparse.major=0") + record("GNU.sparse.map=a,b")) + FILE,
    "a sparse file": pax(record("GNU.sparse.map=0,5") + record("GNU.sparse.size=9999999")) + FILE,
    "an old sparse file": block("yes/a.wav", tarfile.GNUTYPE_SPARSE, b"sound"),
    "2000 folders": block("././@LongLink", tarfile.GNUTYPE_LONGNAME, b"a/" * 2000 + b"\0") + FILE,
    "a name of 60,000": block("././@LongLink", tarfile.GNUTYPE_LONGNAME, b"a" * 60_000 + b"\0") + FILE,
    "a negative size": pax(record("size=-5")) + FILE,
    "a bidi mark": block("yes/a\u202egnp.wav", tarfile.REGTYPE, b"sound"),
    "a pax header of no length": pax(b"0 size=1\n") + FILE,
}  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_header_refuses_the_archive_in_little_memory(tmp_path, content):
    path = tmp_path / "bad.tar.gz"
    path.write_bytes(gzip.compress(FILE + content + b"\0" * 1024))
    (tmp_path / "into").mkdir()
    tracemalloc.start()
    with pytest.raises(IntegrityError, match=r"bad\.tar\.gz: (refused|damaged)") as caught:
        extract(path, tmp_path / "into", report=silent)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    assert len(str(caught.value)) < 400
    assert list((tmp_path / "into").iterdir()) == []
