"""The parts that pip installs on demand: an extra by name, the libraries it brings, and what they are for.

    require("kwspot eval", "torch")  ->  MissingPartError: kwspot eval needs torch; run: pip install 'kwspot[train]'

The base has none of these libraries. The voices of [synth] and [espeak] stand in synthesis/engines.py.
"""

from dataclasses import dataclass
from importlib.util import find_spec

from kwspot.errors import MissingPartError


@dataclass(frozen=True)
class Extra:
    """An extra: its libraries, the characteristic one first, by the name that pip and Python share."""

    libraries: tuple[str, ...]
    purpose: str


EXTRAS = {
    "train": Extra(("torch", "torchaudio", "tensorboard", "spox"), "featurize, train, eval, export and tensorboard"),
    "sweep": Extra(("optuna",), "sweep"),  # pip installs [train] with it
    "ui": Extra(("starlette", "uvicorn"), "ui"),
    "wyoming": Extra(("wyoming",), "serve --wyoming"),
    "mic": Extra(("sounddevice",), "listen with a microphone, record"),
}


def require(what: str, *libraries: str) -> None:
    """Raise MissingPartError for the first library that is not installed; `what` is that which needs it."""
    for library in libraries:
        if find_spec(library) is None:
            raise MissingPartError(f"{what} needs {library}", extra_of(library))


def extra_of(library: str) -> str:
    """Return the extra that brings a library."""
    return next(name for name, extra in EXTRAS.items() if library in extra.libraries)
