"""The models by name. To add a cell: write its class in cells.py, then its name here and in ModelSettings."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from kwspot.experiments.settings import ModelSettings
from kwspot.models.cells import GRU, LSTM, RNN, FastRNN, MinGRU
from kwspot.models.published import PUBLISHED, PublishedModel
from kwspot.models.recurrent import ConvStem, Encoder, FeatureNorm, MergeClasses, RecurrentModel

CELLS: dict[str, Callable[..., Any]] = {
    "rnn": RNN,
    "rnn_ln": partial(RNN, normalise=True),
    "fastrnn": FastRNN,
    "mingru": MinGRU,
    "lstm": LSTM,
    "gru": GRU,
}


def build_model(
    settings: ModelSettings, n_mels: int, n_classes: int, merge: MergeClasses | None = None
) -> RecurrentModel | PublishedModel:
    """Build a model; its weights come from torch's global random state.

    With `merge`, one of the classes is several words in training.
    """
    if merge is not None:
        n_classes += merge.n_words - 1
    feature_norm = FeatureNorm(n_mels) if settings.feature_norm == "standard" else None
    if settings.published is not None:
        return PublishedModel(PUBLISHED[settings.published](n_mels, n_classes), feature_norm, merge)
    stem = None if settings.stem is None else ConvStem(n_mels, settings.stem)
    encoder = Encoder(
        CELLS[settings.cell],
        settings.frame_stack * (n_mels if stem is None else stem.output_size),
        settings.hidden_size,
        num_layers=settings.num_layers,
        bidirectional=settings.bidirectional,
        dropout=settings.dropout,
    )
    start_recurrence(encoder, settings.recurrent_init)
    return RecurrentModel(
        encoder,
        n_mels=n_mels,
        n_classes=n_classes,
        stem=stem,
        frame_stack=settings.frame_stack,
        pooling=settings.pooling,
        attention_heads=settings.attention_heads or 1,
        head_norm=settings.head_norm,
        feature_norm=feature_norm,
        merge=merge,
        embedding_size=settings.embedding_size,
        n_phonemes=settings.n_phonemes,
    )


@torch.no_grad()
def start_recurrence(encoder: Encoder, how: str) -> None:
    """Set every state-to-state matrix: `uniform` leaves torch's own start, `orthogonal` and `identity` keep norms.

    Orthogonal: Saxe et al., arXiv:1312.6120; identity: Le et al., arXiv:1504.00941.
    """
    for layer in [*encoder.forward_layers, *encoder.backward_layers]:
        for weight in layer.recurrent_weights():
            if how == "orthogonal":
                nn.init.orthogonal_(weight)
            elif how == "identity":
                nn.init.eye_(weight)
