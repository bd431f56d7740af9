"""The cache is read whole or not at all, and only for the corpus and the settings it was made of."""

from dataclasses import replace
import json
import multiprocessing
import os
import shutil

import numpy as np
import pytest

from kwspot.corpus.layout import corpus_fingerprint
from kwspot.errors import IntegrityError, KwspotError, MissingError
from kwspot.experiments.settings import FrontEnd
from kwspot.features import cache as cache_module
from kwspot.features.cache import (
    CachedClip,
    CacheWriter,
    cache_folder,
    caches_of,
    open_cache,
    opened_writer,
    read_cache,
    silence_value,
)
from tests.sounds import make_corpus, tone, write_sound

FRONT_END = FrontEnd(clip_ms=100.0, n_mels=5)  # 8 frames
N_ROWS, SHARD = 10, 4
VALUES = np.random.default_rng(0).normal(size=(N_ROWS, 8, 5))
CLIPS = [CachedClip(i, f"yes/s{i}_nohash_0.wav", "yes", f"s{i}", "train", 8 - i % 3) for i in range(N_ROWS)]
META = {"source": "waveforms", "name": "tones", "corpus_digest": "c0ffee", "skipped": []}


def fill(writer, shards=None):
    for shard in range(writer.n_shards) if shards is None else shards:
        rows = writer.rows_of(shard)
        writer.finish_shard(shard, VALUES[rows.start : rows.stop], {"first": rows.start})


def write(folder, clips=CLIPS):
    with opened_writer(folder, FRONT_END, N_ROWS, SHARD) as writer:
        fill(writer)
        return writer.finish(clips, META)


def written_for(data, front_end=FRONT_END):
    folder = cache_folder(data, front_end, corpus_fingerprint(data))
    with opened_writer(folder, front_end, N_ROWS, SHARD) as writer:
        for shard in range(writer.n_shards):
            rows = writer.rows_of(shard)
            writer.finish_shard(shard, np.zeros((len(rows), front_end.max_frames, front_end.n_mels)))
        return writer.finish(CLIPS, META)


def test_what_was_written_is_read(tmp_path):
    cache = write(tmp_path / "cache")
    assert isinstance(cache.frames, np.memmap)
    np.testing.assert_array_equal(cache.frames, VALUES.astype(np.float16))
    assert cache.clips == CLIPS
    assert cache.meta == {
        "schema": cache_module.SCHEMA, "front_end": FRONT_END.model_dump(), "n_clips": {"train": N_ROWS}, **META
    }  # fmt: skip
    assert {path.name for path in cache.folder.iterdir()} == {"frames.npy", "index.tsv", "meta.json"}


def test_skipped_rows_stay_out_of_the_index(tmp_path):
    kept = [CLIPS[0], CLIPS[7]]
    cache = write(tmp_path / "cache", kept)
    assert cache.clips == kept
    assert (cache.frames[7] == VALUES[7].astype(np.float16)).all()


def test_silence_is_the_logarithm_of_the_offset():
    assert silence_value(FRONT_END) == pytest.approx(-13.8155, abs=1e-4)


def test_open_cache_finds_the_features_of_the_corpus_as_it_is(tmp_path):
    make_corpus(tmp_path, n_speakers=1)
    written = written_for(tmp_path)
    assert open_cache(tmp_path, FRONT_END).folder == written.folder
    assert caches_of(tmp_path) == [written.folder]


def test_features_of_a_changed_corpus_are_not_read(tmp_path):
    make_corpus(tmp_path, n_speakers=1)
    written_for(tmp_path)
    write_sound(tmp_path / "left" / "new.wav", tone(300))
    with pytest.raises(MissingError, match=f"corpus before it changed; run 'kwspot featurize --data {tmp_path}'"):
        open_cache(tmp_path, FRONT_END)


@pytest.mark.parametrize(
    "change",
    [
        {"sample_rate": 8_000, "n_fft": 256},
        {"clip_ms": 120.0},
        {"win_ms": 20.0},
        {"hop_ms": 5.0},
        {"n_fft": 1024},
        {"n_mels": 6},
        {"f_min": 20.0},
        {"f_max": 3900.0},
        {"log_offset": 1e-5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_features_of_other_settings_are_not_read(tmp_path, change):
    make_corpus(tmp_path, n_speakers=1)
    written_for(tmp_path)
    with pytest.raises(MissingError, match="run 'kwspot featurize --data "):
        open_cache(tmp_path, FRONT_END.model_copy(update=change))


def test_every_setting_of_the_front_end_is_tried_above():
    tried = test_features_of_other_settings_are_not_read.pytestmark[0].args[1]
    assert {next(iter(change)) for change in tried} == set(FrontEnd.model_fields)


def test_no_features_says_what_to_run(tmp_path):
    make_corpus(tmp_path, n_speakers=1)
    with pytest.raises(
        MissingError, match=r"no features of this front end over this corpus; run 'kwspot featurize --data "
    ):
        open_cache(tmp_path, FRONT_END)


def test_a_half_written_cache_is_not_read(tmp_path):
    make_corpus(tmp_path, n_speakers=1)
    folder = cache_folder(tmp_path, FRONT_END, corpus_fingerprint(tmp_path))
    with opened_writer(folder, FRONT_END, N_ROWS, SHARD) as writer:
        fill(writer)
        shutil.copy(write(tmp_path / "other").folder / "meta.json", writer.partial)
    assert caches_of(tmp_path) == []
    with pytest.raises(MissingError):
        open_cache(tmp_path, FRONT_END)


def test_finished_shards_survive_an_interruption(tmp_path):
    folder = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt), opened_writer(folder, FRONT_END, N_ROWS, SHARD) as writer:
        fill(writer, [0, 2])
        raise KeyboardInterrupt
    assert not folder.exists()
    with opened_writer(folder, FRONT_END, N_ROWS, SHARD) as writer:
        assert [writer.shard_is_done(shard) for shard in range(3)] == [True, False, True]
        assert writer.shard_record(2) == {"first": 8}
        fill(writer, [1])
        np.testing.assert_array_equal(writer.finish(CLIPS, META).frames, VALUES.astype(np.float16))


@pytest.mark.parametrize("plan", [(N_ROWS, 5), (N_ROWS + 1, SHARD)])
def test_shards_of_another_plan_are_not_taken_over(tmp_path, plan):
    with opened_writer(tmp_path / "cache", FRONT_END, N_ROWS, SHARD) as writer:
        fill(writer, [0])
    with opened_writer(tmp_path / "cache", FRONT_END, *plan) as writer:
        assert not writer.shard_is_done(0)


def test_a_shard_of_the_wrong_shape_is_not_written(tmp_path):
    with opened_writer(tmp_path / "cache", FRONT_END, N_ROWS, SHARD) as writer:
        with pytest.raises(ValueError, match="shard 2"):
            writer.finish_shard(2, VALUES[:SHARD])
        assert not writer.shard_is_done(2)


def test_what_a_lost_power_supply_leaves_is_not_taken_over(tmp_path):
    with opened_writer(tmp_path / "cache", FRONT_END, N_ROWS, SHARD) as writer:
        fill(writer, [0, 1])
        (writer.partial / "shard-000001.json").write_bytes(b"")
        assert [writer.shard_is_done(shard) for shard in range(2)] == [True, False]
        (writer.partial / "plan.json").write_bytes(b"")
    with opened_writer(tmp_path / "cache", FRONT_END, N_ROWS, SHARD) as writer:
        assert not writer.shard_is_done(0)


def test_shards_cover_every_row_once():
    writer = CacheWriter(None, FRONT_END, N_ROWS, SHARD)
    assert [row for shard in range(writer.n_shards) for row in writer.rows_of(shard)] == list(range(N_ROWS))


def _try_to_write(folder, answer):
    try:
        with opened_writer(folder, FRONT_END, N_ROWS, SHARD):
            answer.put("opened")
    except KwspotError as error:
        answer.put(str(error))


def test_two_processes_do_not_write_the_same_cache(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    answer = spawn.Queue()
    with opened_writer(tmp_path / "cache", FRONT_END, N_ROWS, SHARD) as writer:
        fill(writer, [0])
        other = spawn.Process(target=_try_to_write, args=(tmp_path / "cache", answer))
        other.start()
        assert "another process" in answer.get(timeout=60)
        other.join()
        assert writer.shard_is_done(0)


def test_a_full_disk_is_said_before_the_work(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda path: usage)
    with (
        pytest.raises(KwspotError, match="needs 800 B, 100 B are free"),
        opened_writer(tmp_path / "cache", FRONT_END, N_ROWS, SHARD),
    ):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / ".kwspot").write_text("a file where the folder should be")
    with (
        pytest.raises(KwspotError, match=r"\.kwspot.*cannot be written"),
        opened_writer(tmp_path / ".kwspot" / "cache", FRONT_END, N_ROWS, SHARD),
    ):
        pass


def _meta(**changes):
    def damage(folder):
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps(meta | changes))

    return damage


def _device(name):
    def damage(folder):
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero")

    return damage


def _pipe(name):
    def damage(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return damage


DAMAGES = {
    "frames a pipe": _pipe("frames.npy"),
    "frames a device": _device("frames.npy"),
    "index a pipe": _pipe("index.tsv"),
    "index a device": _device("index.tsv"),
    "frames cut": lambda folder: (folder / "frames.npy").write_bytes((folder / "frames.npy").read_bytes()[:500]),
    "frames gone": lambda folder: (folder / "frames.npy").unlink(),
    "frames of another type": lambda folder: np.save(folder / "frames.npy", VALUES),
    "frames too few": lambda folder: np.save(folder / "frames.npy", VALUES[:3].astype(np.float16)),
    "index gone": lambda folder: (folder / "index.tsv").unlink(),
    "index empty": lambda folder: (folder / "index.tsv").write_text(""),
    "index cut": lambda folder: (folder / "index.tsv").write_bytes((folder / "index.tsv").read_bytes()[:-4]),
    "index a line short": lambda folder: (folder / "index.tsv").write_text(
        "".join((folder / "index.tsv").read_text().splitlines(keepends=True)[:-1])
    ),
    "meta no JSON": lambda folder: (folder / "meta.json").write_text("{"),
    "meta of another schema": _meta(schema=0),
    "meta of other counts": _meta(n_clips={"train": 3}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_an_integrity_error(tmp_path, damage):
    folder = write(tmp_path / "cache").folder
    DAMAGES[damage](folder)
    with pytest.raises(IntegrityError, match="run 'kwspot featurize' again"):
        read_cache(folder)


@pytest.mark.parametrize("name", ["meta.json", "targets.npy"])
@pytest.mark.parametrize("make", [_pipe, _device])
def test_no_file_of_a_cache_is_waited_for(tmp_path, name, make):
    folder = write(tmp_path / "cache").folder
    (folder / name).touch()
    make(name)(folder)
    if name == "targets.npy":  # passed over, as one that is not there
        assert read_cache(folder).targets is None
    else:
        with pytest.raises(IntegrityError, match="a file is needed"):
            read_cache(folder)


@pytest.mark.parametrize("word", ["a\x1b[2J", "a\u202eb", "", "a" * 201])
def test_a_word_that_no_run_could_record_is_damaged(tmp_path, word):
    with pytest.raises(IntegrityError, match=r"index\.tsv: words.*run 'kwspot featurize' again"):
        write(tmp_path / "cache", [replace(CLIPS[0], word=word), *CLIPS[1:]])


def test_a_damaged_cache_is_replaced(tmp_path):
    folder = write(tmp_path / "cache").folder
    (folder / "index.tsv").unlink()
    assert write(folder).clips == CLIPS


@pytest.mark.parametrize(
    "change",
    [
        {"n_frames": 0}, {"n_frames": -3}, {"n_frames": 9}, {"row": -1}, {"row": 10}, {"row": 1},
    ],
    ids=str,
)  # fmt: skip
def test_an_index_that_points_beyond_the_frames_is_damaged(tmp_path, change):
    with pytest.raises(IntegrityError, match="run 'kwspot featurize' again"):
        write(tmp_path / "cache", [replace(CLIPS[0], **change), *CLIPS[1:]])


@pytest.mark.parametrize(
    "change",
    [
        {"front_end": {}}, {"front_end": {"n_mels": 7}}, {"name": None}, {"skipped": 3}, {"skipped": [["a"]]},
        {"n_clips": []}, {"source": "a\x1b[2J"}, {"corpus_digest": ""},
    ],
    ids=str,
)  # fmt: skip
def test_a_meta_file_of_the_wrong_shape_is_damaged(tmp_path, change):
    cache = write(tmp_path / "cache")
    (cache.folder / "meta.json").write_text(json.dumps(cache.meta | change))
    with pytest.raises(IntegrityError, match="run 'kwspot featurize' again"):
        read_cache(cache.folder)
