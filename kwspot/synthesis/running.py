"""The engines at work for a corpus: as many processes of each as threads ask at once.

with Engines() as running: running.speaking("pico")(Utterance("yes"))
"""

from collections import defaultdict
from collections.abc import Callable

from kwspot.synthesis.engines import Engine, Utterance, Waveform

Speak = Callable[[Utterance], tuple[Waveform, int]]  # -> (n_samples,), sample rate


class Engines:
    """Engines by name, started when all that run are busy; a context manager that ends them."""

    def __init__(self) -> None:
        self._idle: defaultdict[str, list[Engine]] = defaultdict(list)
        self._all: list[Engine] = []
        self._kept: dict[tuple[str, Utterance], tuple[Waveform, int]] = {}

    def speaking(self, name: str) -> Speak:
        """Return what lets an engine speak; what was kept is handed out, once."""
        return lambda utterance: self._kept.pop((name, utterance), None) or self._said(name, utterance)

    def keeping(self, name: str) -> Speak:
        """Return what lets an engine speak, and keeps what it says for whoever asks for the same later."""

        def speak(utterance: Utterance) -> tuple[Waveform, int]:
            said = self._kept[name, utterance] = self._said(name, utterance)
            return said

        return speak

    def _said(self, name: str, utterance: Utterance) -> tuple[Waveform, int]:
        try:
            engine = self._idle[name].pop()
        except IndexError:
            engine = Engine(name)
            self._all.append(engine)
        said = engine.speak(utterance)
        self._idle[name].append(engine)  # not after an error, which has ended it
        return said

    def __enter__(self) -> "Engines":
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._all:
            engine.close()
