"""What the bundled encoder makes of recordings that nobody enrolled -> kwspot/inference/bundled/encoder_background.npz.

    python -m benchmarks.enrollment.background --words CORPUS --spoken CORPUS --speech FOLDER --noise FOLDER
        [--without yes no …] [--encoder FILE]

A CORPUS has the official layout (several: as many words of each); its test split, and the words of --without, are not
taken. FOLDER of speech holds one folder for each speaker, or files whose folder is taken for one. Half of the words and
half of the speakers are held out: heads are not fitted on them, they say how often a head is wrong about new ones. The
words of --spoken are synthetic: heads are fitted on them and not judged by them.
"""

import argparse
from hashlib import sha1
import json
from pathlib import Path

import numpy as np

from kwspot.audio.reading import SUFFIXES, Waveform, read_waveform, resample
from kwspot.corpus.layout import TEST, read_corpus
from kwspot.enrollment.background import NOISE, SPEECH, WORD, background_path
from kwspot.enrollment.encoder import Encoder
from kwspot.enrollment.variants import centred
from kwspot.errors import KwspotError
from kwspot.files import sha256_of_file, written_whole
from kwspot.inference.model_zoo import ENCODER

# Windows of each length in s: words, fitted speech, held-out speech, noise.
WANTED = {1.0: (1800, 1300, 1300, 150), 2.0: (350, 350, 450, 60), 4.0: (150, 150, 200, 40)}
HOUR_S = 3600.0  # of held-out speech that the windows are spread over


def is_held_out(name: str) -> bool:
    """Put half of the words, or of the speakers, aside by a hash of their names."""
    return bool(sha1(name.encode()).digest()[0] % 2)


def recordings(folders: list[Path], rate: int, rng: np.random.Generator) -> list[tuple[str, Waveform]]:
    """Read (speaker, waveform) of all files below, in an order drawn."""
    paths = sorted(p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    found = []
    for i in rng.permutation(len(paths)):
        try:
            decoded = read_waveform(paths[int(i)])
        except KwspotError:
            continue
        found.append((paths[int(i)].parent.name, resample(decoded.waveform, decoded.sample_rate, rate)))
    return found


def spread(sounds: list[Waveform], length: int, n: int, rng: np.random.Generator) -> tuple[list[Waveform], float]:
    """Take `n` windows at one distance from sounds laid end to end; return them and the samples they stand for."""
    whole = np.concatenate(sounds)[: round(HOUR_S * 16_000)]
    n = min(n, len(whole) // length)
    starts = np.linspace(0, len(whole) - length, n).astype(int) if n else np.zeros(0, int)
    return [whole[start : start + length] for start in starts], float(len(whole))


def words(corpus: Path, without: list[str], n: int, rate: int, rng: np.random.Generator) -> list[tuple[str, Waveform]]:
    """Read `n` (word, waveform) of a corpus, every word once before one comes again."""
    clips = [clip for clip in read_corpus(corpus).clips if clip.split != TEST and clip.word not in without]
    by_word: dict[str, list] = {}
    for i in rng.permutation(len(clips)):
        by_word.setdefault(clips[int(i)].word, []).append(clips[int(i)])
    most = max(map(len, by_word.values()))
    taken = [clip for turn in range(most) for those in by_word.values() for clip in those[turn : turn + 1]][:n]
    return [(clip.word, resample(*_decoded(corpus / clip.name), rate)) for clip in taken]


def _decoded(path: Path) -> tuple[Waveform, int]:
    decoded = read_waveform(path)
    return decoded.waveform, decoded.sample_rate


def main() -> None:
    """Embed the windows and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=Path, action="append", required=True)
    parser.add_argument("--spoken", type=Path, action="append", default=[])
    parser.add_argument("--without", nargs="*", default=[])
    parser.add_argument("--speech", type=Path, action="append", required=True)
    parser.add_argument("--noise", type=Path, action="append", required=True)
    parser.add_argument("--encoder", type=Path, default=ENCODER)
    given = parser.parse_args()
    encoder, rng = Encoder(given.encoder, threads=1), np.random.default_rng(1)
    rate = encoder.sample_rate
    speech, noises = recordings(given.speech, rate, rng), recordings(given.noise, rate, rng)
    n_each, synthetic = WANTED[1.0][0] // len(given.words + given.spoken), set(given.spoken)
    said = [
        (word, waveform, corpus not in synthetic and is_held_out(word))
        for corpus in given.words + given.spoken
        for word, waveform in words(corpus, given.without, n_each, rate, rng)
    ]
    parts, seconds = [], {}
    for length_s, (n_words, n_fitted, n_held_out, n_noise) in WANTED.items():
        length = round(length_s * rate)
        rows = []
        for i in rng.permutation(len(said))[:n_words]:
            word, waveform, held_out = said[int(i)]
            rows.append((WORD, word, held_out, centred(waveform, length)))
        for held_out, n in ((False, n_fitted), (True, n_held_out)):
            windows, n_samples = spread([w for s, w in speech if is_held_out(s) is held_out], length, n, rng)
            rows += [(SPEECH, "", held_out, window) for window in windows]
            if held_out:
                seconds[str(length)] = n_samples / rate
        windows, _ = spread([w for _, w in noises], length, n_noise, rng)
        rows += [(NOISE, "", i % 2 == 1, window) for i, window in enumerate(windows)]
        embeddings = encoder.embed([window for *_, window in rows])
        parts.append((embeddings, [row[:3] for row in rows], length))
        print(f"windows of {length_s:g} s: {len(rows)}", flush=True)
    write(background_path(encoder), encoder, parts, seconds, given)


def write(path: Path, encoder: Encoder, parts: list, seconds: dict, given: argparse.Namespace) -> None:
    """Round to 8 bits, a scale for each feature, and write."""
    embeddings = np.concatenate([part for part, _, _ in parts])
    rows = [row for _, part, _ in parts for row in part]
    scale = np.abs(embeddings).max(0) / 127
    about = {"encoder_sha256": sha256_of_file(encoder.path), "seconds": seconds, "without": given.without}
    with written_whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            embeddings=np.rint(embeddings / scale).astype(np.int8),
            scale=scale.astype(np.float32),
            kind=np.array([kind for kind, _, _ in rows], np.uint8),
            word=np.array([word for _, word, _ in rows]),
            held_out=np.array([held_out for _, _, held_out in rows]),
            n_samples=np.concatenate([np.full(len(part), length, np.int32) for _, part, length in parts]),
            about=np.array(json.dumps(about)),
        )
    print(f"{path}: {len(rows):,} embeddings, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
