"""`kwspot cut`."""

from pathlib import Path
from typing import Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import Quiet
from kwspot.errors import ConfigError


def cut(
    times: Annotated[Path, typer.Argument(metavar="TIMES.tsv", help="Columns path, speaker, word, start_s, end_s.")],
    recordings: Annotated[Path, typer.Option("--recordings", help="Folder that the paths lie below.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder of the new corpus.")],
    least: Annotated[int, typer.Option("--least", min=1, help="Examples that a word needs.")] = 8,
    without: Annotated[
        list[str] | None, typer.Option("--without", metavar="WORD", help="Not this one; repeat it for several.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Decides the microphones and rooms.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Cut words out of recorded sentences, to train an encoder on.

    The table says where each word lies; any forced aligner can write it. Each
    word becomes a clip of a second, in a room and by a microphone of its own.

    Examples:

      kwspot cut times.tsv --recordings librispeech --out cut --without yes --without no
    """
    from kwspot.synthesis.sentences import cut_words, read_times, usable

    words = usable(read_times(times), least, without or [])
    if not words:
        raise ConfigError(f"{times}: no word is there {least} times; lower --least")
    with console.progress("cut", unit="words", quiet=quiet) as report:
        marker = cut_words(words, recordings, out, seed=seed, report=report)
    n_words = len({word.word for word in words})
    console.say(f"{out}: {n_words:,} words, {marker['n_files']:,} files, {marker['n_bytes'] / 1e6:,.1f} MB")
