"""Windows of long recordings that every batch gets besides its clips: what a spotter must leave alone.

    clips (batch, n_frames, n_mels) -> clips and windows (batch + n_windows, n_frames, n_mels)

    speech   `unknown`: running speech cut anywhere, unless one of the keywords sounds in the window
    spoken   keywords as they sound in sentences, whole, anywhere in the window; where their times are known
    noise    `silence`: noise, music and coloured noise, half of it at any level from digital silence to full scale

Half of the windows of speech are drawn by how much of a keyword the model found in them when it last saw them
(prioritised replay: Schaul et al., arXiv:1511.05952): those it still takes for keywords come often.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from kwspot.corpus.layout import TRAIN
from kwspot.errors import ConfigError, MissingError
from kwspot.experiments.settings import BackgroundSettings, FrontEnd
from kwspot.features.background import Background, Stretch
from kwspot.features.dataset import Batch
from kwspot.tasks import SILENCE, UNKNOWN, Task
from kwspot.training.augment_features import Streams, coloured

EVERY_S = 0.2  # a window of speech begins
ROOM_S = 0.12  # at least, between a keyword's ends and its window's: augmentation moves it by about as much
LEAST = 0.02  # difficulty of a window in which no keyword is found, so that it is drawn at times
LEVELS = (-13.0, 4.5)  # log of the mean mel power: just above digital silence, white noise at full scale
AS_RECORDED = 0.5  # of the windows of noise keep their level
ROUGH = 0.5  # of all windows
GENERATED = 0.3  # of the windows of noise are coloured noise


@dataclass(frozen=True)
class Spoken:
    """A keyword in a sentence: the class, and the first and last row at which its window may begin."""

    label: int
    first: int
    last: int


class BackgroundWindows:
    """Draws windows and remembers how difficult those of speech are; `difficulty` (n_windows,) is a training state."""

    def __init__(
        self,
        background: Background,
        settings: BackgroundSettings,
        task: Task,
        front_end: FrontEnd,
        recorded: Tensor | None = None,  # (n, max_frames, n_mels), clips of noise
    ) -> None:
        if UNKNOWN not in task.classes and settings.speech_share:
            raise ConfigError(
                "train.background.speech_share: speech is 'unknown', which is no class here (a task without it, or "
                "train.merge_unknown); set it to 0.0"
            )
        self.recorded = recorded
        self.frames, self.settings, self.task, self.front_end = background.frames, settings, task, front_end
        ours = [stretch for stretch in background.of(TRAIN) if stretch.n_frames >= front_end.max_frames]
        speech = [stretch for stretch in ours if stretch.recording.text is not None]
        self.speech = torch.tensor([start for stretch in speech for start in free_starts(stretch, task, front_end)])
        self.spoken = [spoken for stretch in speech for spoken in spoken_in(stretch, task, front_end)]
        noise = [stretch for stretch in ours if stretch.recording.text is None]
        self.noise = torch.tensor([row for stretch in noise for row in _starts(stretch, front_end)])
        if settings.speech_share and not len(self.speech):
            raise MissingError(
                f"{background.folder}: no running speech to train on; 'kwspot featurize --background' needs recordings "
                "with transcripts"
            )
        self.difficulty = torch.ones(len(self.speech))
        counts = np.bincount([spoken.label for spoken in self.spoken], minlength=len(task.classes))
        self._rarity = torch.tensor([counts[spoken.label] ** -0.5 for spoken in self.spoken])

    def joined(self, features: Tensor, lengths: Tensor, labels: Tensor, draw: Streams) -> tuple[Batch, Tensor]:
        """Put windows behind the clips of a batch; return it, and the numbers of its last windows, those of speech."""
        stream, n, settings = draw("background"), len(labels), self.settings
        n_spoken = round(n * settings.spoken_share) if self.spoken else 0
        spoken, own = self._draw_spoken(n_spoken, stream)
        n_noise = round(n * settings.noise_share) if SILENCE in self.task.classes else 0
        noise = self._draw_noise(n_noise, stream)
        chosen = self._draw_speech(round(n * settings.speech_share), stream)
        windows = torch.cat([self._rough(spoken, stream), noise, self._rough(self._cut(self.speech[chosen]), stream)])
        silence = self.task.classes.index(SILENCE) if n_noise else 0
        unknown = self.task.classes.index(UNKNOWN) if len(chosen) else 0
        theirs = [*own, *[silence] * n_noise, *[unknown] * len(chosen)]
        longest = windows.shape[1]
        clips = torch.nn.functional.pad(features, (0, 0, 0, longest - features.shape[1]))
        return (
            torch.cat([clips, windows.to(features)]),
            torch.cat([lengths, torch.full((len(windows),), longest).to(lengths)]),
            torch.cat([labels, torch.tensor(theirs).to(labels)]),
        ), chosen

    def learn(self, chosen: Tensor, logits: Tensor) -> None:
        """Remember the highest posterior of a keyword in the windows of speech drawn last: logits (n, n_classes)."""
        keywords = [self.task.classes.index(word) for word in self.task.keywords]
        highest = logits.detach().float().softmax(-1)[:, keywords].amax(-1)
        self.difficulty[chosen] = highest.cpu() + LEAST

    def _draw_speech(self, n: int, stream: Generator) -> Tensor:
        if not n:  # there need not be any speech
            return torch.empty(0, dtype=torch.long)
        n_hard = round(n * self.settings.hard_share)
        any_of_them = torch.randint(len(self.speech), (n - n_hard,), generator=stream)
        if not n_hard:
            return any_of_them
        # multinomial takes at most 2^24 windows, 38 days of speech.
        return torch.cat([any_of_them, torch.multinomial(self.difficulty, n_hard, True, generator=stream)])

    def _draw_spoken(self, n: int, stream: Generator) -> tuple[Tensor, list[int]]:
        if not n:
            return self._cut(self.speech[:0]), []
        drawn = [self.spoken[i] for i in torch.multinomial(self._rarity, n, True, generator=stream).tolist()]
        places = torch.rand(n, generator=stream).tolist()
        starts = [round(one.first + place * (one.last - one.first)) for one, place in zip(drawn, places, strict=True)]
        return self._cut(torch.tensor(starts)), [one.label for one in drawn]

    def _draw_noise(self, n: int, stream: Generator) -> Tensor:
        shape = (n, self.front_end.max_frames, self.front_end.n_mels)
        power = coloured(torch.zeros(shape), self.front_end, stream)
        generated = torch.rand(n, generator=stream) < GENERATED
        keeps = torch.rand(n, generator=stream) < AS_RECORDED
        pieces = []
        if len(self.noise):
            pieces.append(self._cut(self.noise[torch.randint(len(self.noise), (n,), generator=stream)]))
        if self.recorded is not None:
            pieces.append(self.recorded[torch.randint(len(self.recorded), (n,), generator=stream)].float())
        if pieces:
            recorded = torch.stack(pieces)[torch.randint(len(pieces), (n,), generator=stream), torch.arange(n)]
            power = torch.where(generated[:, None, None], power, recorded.exp())
            keeps &= ~generated
        low, high = LEVELS
        wanted = (low + (high - low) * torch.rand(n, generator=stream)).exp()
        gain = torch.where(keeps, 1.0, wanted / power.mean((1, 2)).clamp_min(1e-20))
        return self._rough((gain[:, None, None] * power + self.front_end.log_offset).log(), stream)

    def _cut(self, starts: Tensor) -> Tensor:
        rows = starts[:, None].long() + torch.arange(self.front_end.max_frames)
        return torch.from_numpy(self.frames[rows.numpy()].astype(np.float32))

    def _rough(self, windows: Tensor, stream: Generator) -> Tensor:
        """Roughen half of the windows, so that neither smooth nor rough frames give away what is background."""
        amount = self.settings.jitter * (torch.rand(len(windows), generator=stream) < ROUGH)
        return windows + amount[:, None, None] * torch.randn(windows.shape, generator=stream)


def _starts(stretch: Stretch, front_end: FrontEnd) -> range:
    step = max(1, round(1000 * EVERY_S / front_end.hop_ms))
    return range(stretch.first, stretch.first + stretch.n_frames - front_end.max_frames + 1, step)


def free_starts(stretch: Stretch, task: Task, front_end: FrontEnd) -> Sequence[int]:
    """Return the rows at which windows may begin that hold no keyword, nor a word that sounds like one.

    None of a recording in which one is said at an unknown time.
    """
    recording, starts = stretch.recording, _starts(stretch, front_end)
    if not recording.keywords_said(alike(task)):
        return starts
    if recording.words is None:
        return ()
    seconds = front_end.hop_ms / 1000
    taken = [(word.start_s, word.end_s) for word in recording.keywords_sounding(alike(task))]
    windows = [((start - stretch.first) * seconds, start) for start in starts]
    length = front_end.clip_ms / 1000
    return [start for at, start in windows if all(at + length <= begin or at >= end for begin, end in taken)]


def spoken_in(stretch: Stretch, task: Task, front_end: FrontEnd) -> list[Spoken]:
    """Return the keywords of a recording whose times are known, where a window holds each whole."""
    found, seconds, length = [], front_end.hop_ms / 1000, front_end.clip_ms / 1000
    for word in stretch.recording.keywords_sounding(task.keywords):
        label = task.classes.index(word.word)
        room = min(ROOM_S, (length - (word.end_s - word.start_s)) / 2)
        first = max(0.0, word.end_s + room - length) / seconds
        last = min(max(0.0, word.start_s - room) / seconds, stretch.n_frames - front_end.max_frames)
        if first <= last:
            found.append(Spoken(label, stretch.first + round(first), stretch.first + round(last)))
    return found


def alike(task: Task) -> list[str]:
    """Return the keywords, and the words that sound like one."""
    return [*task.keywords, *(word for word, keyword in HOMOPHONES.items() if keyword in task.keywords)]


HOMOPHONES = {
    "know": "no", "write": "right", "rite": "right", "wright": "right", "won": "one", "for": "four", "fore": "four",
    "ate": "eight", "too": "two", "to": "two", "whoa": "wow",
}  # fmt: skip
