"""`kwspot synthesize`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from kwspot.commands import console
from kwspot.commands.options import Quiet
from kwspot.errors import ConfigError

EXPERIMENT = "own_words"  # in the registry, for such a corpus


def synthesize(
    words: Annotated[
        list[str], typer.Argument(metavar="WORD", help='Keywords; a phrase in quotation marks: "lights on".')
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder of the new corpus.")],
    voices: Annotated[int, typer.Option("--voices", min=1, help="Voices per engine.")] = 100,
    negatives: Annotated[
        int, typer.Option("--negatives", min=1, help="Other texts per keyword; every voice speaks four of all of them.")
    ] = 50,
    seed: Annotated[int, typer.Option("--seed", help="Decides the voices and the other texts.")] = 1,
    engine: Annotated[
        list[str] | None, typer.Option("--engine", metavar="NAME", help="Only this engine; repeatable.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Engines running at once.")] = 2,
    quiet: Quiet = False,
) -> None:
    """Speak keywords with synthetic voices: a spotter for words nobody recorded.

    Every voice speaks every keyword, and some texts that are not keywords:
    words that sound alike, parts of a phrase, other words. These become the
    class 'unknown'; .kwspot/unknown.tsv lists the text of each clip. A tenth of
    the voices is kept for validation and a tenth for test. English only.

    Examples:

      kwspot synthesize "lights on" "lights off" --voices 100 --out mywords

      kwspot synthesize yes no up down --out synth --seed 2 --negatives 80
    """
    from kwspot.corpus.layout import STATE
    from kwspot.seeding import rng_for
    from kwspot.synthesis.corpus import SAID, chosen_engines, synthesize_corpus
    from kwspot.synthesis.negatives import choose_negatives, read_lexicon, without_entry

    keywords = [" ".join(word.split()) for word in words]
    if twice := sorted({word for word in keywords if [w.lower() for w in keywords].count(word.lower()) > 1}):
        raise ConfigError(f"{', '.join(twice)}: given twice")
    chosen_engines(engine)  # before any note
    lexicon = read_lexicon()
    if lexicon is None:
        console.note("no dictionary without hibari-tts; no negatives that sound alike, other words only")
    elif lacking := without_entry(keywords, lexicon):
        console.note(f"not in the dictionary: {', '.join(lacking)}; no negatives that sound alike, other words only")
    chosen = choose_negatives(keywords, negatives, rng_for(seed, "texts"), lexicon)
    with console.progress("speak", unit="clips", quiet=quiet) as report:
        marker = synthesize_corpus(
            out, n_voices=voices, seed=seed, engines=engine, words=keywords, negatives=chosen, workers=workers,
            report=report,
        )  # fmt: skip
    said = (out / STATE / SAID).read_text(encoding="utf-8").splitlines()[1:]
    _tell(out, marker, len({line.split("\t")[1] for line in said}), quiet)


def _tell(out: Path, marker: dict[str, Any], n_texts: int, quiet: bool) -> None:
    n_voices, n_words, clip_ms = marker["n_voices"] * len(marker["engines"]), len(marker["words"]), marker["clip_ms"]
    spoken = f"{n_words} keyword{'s' * (n_words > 1)} by {n_voices:,} voice{'s' * (n_voices > 1)}"
    console.say(
        f"{out}: {spoken}, {n_texts:,} other texts, clips of {clip_ms:,} ms: {marker['n_files']:,} files, "
        f"{marker['n_bytes'] / 1e6:,.1f} MB"
    )
    if not quiet:
        length = "" if clip_ms == 1000 else f" -o front_end.clip_ms={clip_ms}"
        console.note(f"next: kwspot featurize {EXPERIMENT} --data {out}{length}")
        console.note(f"then: kwspot train {EXPERIMENT} --data {out}{length}")
