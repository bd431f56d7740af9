"""Texts -> takes: what the installed synthesisers say, and other texts that sound alike as `unknown`.

The clips are those of `kwspot synthesize` (synthesis.corpus), made in a folder that is gone
afterwards unless one is given.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
import tempfile
import unicodedata

from kwspot.audio.reading import read_waveform
from kwspot.corpus.layout import read_corpus
from kwspot.enrollment.clips import Take
from kwspot.enrollment.endpoints import endpoints
from kwspot.errors import ConfigError
from kwspot.seeding import rng_for
from kwspot.synthesis.corpus import synthesize_corpus
from kwspot.synthesis.engines import installed
from kwspot.synthesis.negatives import choose_negatives, read_lexicon
from kwspot.tasks import SILENCE, UNKNOWN

N_VOICES = 10  # of each engine; 40 are no better (docs/log.md)
N_NEGATIVES = 40  # other texts for each keyword
LATIN = "LATIN"


def speak(
    texts: Sequence[str],
    *,
    n_voices: int = N_VOICES,
    seed: int = 1,
    engines: Sequence[str] | None = None,
    avoid: Sequence[str] = (),
    folder: Path | None = None,
    report: Callable[..., None] = lambda done, total, message="": None,
) -> list[Take]:
    """Let every voice of every engine, or of `engines`, say every text, and a few others; its label is the text.

    The others are none of the words to `avoid`, which are keywords too. What they say is kept in `folder`, and read
    from there if they said it before.
    ConfigError for a text that no voice can read or that is given twice, MissingPartError if no engine is installed.
    """
    wanted = [" ".join(unicodedata.normalize("NFC", text).split()) for text in texts]
    for text in wanted:
        _require_readable(text)
    if twice := next((text for text in wanted if [other.lower() for other in wanted].count(text.lower()) > 1), None):
        raise ConfigError(f"'{twice}': given twice")
    negatives = choose_negatives(wanted, N_NEGATIVES, rng_for(seed, "texts"), read_lexicon(), avoid)
    with nullcontext(folder) if folder else tempfile.TemporaryDirectory(prefix="kwspot-") as place:
        data = Path(place) / "spoken"
        synthesize_corpus(
            data,
            n_voices=n_voices,
            seed=seed,
            engines=engines or list(installed()),
            words=wanted,
            negatives=negatives,
            report=report,
        )
        return [_take(data / clip.name, clip.word, clip.speaker) for clip in read_corpus(data).clips]


def _take(path: Path, word: str, speaker: str) -> Take:
    decoded = read_waveform(path)  # at 16 kHz, the rate of encoders as of voices
    start, end = endpoints(decoded.waveform, decoded.sample_rate)
    return Take(word, speaker, f"{word} ({speaker})", decoded.waveform[start:end], spoken=True)


def _require_readable(text: str) -> None:
    """Refuse a text with letters that are not Latin: the voices read English."""
    letters = [letter for letter in text if letter.isalpha()]
    if not letters:
        raise ConfigError(f"'{text}': no letters to read; give the word as it is spoken")
    if text.lower() in (UNKNOWN, SILENCE):
        raise ConfigError(f"'{text}': the name of the class for what is no keyword; give another text")
    if other := next((letter for letter in letters if not unicodedata.name(letter, "").startswith(LATIN)), None):
        script = unicodedata.name(other, "unknown").split()[0].capitalize()
        raise ConfigError(
            f"'{text}': the voices read English, not {script} letters; record it ('kwspot record') and use --clips"
        )
