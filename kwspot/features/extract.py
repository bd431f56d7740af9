"""Corpus -> feature cache: every clip read once, its log-mel frames kept on disk.

    clips of the corpus + planned silence -> shards of 500 rows -> worker processes -> cache

Workers read, compute and write (worker.py); only counts, digests and reasons come back, so memory does not grow
with the corpus. A shard is either finished or done again, so an interrupted run resumes where it was.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from hashlib import sha256
from itertools import islice
import multiprocessing
from multiprocessing.context import BaseContext
import os
from pathlib import Path
import shutil
from typing import Any

from kwspot.audio.reading import AudioError, read_waveform
from kwspot.corpus.layout import (
    LISTS,
    Clip,
    Corpus,
    corpus_fingerprint,
    corpus_name,
    imported_digest,
    read_corpus,
    silence_clips,
)
from kwspot.errors import IntegrityError, KwspotError, MissingError
from kwspot.experiments.settings import FrontEnd
from kwspot.features.cache import (
    FROM_WAVEFORMS,
    META,
    SHARD_SIZE,
    CachedClip,
    CacheWriter,
    FeatureCache,
    cache_folder,
    caches_of,
    opened_writer,
    read_cache,
)
from kwspot.features.worker import Shard, compute_shard, start_worker
from kwspot.files import sha256_of_file

MOST_WORKERS = 2  # by default: torch takes 0.3 GB in each, and the whole is to stay under 1 GB


def featurize(
    data: Path,
    front_end: FrontEnd,
    *,
    workers: int | None = None,
    shard_size: int = SHARD_SIZE,
    report: Callable[..., None] = lambda done, total, message="": None,
) -> tuple[FeatureCache, bool]:
    """Compute the features of a corpus unless they are there; return the cache and whether anything was done.

    An interrupted call resumes with the first unfinished shard. Workers import the calling script: one that calls
    this with more than one needs the `if __name__ == "__main__":` guard.
    """
    fingerprint, recorded = _state_of(data)
    folder = cache_folder(data, front_end, fingerprint)
    if cache := _finished(folder):
        return cache, False
    if recorded is None:
        raise MissingError(
            f"{data}: holds imported frames of another front end and no recordings; import frames of this one"
        )
    corpus, unusable = _with_usable_noise(recorded)
    if not corpus.clips:
        raise _no_audio(corpus, corpus.refused)
    clips = [*corpus.clips, *silence_clips(corpus)]
    with opened_writer(folder, front_end, len(clips), shard_size) as writer:
        shards = [
            Shard(data, writer, i, [clips[row] for row in writer.rows_of(i)], corpus.noise)
            for i in range(writer.n_shards)
            if not writer.shard_is_done(i)
        ]
        done = len(clips) - sum(len(shard.clips) for shard in shards)
        report(done, len(clips))
        for n_clips in _computed(shards, workers or default_workers(), folder):
            done += n_clips
            report(done, len(clips))
        if corpus_fingerprint(data) != fingerprint:
            shutil.rmtree(writer.partial)
            raise KwspotError(f"{data}: the corpus changed while it was read; run the command again")
        cache = _finish(writer, corpus, clips, [*corpus.refused, *unusable], fingerprint)
    _remove_stale(data, fingerprint)
    return cache, True


def summary(cache: FeatureCache) -> list[str]:
    """Say in a few lines what is in a cache and what was done to get it."""
    meta = cache.meta
    counts = ", ".join(f"{n:,} {split}" for split, n in meta["n_clips"].items())
    lines = [f"features of {len(cache.clips):,} clips: {counts}; {len(meta['skipped']):,} skipped"]
    if conversions := meta.get("conversions"):
        lines.append("converted: " + ", ".join(f"{n:,} {kind}" for kind, n in conversions.items()))
    if n_unnamed := meta.get("n_unnamed"):
        lines.append(
            f"{n_unnamed:,} clips have no speaker in their name (<speaker>_nohash_<take>): each file name "
            "counts as a speaker of its own"
        )
    return lines


def default_workers() -> int:
    """Return the number of processor cores this process may use, at most two."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, MOST_WORKERS)


def _state_of(data: Path) -> tuple[str, Corpus | None]:
    """Return the fingerprint of a corpus and its recordings; None where frames were imported in their place."""
    try:
        corpus = read_corpus(data)
    except MissingError:
        if imported := imported_digest(data):
            return imported, None
        raise
    return corpus.fingerprint, corpus


def _finished(folder: Path) -> FeatureCache | None:
    """Open a cache that is there and whole; a damaged one is computed again."""
    try:
        return read_cache(folder) if (folder / META).is_file() else None
    except IntegrityError:
        return None


def _with_usable_noise(corpus: Corpus) -> tuple[Corpus, list[tuple[str, str]]]:
    """Leave out noise files that are no audio; return their names and reasons too."""
    usable, unusable = [], []
    for name in corpus.noise:
        try:
            read_waveform(corpus.folder / name, longest_s=1.0)
            usable.append(name)
        except (AudioError, MissingError) as error:
            unusable.append((name, getattr(error, "reason", "no such file")))
    return replace(corpus, noise=usable), unusable


def _computed(shards: Sequence[Shard], workers: int, folder: Path) -> Iterator[int]:
    """Compute shards, in this process or in several; yield the clips of each as it is finished."""
    try:
        if workers == 1 or len(shards) <= 1:
            for shard in shards:
                compute_shard(shard)
                yield len(shard.clips)
            return
        pool = ProcessPoolExecutor(min(workers, len(shards)), mp_context=_processes(), initializer=start_worker)
        try:
            waiting, running = iter(shards), dict[Future[None], int]()
            while True:
                # No more than run at once: what is queued could not be called back on Ctrl-C.
                for shard in islice(waiting, workers - len(running)):
                    running[pool.submit(compute_shard, shard)] = len(shard.clips)
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    yield running.pop(future)
        finally:
            pool.shutdown(cancel_futures=True)
    except BrokenProcessPool as error:
        raise KwspotError(
            f"{folder}: a worker process was killed, perhaps for want of memory; run the command again, "
            "with fewer --workers: finished shards are kept"
        ) from error
    except OSError as error:
        raise KwspotError(f"{folder}: {error.strerror}; run the command again: finished shards are kept") from error


def _processes() -> BaseContext:
    """Return how to start workers: forks of a process that has imported torch and done nothing, where there are any.

    A torch that was used can hang when forked.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kwspot.features.log_mel"])
    return context


def _no_audio(corpus: Corpus, skipped: Sequence[tuple[str, str]]) -> IntegrityError:
    name, reason = skipped[0]
    return IntegrityError(f"{corpus.folder}: no file is usable audio, {len(skipped)} skipped; {name}: {reason}")


def _finish(
    writer: CacheWriter,
    corpus: Corpus,
    clips: Sequence[Clip],
    skipped: list[tuple[str, str]],
    fingerprint: str,
) -> FeatureCache:
    """Join the records of all shards into index and meta, and put the cache in its place."""
    index: list[CachedClip] = []
    digests: dict[str, str] = {}
    conversions: Counter[str] = Counter()
    for shard in range(writer.n_shards):
        record: dict[str, Any] = writer.shard_record(shard)
        digests |= record["digests"]
        conversions.update(record["conversions"])
        skipped += [(name, reason) for name, reason in record["skipped"]]
        for row, n_frames in zip(writer.rows_of(shard), record["n_frames"], strict=True):
            if n_frames:
                clip = clips[row]
                index.append(CachedClip(row, clip.name, clip.word, clip.speaker, clip.split, n_frames))
    if not any(clip.name in digests for clip in index):
        shutil.rmtree(writer.partial)
        raise _no_audio(corpus, skipped)
    for name in (*corpus.noise, *LISTS):
        if (corpus.folder / name).is_file():
            digests[name] = sha256_of_file(corpus.folder / name)
    meta = {
        "source": FROM_WAVEFORMS,
        "name": corpus_name(corpus.folder),
        "corpus_digest": corpus_digest(digests),
        "fingerprint": fingerprint,
        "n_unnamed": corpus.n_unnamed,
        "conversions": dict(conversions.most_common()),
        "skipped": skipped,
    }
    return writer.finish(index, meta)


def corpus_digest(digests: dict[str, str]) -> str:
    """Digest a corpus by the sha256 of each of its files, by name: the same wherever and whenever it lies."""
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return sha256(lines.encode()).hexdigest()


def _remove_stale(data: Path, fingerprint: str) -> None:
    """Delete features of earlier states of the recordings: they have no reader any more."""
    for folder in caches_of(data):
        try:
            stale = read_cache(folder).meta.get("fingerprint", fingerprint) != fingerprint
        except IntegrityError:
            stale = True
        if stale:
            shutil.rmtree(folder)
