import re
import shutil

import numpy as np
import pytest
import soundfile

from kwspot.corpus.install import check, files_in, read_marker
from kwspot.corpus.layout import read_corpus, which_split
from kwspot.errors import ConfigError, KwspotError, MissingPartError
from kwspot.files import sha256_of_file
from kwspot.synthesis import corpus
from kwspot.synthesis.corpus import cast, synthesize_corpus
from kwspot.synthesis.engines import ENGINES, installed
from kwspot.synthesis.negatives import Negative
from kwspot.synthesis.running import Engines
from kwspot.tasks import WORDS_35
from tests.voices import EACH_ENGINE

WORDS = ("yes", "no", "sheila")
each_engine = pytest.mark.parametrize("engine", EACH_ENGINE)
needs_pico = pytest.mark.skipif("pico" not in installed(), reason="not installed")


@pytest.fixture(autouse=True)
def short_noise(monkeypatch):
    monkeypatch.setattr(corpus, "NOISE_S", 3)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A corpus of one engine, ten voices."""
    if "pico" not in installed():
        pytest.skip("not installed")
    folder = tmp_path_factory.mktemp("spoken") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "NOISE_S", 3)
        synthesize_corpus(folder, n_voices=10, engines=["pico"], words=WORDS)
    return folder


def digests(folder):
    return {name: sha256_of_file(folder / name) for name in files_in(folder)}


def test_layout_is_the_official_one(spoken):
    words = {path.name for path in spoken.iterdir() if path.is_dir() and path.name[0] not in "._"}
    assert words == set(WORDS)
    for word in WORDS:
        names = [path.name for path in (spoken / word).iterdir()]
        assert len(names) == 10
        assert all(re.fullmatch(r"[0-9a-f]{8}_nohash_0\.wav", name) for name in names)
    others = {path.name for path in spoken.iterdir()} - words
    assert others == {".kwspot", "_background_noise_", "validation_list.txt", "testing_list.txt"}


def test_clips_are_16_khz_pcm_of_one_second_and_none_is_silent(spoken):
    for path in spoken.glob("[!_.]*/*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype, info.frames) == (16_000, 1, "PCM_16", 16_000)
        clip = soundfile.read(path)[0]
        frames = np.sqrt((clip.reshape(50, 320) ** 2).mean(axis=1))
        assert frames.max() > 1e-3
        assert frames.max() > 3 * np.median(frames) or frames.max() > 0.01


def test_noises_are_named_for_what_they_are_and_equally_loud(spoken):
    files = sorted((spoken / "_background_noise_").iterdir())
    assert len(files) == 6
    for path in files:
        wave, sample_rate = soundfile.read(path)
        assert sample_rate == 16_000
        assert len(wave) == 3 * 16_000
        assert wave.std() == pytest.approx(0.05, rel=0.2)


def test_splits_equal_the_lists_and_share_no_speaker(spoken):
    clips = read_corpus(spoken).clips  # raises if list and hash disagree
    for file, split in (("validation_list.txt", "validation"), ("testing_list.txt", "test")):
        text = (spoken / file).read_text()
        assert not text.endswith("\n")
        assert text.split("\n") == sorted(clip.name for clip in clips if clip.split == split)
        assert len({clip.speaker for clip in clips if clip.split == split}) == 2


def test_every_speaker_says_every_word_differently(spoken):
    clips = read_corpus(spoken).clips
    speakers = {clip.speaker for clip in clips}
    assert {(clip.speaker, clip.word) for clip in clips} == {(s, w) for s in speakers for w in WORDS}
    assert len({sha256_of_file(spoken / clip.name) for clip in clips}) == len(clips)


def test_marker_says_who_spoke_and_the_folder_is_whole(spoken):
    marker = read_marker(spoken)
    assert marker["name"] == "synthetic"
    assert marker["engines"] == {"pico": installed()["pico"]}
    assert (marker["n_voices"], marker["seed"], marker["words"]) == (10, 1, list(WORDS))
    assert marker["n_files"] == 30 + 6 + 2
    assert check(spoken).complete


@pytest.mark.slow
@each_engine
def test_the_same_seed_speaks_the_same_bytes(engine, tmp_path):
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        synthesize_corpus(folder, n_voices=3, seed=5, engines=[engine], words=WORDS[:2], workers=workers)
    assert digests(tmp_path / "1") == digests(tmp_path / "2")


@needs_pico
def test_another_seed_is_heard_in_every_file(spoken, tmp_path):
    synthesize_corpus(tmp_path, n_voices=3, seed=2, engines=["pico"], words=WORDS)
    assert not set(digests(spoken).values()) & set(digests(tmp_path).values())


@needs_pico
def test_a_second_call_does_nothing_and_another_plan_is_refused(spoken, tmp_path):
    def times():
        return {name: (spoken / name).stat().st_mtime_ns for name in files_in(spoken)}

    before, reports = times(), []
    how = {"engines": ["pico"], "words": WORDS}
    assert synthesize_corpus(spoken, n_voices=10, report=lambda *a: reports.append(a), **how) == read_marker(spoken)
    assert times() == before
    assert not reports
    with pytest.raises(ConfigError, match="holds another corpus, synthetic"):
        synthesize_corpus(spoken, n_voices=11, **how)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds files that kwspot did not put there \(mine.txt\)"):
        synthesize_corpus(tmp_path, n_voices=1, **how)


@needs_pico
def test_an_interrupted_corpus_is_absent_and_the_next_call_makes_it(tmp_path, monkeypatch):
    def interrupted(*_args):
        raise KeyboardInterrupt

    how = {"n_voices": 1, "engines": ["pico"], "words": ("yes", "no"), "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        synthesize_corpus(tmp_path / "data", report=lambda done, *_: done and interrupted(), **how)
    assert read_marker(tmp_path / "data") is None
    assert files_in(tmp_path / "data") == {}
    assert synthesize_corpus(tmp_path / "data", **how)["n_files"] == 2 + 6 + 2
    next((tmp_path / "data" / "yes").iterdir()).unlink()
    synthesize_corpus(tmp_path / "data", **how)
    assert check(tmp_path / "data").complete


@needs_pico
def test_progress_ends_at_the_number_of_clips(tmp_path):
    reports = []
    synthesize_corpus(
        tmp_path,
        n_voices=2,
        engines=["pico"],
        words=WORDS,
        report=lambda done, total, message: reports.append((done, total)),
    )
    assert reports[0] == (0, 6)
    assert reports[-1] == (6, 6)
    assert reports == sorted(reports)


NEGATIVES = [Negative(text, "other", "lights on") for text in ("rice on", "lights", "seven", "on lights", "window")]


@pytest.fixture(scope="module")
def phrases(tmp_path_factory):
    """A corpus of a long and a short keyword, with negatives."""
    if "pico" not in installed():
        pytest.skip("not installed")
    folder = tmp_path_factory.mktemp("phrases") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "NOISE_S", 3)
        synthesize_corpus(
            folder, n_voices=3, engines=["pico"], words=("turn the radio on", "go"), negatives=NEGATIVES, workers=1
        )
    return folder


def test_every_voice_says_all_keywords_and_four_negatives(phrases):
    clips = read_corpus(phrases).clips
    assert {clip.word for clip in clips} == {"turn the radio on", "go", "unknown"}
    for speaker in {clip.speaker for clip in clips}:
        mine = sorted(clip.name.split("/")[0] for clip in clips if clip.speaker == speaker)
        assert mine == ["go", "turn the radio on", *["unknown"] * 4]
    listed = "".join((phrases / file).read_text() for file in ("validation_list.txt", "testing_list.txt"))
    assert listed.count("unknown/") == 8


def test_what_is_said_in_unknown_can_be_looked_up(phrases):
    lines = (phrases / ".kwspot" / "unknown.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["file", "text", "kind", "keyword"]
    said = dict(line.split("\t")[:2] for line in lines[1:])
    assert set(said) == {clip.name for clip in read_corpus(phrases).clips if clip.word == "unknown"}
    assert set(said.values()) == {negative.text for negative in NEGATIVES}  # spread evenly: 12 clips of 5 texts
    assert max(list(said.values()).count(text) for text in said.values()) <= 3


def test_clips_are_as_long_as_the_longest_phrase_needs(phrases):
    clip_ms = read_marker(phrases)["clip_ms"]
    assert clip_ms > 1000 and clip_ms % 250 == 0
    lengths = {soundfile.info(path).frames for path in phrases.glob("[!_.]*/*.wav")}
    assert lengths == {16 * clip_ms}
    speakers = cast("pico", 3, seed=1)
    with Engines() as running:
        assert corpus.clip_length_for(["go"], speakers, 1, running) == 16_000
    with Engines() as running, pytest.raises(ConfigError, match="a keyword is 5 s long at most"):
        corpus.clip_length_for(["one two three four five six seven " * 3], speakers, 1, running)


def test_the_same_words_again_do_nothing_others_are_refused_and_clips_can_be_added(phrases, tmp_path):
    how = {"n_voices": 3, "engines": ["pico"], "words": ("turn the radio on", "go"), "negatives": NEGATIVES}
    shutil.copytree(phrases, tmp_path / "data")
    shutil.copyfile(next((phrases / "go").iterdir()), tmp_path / "data" / "go" / "00000000_nohash_0.wav")
    before = digests(tmp_path / "data")
    assert synthesize_corpus(tmp_path / "data", **how) == read_marker(phrases)
    assert digests(tmp_path / "data") == before
    assert len(read_corpus(tmp_path / "data").clips) == len(read_corpus(phrases).clips) + 1
    with pytest.raises(
        ConfigError, match="synthetic of turn the radio on, go: other words; delete it, or give another"
    ):
        synthesize_corpus(tmp_path / "data", **how | {"words": ("stop",)})
    with pytest.raises(ConfigError, match="other n_voices and negatives"):
        synthesize_corpus(tmp_path / "data", **how | {"n_voices": 4, "negatives": NEGATIVES[1:]})
    for word in ("unknown", "Silence"):
        with pytest.raises(ConfigError, match="none of them 'unknown' or 'silence'"):
            synthesize_corpus(tmp_path / "other", **how | {"words": (word,)})


@each_engine
@pytest.mark.parametrize(("n_voices", "held_out"), [(1, 0), (3, 1), (10, 2), (14, 2), (40, 4), (85, 8)])
def test_a_tenth_of_the_voices_is_held_out_for_each_split(engine, n_voices, held_out):
    speakers = cast(engine, n_voices, seed=3)
    splits = [which_split(speaker.name) for speaker in speakers]
    assert len({speaker.name for speaker in speakers}) == n_voices
    assert splits.count("validation") == splits.count("test") == held_out
    assert len(set(speakers)) == n_voices


def test_speakers_vary_as_far_as_their_engine_can_be_bent():
    for engine, info in ENGINES.items():
        speakers = cast(engine, 40, seed=1)
        assert {speaker.accent for speaker in speakers} <= set(info.accents)
        for what in ("vtlp", "pitch", "tempo"):
            low, high = getattr(info, what)
            drawn = np.array([getattr(speaker, what) for speaker in speakers])
            assert drawn.min() < low * (high / low) ** 0.2 < low * (high / low) ** 0.8 < drawn.max()


def test_slow_engine_speaks_where_it_is_named_or_alone(monkeypatch):
    monkeypatch.setattr(corpus, "make_ready", lambda *_: None)
    monkeypatch.setattr(corpus, "installed", lambda: {"hibari": "1", "kokoro": "2"})
    assert corpus.chosen_engines(None) == {"hibari": "1"}
    assert corpus.chosen_engines(["kokoro"]) == {"kokoro": "2"}
    monkeypatch.setattr(corpus, "installed", lambda: {"kokoro": "2"})
    assert corpus.chosen_engines(None) == {"kokoro": "2"}


def test_without_an_engine_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "installed", dict)
    with pytest.raises(MissingPartError, match=r"pip install 'kwspot\[synth\]'") as caught:
        synthesize_corpus(tmp_path / "data")
    assert caught.value.exit_code == 3
    with pytest.raises(MissingPartError, match=r"'espeak' is not installed; run: pip install 'kwspot\[espeak\]'"):
        synthesize_corpus(tmp_path / "data", engines=["espeak"])
    with pytest.raises(ConfigError, match="no engine 'festival'"):
        synthesize_corpus(tmp_path / "data", engines=["festival"])
    assert not (tmp_path / "data").exists()


@needs_pico
def test_words_that_cannot_be_folders_or_be_spoken_are_refused(tmp_path):
    for words in ((), ("",), ("_x",), ("a/b",), ("yes", "yes")):
        with pytest.raises(ConfigError, match="different words that can name"):
            synthesize_corpus(tmp_path / "data", engines=["pico"], words=words)
    with pytest.raises(KwspotError, match="'pico' says nothing for '东'"):
        synthesize_corpus(tmp_path / "data", engines=["pico"], n_voices=1, words=("东",))


def test_the_default_is_all_35_words():
    assert synthesize_corpus.__kwdefaults__["words"] == WORDS_35
    assert synthesize_corpus.__kwdefaults__["n_voices"] == 40
