"""`kwspot enroll`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import RUNS, Quiet, RunsDir
from kwspot.errors import ConfigError, MissingError
from kwspot.files import written_ns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kwspot.enrollment.clips import Take
    from kwspot.enrollment.encoder import Encoder
    from kwspot.enrollment.enroll import Enrolled
    from kwspot.enrollment.examples import Source

N_CONFUSED = 5  # pairs of words that are named
FEW = 0.7  # of the clips that are detected
# Of other people's takes, where one voice recorded: with other voices beside it, and alone. Both are measured
# (benchmarks/enrollment/enrolled.md; a test compares).
DETECTED, DETECTED_ALONE = "about half", "about a third"


def enroll(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the new model: predict --model NAME.")],
    clips: Annotated[
        Path | None, typer.Option("--clips", metavar="FOLDER", help="Clips: FOLDER/<word>/*.wav, one or many.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", metavar="TEXT", help="A word or phrase to synthesise; repeat it.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Replace the model of this name.")] = False,
    add: Annotated[bool, typer.Option("--add", help="Add words, or takes, to the model of this name.")] = False,
    per_hour: Annotated[
        float | None,
        typer.Option(
            "--false-alarms-per-hour",
            help="What its threshold allows in other people's speech.",
            show_default="1, with --add as before",
        ),
    ] = None,
    voices: Annotated[
        int, typer.Option("--voices", min=0, help="Of each synthesiser, for texts and for the names of words.")
    ] = 10,
    engine: Annotated[
        list[str] | None, typer.Option("--engine", metavar="NAME", help="Only this synthesiser; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Decides the variants of the clips, and the voices.")] = 1,
    quiet: Quiet = False,
    runs: RunsDir = RUNS,
) -> None:
    r"""Make a spotter of your own words, from a few clips of each or from text.

    Clips take seconds: any file names, any language, up to 4 s. Text is
    spoken by synthesisers, in English, and takes minutes. Where the name of a
    word is English for what was recorded, synthesisers say it too, so that
    takes of one voice know others; --voices 0 leaves them out.
    Voices need: pip install 'kwspot\[synth]'; those of \[kokoro] are better.

    A folder FOLDER/unknown holds other words, FOLDER/_background_noise_ noise;
    both are optional. Speakers are taken from subfolders, or from names such as
    anna_1.wav. What to expect is estimated by leaving takes, or speakers, out.

    Examples:

      kwspot enroll house --clips clips

      kwspot enroll house --text "hey computer" --text alexa

      kwspot enroll house --clips more --add --false-alarms-per-hour 0.5

      kwspot listen --model house
    """
    if clips is None and not text:
        raise ConfigError("enroll needs clips or texts: --clips FOLDER, --text TEXT, or both")
    if text and voices < 2:
        raise ConfigError("--text needs voices: --voices 2 or more")
    if again and add:
        raise ConfigError("--again replaces the model, --add adds to it: give one of them")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small products: a second thread only waits for the first
    from kwspot.enrollment.encoder import Encoder
    from kwspot.enrollment.enroll import enroll_takes, require_rate
    from kwspot.enrollment.model_file import read_examples
    from kwspot.inference.model_zoo import enrolled_path

    if per_hour is not None:
        require_rate(per_hour)
    path = enrolled_path(runs, name)
    if path.exists() and not (again or add):
        raise ConfigError(f"{path}: there is one; --again replaces it, --add adds words to it")
    if add and not path.exists():
        raise MissingError(f"{path}: no such model to add to; without --add it is made")
    began_with = written_ns(path)
    encoder = Encoder(threads=1)
    before = read_examples(path)[0].sources if add else ()
    takes = _takes(clips, text or [], before, encoder, voices, engine, seed, quiet)
    with console.progress("embed", unit="clips", quiet=quiet) as report:
        enrolled = enroll_takes(
            takes, encoder, per_hour=per_hour, added_to=path if add else None, seed=seed, report=report
        )
    enrolled.replace(path, began_with)
    for line in described(enrolled):
        console.say_wrapped(line)
    if not quiet:
        console.note(f"wrote {path}; next: kwspot listen --model {name}")


def _takes(
    clips: Path | None,
    texts: list[str],
    before: "Sequence[Source]",
    encoder: "Encoder",
    voices: int,
    engines: list[str] | None,
    seed: int,
    quiet: bool,
) -> "list[Take]":
    """Read the clips, and let voices say the texts, and the words of new clips that none of them has said yet."""
    from kwspot.enrollment.clips import read_takes
    from kwspot.enrollment.enroll import new_takes
    from kwspot.enrollment.spoken import speak
    from kwspot.enrollment.voices import other_voices
    from kwspot.tasks import SILENCE, UNKNOWN

    takes = read_takes(clips, encoder.sample_rate) if clips else []
    known = [word for word in dict.fromkeys(source.word for source in before) if word not in (UNKNOWN, SILENCE)]
    said = {source.word for source in before if source.spoken}
    avoid = [*known, *dict.fromkeys(take.word for take in takes)]
    with console.progress("speak", unit="clips", quiet=quiet, brief=not texts) as report:
        if texts:
            takes += speak(texts, n_voices=voices, seed=seed, engines=engines, avoid=avoid, report=report)
        unsaid = [take for take in new_takes(takes, before) if take.word not in said]
        return takes + other_voices(
            unsaid, encoder, n_voices=voices, seed=seed, engines=engines, avoid=known, report=report
        )


def described(enrolled: "Enrolled") -> list[str]:
    """Say what was made and what to expect of it, a line a fact."""
    from kwspot.enrollment.operating import LEAST_THRESHOLD
    from kwspot.inference.expectation import estimate

    expected, known = enrolled.expected, enrolled.metadata
    words, spotting = known["labels"][:-2], known["spotting"]
    seconds = known["clip_length"] / known["sample_rate"]
    lines = [
        f"words: {', '.join(words)}; window {seconds:.2f} s",
        f"expected: {estimate(known['enrollment']['expected'])}",
    ]
    if confused := [f"{said} for {taken} {n}x" for said, taken, n in expected.confused[:N_CONFUSED]]:
        lines.append(f"confused: {', '.join(confused)}")
    fewer = "the least, for fewer than" if spotting["threshold"] <= LEAST_THRESHOLD else "for"
    reached = "" if enrolled.reached is None else f"; {enrolled.reached:.0%} of the clips reach it"
    allowed = f"{spotting['target_per_hour']:g} false alarm{'' if spotting['target_per_hour'] == 1 else 's'}"
    lines.append(f"threshold: {spotting['threshold']:g} {fewer} {allowed} an hour of speech{reached}")
    if background := enrolled.background:
        lines.append("background: " + ", ".join(f"{n:,} clips of {what}" for what, n in background.items()))
    return lines + _voices(enrolled) + _cautions(enrolled)


def _voices(enrolled: "Enrolled") -> list[str]:
    """Say which of the recorded words synthesisers say too."""
    both = [word for word in enrolled.recorded if word in enrolled.spoken]
    return [f"voices: synthesisers say {', '.join(both)} too"] if both else []


def _cautions(enrolled: "Enrolled") -> list[str]:
    from kwspot.enrollment.expected import TAKES

    expected, words = enrolled.expected, enrolled.metadata["labels"][:-2]
    alone = [word for word in enrolled.recorded if word not in enrolled.spoken]
    synthetic = [word for word in enrolled.spoken if word not in enrolled.recorded]
    cautions = []
    if enrolled.recorded and expected.n_speakers == 1:
        too_high = "the estimate is too high for other people; " if expected.n else ""
        whose = "their" if expected.n else "other people's"
        cautions.append(
            f"one voice: {too_high}in our tests {DETECTED_ALONE if alone else DETECTED} of {whose} takes were detected"
        )
        if alone:
            cautions.append(f"no other voices say {', '.join(alone)}; of an English word, --text WORD adds some")
    elif enrolled.recorded and expected.n and expected.by == TAKES:
        cautions.append("not every word has two speakers that names tell: the estimate is of voices that it knows")
    if synthetic and enrolled.recorded:
        cautions.append(f"only synthetic voices say {', '.join(synthetic)}, and the estimate is of the other words")
    elif synthetic:
        cautions.append("synthetic voices: they are easier than people, for whom the estimate is too high")
    if enrolled.reached is not None and enrolled.reached < FEW * (expected.detected or 0):
        cautions.append(
            "few clips reach the threshold: 'spot' and 'listen' miss the others; a larger --false-alarms-per-hour "
            "lowers it"
        )
    if len(words) == 1:
        cautions.append("one word: it is told from other speech, and from nothing else")
    return [f"caution: {caution}" for caution in cautions]
