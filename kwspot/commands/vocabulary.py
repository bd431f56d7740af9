"""`kwspot vocabulary`."""

from pathlib import Path
from typing import Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import Quiet
from kwspot.errors import MissingError


def vocabulary(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder of the new corpus.")],
    words: Annotated[
        int, typer.Option("--words", min=2, help="How many; a seventh of them phrases of two words.")
    ] = 3600,
    each: Annotated[int, typer.Option("--each", min=1, help="Voices an engine for each word.")] = 5,
    first: Annotated[
        Path | None, typer.Option("--first", metavar="FILE", help="Words to take before others, one a line.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", metavar="WORD", help="Not this one; repeat it for several.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Decides words and voices.")] = 1,
    engine: Annotated[
        list[str] | None, typer.Option("--engine", metavar="NAME", help="Only this one; repeat it for several.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Engines at work at once.")] = 2,
    quiet: Quiet = False,
) -> None:
    """Speak thousands of different words by a few voices each, to train an encoder on.

    The words are common ones of an English dictionary. Leave out what you will
    test with: words that sound like it are then left out too.

    Examples:

      kwspot vocabulary --out spoken --without yes --without no

      kwspot vocabulary --words 500 --each 3 --engine pico --out spoken
    """
    from kwspot.files import read_text
    from kwspot.seeding import rng_for
    from kwspot.synthesis.vocabulary import choose_vocabulary, needed_lexicon, speak_vocabulary

    if first and not first.is_file():
        raise MissingError(f"{first}: no such file; --first needs words, one a line")
    wished = read_text(first).split() if first else []
    chosen = choose_vocabulary(words, rng_for(seed, "texts"), needed_lexicon(), wished, without or [])
    with console.progress("speak", unit="clips", quiet=quiet) as report:
        marker = speak_vocabulary(
            out, chosen, n_each=each, seed=seed, engines=engine, workers=workers, report=report
        )  # fmt: skip
    console.say(
        f"{out}: {len(chosen):,} words and phrases, {marker['n_files']:,} files, {marker['n_bytes'] / 1e6:,.1f} MB"
    )
