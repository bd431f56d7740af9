"""What an encoder is trained for: the losses say what their formulas say, and an order keeps words together."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kwspot.errors import ConfigError
from kwspot.models.recurrent import CosineHead
from kwspot.training import objectives
from kwspot.training.objectives import (
    contrastive,
    grouped_order,
    make_objective,
    prototypical,
    resembling,
    spelt,
    with_margin,
)
from tests.toy import toy_experiment

ENCODER = ["model.cell=lstm", "model.embedding_size=8", "model.pooling=mean", "model.n_phonemes=38"]


def embeddings_of(labels, spread, seed=0):
    """Scatter embeddings about a direction for each label."""
    generator = torch.Generator().manual_seed(seed)
    directions = F.normalize(torch.randn(int(labels.max()) + 1, 16, generator=generator), dim=1)
    return directions[labels] + spread * torch.randn(len(labels), 16, generator=generator)


LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])


@pytest.mark.parametrize("loss", [prototypical, contrastive])
def test_loss_falls_as_words_draw_together_and_is_blind_to_length(loss):
    tight, loose = embeddings_of(LABELS, 0.01), embeddings_of(LABELS, 1.0)
    assert loss(tight, LABELS) < loss(loose, LABELS)
    assert torch.allclose(loss(loose, LABELS), loss(7 * loose, LABELS), atol=1e-5)


@pytest.mark.parametrize("loss", [prototypical, contrastive])
def test_clips_alone_in_their_word_count_for_nothing(loss):
    alone = embeddings_of(torch.arange(4), 0.1).requires_grad_()
    value = loss(alone, torch.arange(4))
    value.backward()
    assert value == 0
    assert torch.isfinite(alone.grad).all()


def test_prototypes_leave_the_clip_itself_out():
    e = embeddings_of(LABELS, 0.5)
    unit = F.normalize(e, dim=1)
    losses = []
    for i in range(len(e)):
        means = [unit[(w == LABELS) & (torch.arange(len(e)) != i)].mean(0) for w in range(3)]
        logits = CosineHead.SCALE * torch.stack([F.cosine_similarity(unit[i], m, dim=0) for m in means])
        losses.append(F.cross_entropy(logits, LABELS[i]))
    assert torch.allclose(prototypical(e, LABELS), torch.stack(losses).mean(), atol=1e-4)


def test_margin_turns_the_own_word_away_by_its_angle():
    angles = torch.tensor([[0.3, 1.0], [2.0, 0.5]])
    moved = with_margin(CosineHead.SCALE * angles.cos(), torch.tensor([0, 1]), 0.2)
    expected = torch.tensor([[0.5, 1.0], [2.0, 0.7]])
    assert torch.allclose(moved, CosineHead.SCALE * expected.cos(), atol=1e-3)


def test_phonemes_in_their_order_cost_nothing_and_others_do():
    scores = torch.full((4, 2, 4), -20.0)
    for step, phoneme in enumerate([1, 2, 0, 3]):
        scores[step, :, phoneme] = 0
    said = [torch.tensor([1, 2, 3]), torch.tensor([3, 2, 1])]
    right = spelt(scores[:, :1].log_softmax(-1), torch.tensor([4]), said[:1])
    wrong = spelt(scores[:, 1:].log_softmax(-1), torch.tensor([4]), said[1:])
    assert right < 1e-3 < wrong


def test_order_takes_every_clip_once_and_keeps_words_together():
    labels = np.random.default_rng(0).integers(0, 30, 500)
    order = grouped_order(labels, 4, torch.Generator().manual_seed(1)).numpy()
    assert sorted(order) == list(range(500))
    changes = int((np.diff(labels[order]) != 0).sum())
    most_groups = sum(math.ceil(n / 4) for n in np.bincount(labels))
    assert changes < most_groups
    assert not np.array_equal(order, grouped_order(labels, 4, torch.Generator().manual_seed(2)).numpy())


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["train.objective={margin: 0.2}", "model.embedding_size=null"], "embedding_size"),
        (["train.objective={contrastive: 1.0}"], "clips_per_word"),
        (["train.objective={phonemes: 0.3}", "model.n_phonemes=12"], "n_phonemes"),
        (["train.objective={margin: 0.2}", "augment={mixup: 0.2}"], "mixup"),
        (["train.objective={teacher: 1.0}", "train.background={}"], "background"),
        (["train.objective={teacher: 1.0}"], "embeddings of 8 numbers, the features have none; import them"),
    ],
)
def test_objective_that_cannot_be_is_refused(overrides, complaint):
    with pytest.raises(ConfigError, match=complaint):
        make_objective(toy_experiment("lstm", *ENCODER, *overrides), ["yes", "no"])


def test_teacher_is_resembled_where_it_has_embeddings():
    taught = torch.eye(4)[[0, 0, 1, 2]]
    taught = torch.cat([taught, torch.full((1, 4), torch.nan)])
    alike = torch.cat([7 * taught[:4], torch.ones(1, 4)]).requires_grad_()
    otherwise = torch.cat([taught[[2, 3, 0, 1]], torch.ones(1, 4)])
    loss = resembling(alike, taught)
    assert loss < resembling(otherwise, taught)
    loss.backward()
    assert alike.grad[4].tolist() == [0] * 4
    assert torch.isfinite(alike.grad).all()
    assert resembling(torch.ones(2, 4), torch.full((2, 4), torch.nan)) == 0


def test_pronunciations_join_the_words_of_a_phrase():
    pytest.importorskip("hibari")
    stop, go, both, none = objectives.pronunciations(["stop", "go", "stop go", "xqzw"])
    assert torch.equal(both, torch.cat([stop, go]))
    assert len(none) == 0
