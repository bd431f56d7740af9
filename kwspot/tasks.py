"""Words and tasks: the classes a model distinguishes, and which class a recorded word belongs to.

Speech Commands v0.02 has 35 words, v0.01 the first 30 of them in use then (Warden, arXiv:1804.03209).
`kws35` distinguishes all 35; `kws12` is TensorFlow's task of ten words, `unknown` and `silence`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

KEYWORDS_10 = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
WORDS_35 = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go",
    "happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven",
    "sheila", "six", "stop", "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)  # fmt: skip
ONLY_IN_V2 = ("backward", "follow", "forward", "learn", "visual")
WORDS_30 = tuple(word for word in WORDS_35 if word not in ONLY_IN_V2)

SILENCE = "silence"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Task:
    """A label set. `classes` in the order of the model's outputs; `rejects` if there is `unknown` (and `silence`)."""

    name: str
    classes: tuple[str, ...]
    rejects: bool = False

    def class_of(self, word: str) -> int | None:
        """Return the class index of a recorded word, or None if the task leaves the word out."""
        if word in self.classes:
            return self.classes.index(word)
        return self.classes.index(UNKNOWN) if self.rejects and word != SILENCE else None

    def apart(self, words: Sequence[str]) -> "Task":
        """Return the task that has these words as classes in place of `unknown`."""
        at = self.classes.index(UNKNOWN)
        return Task(self.name, (*self.classes[:at], *words, *self.classes[at + 1 :]))

    @property
    def keywords(self) -> tuple[str, ...]:
        """The classes that are words to spot."""
        return tuple(c for c in self.classes if not (self.rejects and c in (SILENCE, UNKNOWN)))


def words_task(words: Sequence[str], name: str = "words") -> Task:
    """Make the task of exactly these words, in the order given."""
    return Task(name, tuple(words))


TASKS = {
    "kws35": Task("kws35", WORDS_35),
    "kws12": Task("kws12", (*KEYWORDS_10, UNKNOWN, SILENCE), rejects=True),
}


def silence_of(split: str) -> str:
    """Say what the clips of `silence` in a split are: accuracies with different ones do not compare."""
    kinds = {"test": "digital zeros", "test12": "the archive's own recordings"}
    return kinds.get(split, "pieces of the noise recordings")
