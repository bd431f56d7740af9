"""Which clips a task takes, and how they come in batches."""

import numpy as np
import pytest
import torch

from kwspot.errors import MissingError
from kwspot.experiments.settings import FrontEnd
from kwspot.features.cache import CachedClip, FeatureCache
from kwspot.features.dataset import recorded_noise, resolve_task, select
from kwspot.tasks import KEYWORDS_10, TASKS, WORDS_30, WORDS_35, Task, words_task
from tests.toy import make_cache


def cache_of(tmp_path, counts, split="train"):
    clips = []
    for word, count in counts.items():
        clips += [CachedClip(len(clips) + i, f"{word}/{i}", word, f"s{i}", split, 2) for i in range(count)]
    frames = np.zeros((len(clips), 2, 3), np.float16)
    return FeatureCache(tmp_path, {}, frames, clips)


def counts_of(split, task):
    return dict(zip(task.classes, np.bincount(split.labels, minlength=len(task.classes)).tolist(), strict=True))


def test_word_lists_are_the_official_ones():
    assert (len(WORDS_35), len(WORDS_30), len(KEYWORDS_10), len(TASKS["kws12"].classes)) == (35, 30, 10, 12)
    assert set(KEYWORDS_10) < set(WORDS_30) < set(WORDS_35)


def test_kws12_takes_a_tenth_of_unknown_and_silence(tmp_path):
    counts = {**dict.fromkeys(KEYWORDS_10, 20), "bed": 150, "cat": 100, "silence": 90}
    cache = cache_of(tmp_path, counts)
    task = resolve_task("kws12", cache)
    split = select(cache, task, "train")
    assert counts_of(split, task) == {**dict.fromkeys(KEYWORDS_10, 20), "unknown": 20, "silence": 20}
    assert {clip.word for clip, label in zip(split.clips, split.labels, strict=True) if label == 10} == {"bed", "cat"}
    assert select(cache, task, "train").clips == split.clips
    more = select(cache, task, "train", unknown_share=0.5)
    assert counts_of(more, task) == {**dict.fromkeys(KEYWORDS_10, 20), "unknown": 100, "silence": 20}
    assert set(split.rows) < set(more.rows)


def test_12_class_archive_is_taken_whole(tmp_path):
    counts = {**dict.fromkeys(KEYWORDS_10, 4), "unknown": 7, "silence": 9}
    cache = cache_of(tmp_path, counts, split="test12")
    task = TASKS["kws12"]
    assert counts_of(select(cache, task, "test12"), task) == {
        **dict.fromkeys(KEYWORDS_10, 4),
        "unknown": 7,
        "silence": 9,
    }


def test_kws35_leaves_silence_out(tmp_path):
    cache = cache_of(tmp_path, {**dict.fromkeys(WORDS_35, 2), "silence": 5})
    assert len(select(cache, resolve_task("kws35", cache), "train")) == 70


def test_missing_words_are_an_error_that_names_them(tmp_path):
    cache = cache_of(tmp_path, dict.fromkeys(WORDS_35[2:], 1))
    with pytest.raises(MissingError, match="no clips of backward, bed, which task 'kws35' needs"):
        resolve_task("kws35", cache)


def test_words_beyond_the_task_are_listed(tmp_path):
    cache = cache_of(tmp_path, {"yes": 1, "no": 1, "maybe": 1})
    heard = []
    assert resolve_task(["yes", "no"], cache, heard.append) == words_task(["yes", "no"])
    assert heard == ["1 words of the corpus are left out: maybe"]


def test_folder_task_takes_the_words_there_are(tmp_path):
    cache = cache_of(tmp_path, {"no": 1, "lights on": 1, "silence": 3})
    assert resolve_task("folder", cache) == Task("folder", ("lights on", "no"))


def test_a_folder_of_other_words_makes_two_classes_more(tmp_path):
    counts = {"no": 4, "lights on": 4, "unknown": 30, "silence": 5}
    cache = cache_of(tmp_path, counts)
    task = resolve_task("folder", cache)
    assert task == Task("folder", ("lights on", "no", "unknown", "silence"), rejects=True)
    assert task.keywords == ("lights on", "no")
    assert counts_of(select(cache, task, "train"), task) == counts  # all of them: they were made on purpose
    fewer = counts_of(select(cache, task, "train", unknown_share=1.0), task)
    assert fewer == {"no": 4, "lights on": 4, "unknown": 8, "silence": 1}
    assert resolve_task("folder", cache_of(tmp_path, {"no": 1, "unknown": 1})).classes == ("no", "unknown")
    archive = cache_of(tmp_path, {"no": 1, "unknown": 1}, split="test12")
    assert resolve_task("folder", archive) == Task("folder", ("no",))


def test_a_runs_classes_are_asked_of_another_corpus(tmp_path):
    cache = cache_of(tmp_path, {"no": 20, "go": 20, "bed": 30, "silence": 9})
    heard = []
    task = resolve_task("folder", cache, heard.append, classes=["no", "go", "unknown"])
    assert counts_of(select(cache, task, "train"), task) == {"no": 20, "go": 20, "unknown": 4}  # no class of silence
    assert heard == ["1 words of the corpus count as unknown: bed"]
    with pytest.raises(MissingError, match="no clips of yes, which the run was trained on; the corpus has bed, go"):
        resolve_task("folder", cache, classes=["yes", "no"])


def test_a_split_that_no_speaker_falls_into_is_explained(tmp_path):
    with pytest.raises(MissingError, match="none of the 3 clips of task 'folder' is in split 'validation'"):
        cache = cache_of(tmp_path, {"no": 3})
        select(cache, resolve_task("folder", cache), "validation")


def test_class_without_training_clips_is_an_error(tmp_path):
    cache = cache_of(tmp_path, dict.fromkeys(KEYWORDS_10, 2) | {"bed": 3})
    with pytest.raises(MissingError, match="no training clips of silence"):
        select(cache, TASKS["kws12"], "train")


def test_batches_hold_every_clip_once_as_stored(tmp_path):
    cache = make_cache(tmp_path)
    split = select(cache, resolve_task("folder", cache), "train")
    order = np.random.default_rng(0).permutation(len(split))
    batches = list(split.batches(7, order))
    assert len(batches) == split.n_batches(7) == 7
    assert sum(len(labels) for _, _, labels in batches) == len(split) == 48
    features, lengths, labels = batches[2]
    for i, position in enumerate(order[14:21]):
        clip = split.clips[position]
        stored = torch.from_numpy(cache.frames[clip.row].astype(np.float32))
        assert lengths[i] == clip.n_frames
        assert torch.equal(features[i], stored[: features.shape[1]])
        assert ("left", "right", "up")[labels[i]] == clip.word
    assert features.shape[1] == lengths.max()


def test_batches_can_start_in_the_middle(tmp_path):
    cache = make_cache(tmp_path)
    split = select(cache, resolve_task("folder", cache), "train")
    whole, rest = list(split.batches(5)), list(split.batches(5, start=3))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(whole[3:], rest, strict=True))


def test_frames_held_by_a_device_are_the_same_batches(tmp_path):
    cache = make_cache(tmp_path)
    split = select(cache, resolve_task("folder", cache), "validation")
    held = split.held_by(torch.device("cpu"))
    order = np.random.default_rng(0).permutation(len(split))
    assert held.frames.shape[0] == len(split)
    for ours, theirs in zip(held.batches(4, order), split.batches(4, order), strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_noise_is_the_training_silence_that_is_heard(tmp_path):
    cache = cache_of(tmp_path, {"yes": 3, "silence": 4})
    cache.frames[:] = -13.8
    cache.frames[[1, 4, 5]] = -5
    cache.frames[5, 0, 0] = -4
    noise = recorded_noise(cache, FrontEnd())
    assert torch.equal(noise, torch.from_numpy(cache.frames[[4, 5]]))
    assert recorded_noise(cache_of(tmp_path, {"yes": 3}), FrontEnd()) is None
    assert recorded_noise(cache_of(tmp_path, {"silence": 3}, split="validation"), FrontEnd()) is None


def test_words_held_out_are_left_out(tmp_path):
    cache = cache_of(tmp_path, {**dict.fromkeys(KEYWORDS_10, 20), "bed": 30, "cat": 30, "silence": 90})
    split = select(cache, resolve_task("kws12", cache), "train", 1.0, without=("cat",))
    assert {clip.word for clip in split.clips} == {*KEYWORDS_10, "bed", "silence"}
