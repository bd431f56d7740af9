"""What an encoder is trained for: that clips of one word lie close together, also of words that were not in training.

    embeddings e (batch, n_features), labels (batch,) -> a loss beside the cross-entropy over the words

    margin        the cross-entropy's own logit becomes s cos(angle + m): ArcFace (Deng et al., arXiv:1801.07698)
    prototypical  -log softmax_w(s cos(e_i, mean of the other clips of word w)): Snell et al., arXiv:1703.05175, by
                  cosine as in GE2E (Wan et al., arXiv:1710.10467)
    contrastive   -log softmax_j(cos(e_i, e_j) / t) of the clips j of the same word: Khosla et al., arXiv:2004.11362
    phonemes      CTC (Graves et al., 2006) of the word's pronunciation, read off the encoder's states: it sees what
                  words are made of
    teacher       cross-entropy between softmax_j(cos(t_i, t_j) / T) and softmax_j(cos(e_i, t_j) / T), t what a larger
                  model makes of the clips of a batch: SEED (Fang et al., arXiv:2101.04731), with the batch as queue

The second and third compare clips of a batch, which is therefore drawn so that clips of one word stand together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Generator, Tensor
import torch.nn.functional as F

from kwspot.errors import ConfigError
from kwspot.experiments.settings import Experiment, ObjectiveSettings
from kwspot.models.recurrent import CosineHead, RecurrentModel
from kwspot.synthesis.negatives import PHONEMES
from kwspot.synthesis.vocabulary import needed_lexicon

TEMPERATURE = 0.1  # of the contrastive loss and of the teacher's


@dataclass(frozen=True)
class Objective:
    """The losses that the settings ask for; `said` are the pronunciations of the classes, (n_phonemes,) each."""

    settings: ObjectiveSettings
    said: Sequence[Tensor] = field(default_factory=tuple)

    def __call__(
        self, model: RecurrentModel, features: Tensor, lengths: Tensor, labels: Tensor, taught: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the logits (batch, n_classes) for the cross-entropy, and the sum of the other losses.

        `taught` (batch, n_features) are the teacher's embeddings, not finite where it has none.
        """
        states, steps = model.states(features, lengths)
        embeddings = model.embed(states, steps).float()
        logits = model.head(embeddings if self.settings.classify else embeddings.detach()).float()
        if self.settings.margin is not None:
            logits = with_margin(logits, labels, self.settings.margin)
        beside = logits.new_zeros(())
        if self.settings.prototypical is not None:
            beside = beside + self.settings.prototypical * prototypical(embeddings, labels)
        if self.settings.contrastive is not None:
            beside = beside + self.settings.contrastive * contrastive(embeddings, labels)
        if self.settings.phonemes is not None and model.phonemes is not None:
            scores = model.phonemes(states).float().log_softmax(-1)
            beside = beside + self.settings.phonemes * spelt(scores, steps, [self.said[i] for i in labels.tolist()])
        if self.settings.teacher is not None and taught is not None:
            beside = beside + self.settings.teacher * resembling(embeddings, taught)
        return logits, beside


def make_objective(experiment: Experiment, classes: Sequence[str], n_taught: int | None = None) -> Objective | None:
    """Make an experiment's objective, None if it has none; ConfigError if its model cannot be trained for it.

    `n_taught` is the size of the teacher's embeddings that came with the features.
    """
    settings, where = experiment.train.objective, f"{experiment.name}: train.objective"
    if settings is None:
        return None
    if experiment.model.embedding_size is None:
        raise ConfigError(f"{where}: needs an encoder; set model.embedding_size")
    if experiment.train.distill or (experiment.augment and experiment.augment.mixup):
        raise ConfigError(f"{where}: not with 'train.distill' or 'augment.mixup'; leave it or them out")
    compared = settings.prototypical or settings.contrastive
    if compared and settings.clips_per_word is None:
        raise ConfigError(f"{where}.clips_per_word: needed, as clips of one word are compared; 2 or more")
    if settings.teacher is not None and experiment.train.background is not None:
        raise ConfigError(f"{where}.teacher: not with 'train.background', whose windows it has not seen; leave one out")
    if settings.teacher is not None and n_taught != experiment.model.embedding_size:
        have = "none" if n_taught is None else f"those of {n_taught} numbers"
        raise ConfigError(
            f"{where}.teacher: needs a teacher's embeddings of {experiment.model.embedding_size} numbers, the features "
            f"have {have}; import them with 'kwspot featurize --from-frames … --targets'"
        )
    if settings.phonemes is None:
        return Objective(settings)
    if experiment.model.n_phonemes != len(PHONEMES):
        raise ConfigError(f"{where}.phonemes: set model.n_phonemes to {len(PHONEMES)}, the phonemes of the dictionary")
    return Objective(settings, pronunciations(classes))


def pronunciations(words: Sequence[str]) -> list[Tensor]:
    """Return the phonemes of words and phrases in the American accent, numbered from 1; none for an unknown word."""
    lexicon, number = needed_lexicon(), {phoneme: i for i, phoneme in enumerate(PHONEMES, 1)}
    found = []
    for text in words:
        ways = [lexicon.of(word) for word in text.split()]
        spoken = "".join(way[0][0] for way in ways) if all(ways) else ""
        found.append(torch.tensor([number[p] for p in spoken if p in number], dtype=torch.long))
    return found


def with_margin(logits: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Add `margin` radians to the angle between each clip and its own word; logits (batch, n_classes) of CosineHead."""
    own = F.one_hot(labels, logits.shape[1]).bool()
    angle = (logits / CosineHead.SCALE).clamp(-1 + 1e-6, 1 - 1e-6).acos()
    return torch.where(own, CosineHead.SCALE * (angle + margin).clamp_max(torch.pi).cos(), logits)


def prototypical(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Classify every clip of a batch by the means of the others' words: a scalar, 0 where no word has two clips."""
    e = F.normalize(embeddings, dim=-1)
    words, own = labels.unique(return_inverse=True)
    member = F.one_hot(own, len(words)).to(e)  # (batch, n_words)
    sums, counts = member.t() @ e, member.sum(0)
    cosines = e @ F.normalize(sums, dim=-1).t()
    to_own = (e * F.normalize(sums[own] - e, dim=-1)).sum(-1, keepdim=True)  # a clip is no part of its own prototype
    logits = CosineHead.SCALE * torch.where(member.bool(), to_own, cosines)
    return _mean(F.cross_entropy(logits, own, reduction="none"), counts[own] > 1)


def contrastive(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Pick the clips of the same word among all others of the batch: a scalar, 0 where no word has two clips."""
    e = F.normalize(embeddings, dim=-1)
    itself = torch.eye(len(e), dtype=torch.bool, device=e.device)
    scores = (e @ e.t() / TEMPERATURE).masked_fill(itself, -torch.inf).log_softmax(1)
    same = (labels[:, None] == labels) & ~itself
    return _mean(-scores.masked_fill(~same, 0).sum(1) / same.sum(1).clamp_min(1), same.any(1))


def spelt(scores: Tensor, steps: Tensor, said: Sequence[Tensor]) -> Tensor:
    """Return the CTC loss a clip: log posteriors (n_steps, batch, 1 + n_phonemes), real steps (batch,), phonemes."""
    n = torch.tensor([len(phonemes) for phonemes in said])
    losses = F.ctc_loss(scores, torch.cat(list(said)), steps.cpu(), n, reduction="none", zero_infinity=True)
    return _mean(losses / n.to(losses).clamp_min(1), n.to(losses.device) > 0)


def resembling(embeddings: Tensor, taught: Tensor) -> Tensor:
    """Return how unlike the teacher's our view of its embeddings is: a scalar, 0 where it has none; both (batch, size).

    To resemble its picture of the batch is easier than to point where its embeddings do, which made ours worse.
    """
    known = taught.isfinite().all(1)
    e, t = F.normalize(embeddings[known], dim=-1), F.normalize(taught[known], dim=-1)
    wanted = (t @ t.t() / TEMPERATURE).softmax(1)
    losses = -(wanted * (e @ t.t() / TEMPERATURE).log_softmax(1)).sum(1)
    return losses.sum() / known.sum().clamp_min(1)


def _mean(losses: Tensor, counted: Tensor) -> Tensor:
    return (losses * counted).sum() / counted.sum().clamp_min(1)


def grouped_order(labels: np.ndarray, together: int, generator: Generator) -> Tensor:
    """Return an order of all clips in which `together` clips of one word are neighbours, where it has so many left.

    labels (n,) -> positions (n,)
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    by_word = shuffled[torch.from_numpy(labels)[shuffled].sort(stable=True).indices]
    counts = np.unique(labels, return_counts=True)[1]
    groups = [group for word in by_word.split(counts.tolist()) for group in word.split(together)]
    return torch.cat([groups[int(i)] for i in torch.randperm(len(groups), generator=generator)])
