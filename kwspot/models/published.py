"""Published models as their authors describe them: the yardsticks that kwspot's own are held against.

    features  (batch, n_frames, n_mels)   log-mel, padded behind the clip
    lengths   (batch,)                    frames of each clip that are real
    logits    (batch, n_classes)

They expect a whole second: a shorter clip is filled up with zeros, after feature normalisation the mean of training.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kwspot.models.cells import GRU
from kwspot.models.recurrent import Encoder, FeatureNorm, MergeClasses, fill_up

CLIP_FRAMES = 98  # of one second


class PublishedModel(nn.Module):
    """Feature normalisation, clips filled up to a second, and the network of the paper."""

    def __init__(self, network: nn.Module, feature_norm: FeatureNorm | None, merge: MergeClasses | None) -> None:
        super().__init__()
        self.network, self.feature_norm, self.merge = network, feature_norm, merge

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Map features to logits."""
        if self.feature_norm is not None:
            features = self.feature_norm(features)
        logits = self.network(fill_up(features, lengths, CLIP_FRAMES))
        return logits if self.merge is None else self.merge(logits)


class BCResNet(nn.Module):
    """Broadcasted residual network (Kim et al., arXiv:2106.04140): BC-ResNet-`width`.

    features (batch, n_frames, 40) -> logits (batch, n_classes)
    """

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__()
        base = 8 * width
        channels = [2 * base, base, base * 3 // 2, 2 * base, base * 5 // 2]
        self.head = nn.Sequential(
            nn.Conv2d(1, channels[0], 5, stride=(2, 1), padding=2, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU()
        )
        blocks, n_in = [], channels[0]
        for stage, (n_out, n_blocks) in enumerate(zip(channels[1:], (2, 2, 4, 4), strict=True)):
            for i in range(n_blocks):
                halve = i == 0 and stage in (1, 2)
                blocks.append(BroadcastedBlock(n_in, n_out, dilation=2**stage, stride=2 if halve else 1))
                n_in = n_out
        self.blocks = nn.Sequential(*blocks)
        self.tail = nn.Sequential(
            nn.Conv2d(n_in, n_in, 5, groups=n_in, padding=(0, 2), bias=False),
            nn.Conv2d(n_in, 4 * base, 1, bias=False),
            nn.BatchNorm2d(4 * base),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(4 * base, n_classes, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features to logits."""
        x = features.transpose(1, 2)[:, None]  # (batch, channels, bands, frames)
        return self.tail(self.blocks(self.head(x))).flatten(1)


class BroadcastedBlock(nn.Module):
    """One block: f2 over the bands, then f1 over time of their mean, added to every band.

        y = relu(x + f2(x) + f1(mean over bands of f2(x)))      without x where the channels change

    x (batch, n_in, n_bands, n_frames) -> (batch, n_out, n_bands / stride, n_frames)
    """

    SUB_BANDS = 5  # normalised apart (SubSpectralNorm, Chang et al., arXiv:2103.13620)

    def __init__(self, n_in: int, n_out: int, *, dilation: int, stride: int) -> None:
        super().__init__()
        self.widen = (
            nn.Sequential(nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU())
            if n_in != n_out
            else None
        )
        self.over_bands = nn.Conv2d(n_out, n_out, (3, 1), stride=(stride, 1), padding=(1, 0), groups=n_out, bias=False)
        self.sub_norm = nn.BatchNorm2d(n_out * self.SUB_BANDS)
        self.over_time = nn.Sequential(
            nn.Conv2d(n_out, n_out, (1, 3), padding=(0, dilation), dilation=(1, dilation), groups=n_out, bias=False),
            nn.BatchNorm2d(n_out),
            nn.SiLU(),
            nn.Conv2d(n_out, n_out, 1, bias=False),
            nn.Dropout2d(0.1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map activations to activations."""
        bands = self.over_bands(x if self.widen is None else self.widen(x))
        batch, channels, n_bands, n_frames = bands.shape
        apart = bands.reshape(batch, channels * self.SUB_BANDS, n_bands // self.SUB_BANDS, n_frames)
        bands = self.sub_norm(apart).reshape(bands.shape)
        y = bands + self.over_time(bands.mean(2, keepdim=True))
        return (y if self.widen is not None else y + x).relu()


class MHAttRNN(nn.Module):
    """Two convolutions, two bidirectional GRU layers, four heads that ask from the middle (arXiv:2005.06720, table 2).

        head_k = sum_t softmax_t((W_k s_mid + b_k) . s_t) s_t      s_t: states of the last GRU layer

    features (batch, n_frames, n_mels) -> logits (batch, n_classes)
    """

    HEADS, UNITS, FILTERS, KERNEL = 4, 128, 10, 5

    def __init__(self, n_mels: int, n_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in ((1, self.FILTERS), (self.FILTERS, 1)):  # over time, the same for every band
            convolution = nn.Conv2d(n_in, n_out, (self.KERNEL, 1), padding="same")
            layers += [convolution, nn.ReLU(), nn.BatchNorm2d(n_out)]
        self.convolutions = nn.Sequential(*layers)
        self.encoder = Encoder(GRU, n_mels, self.UNITS, num_layers=2, bidirectional=True, dropout=0.0)
        size = self.encoder.output_size
        self.queries = nn.Linear(size, self.HEADS * size)
        self.classifier = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(self.HEADS * size, 64), nn.ReLU(), nn.Linear(64, 32), nn.Linear(32, n_classes)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features to logits."""
        n, n_frames, _ = features.shape
        x = self.convolutions(features[:, None])[:, 0].transpose(0, 1).contiguous()
        states = self.encoder(x, torch.full((n,), n_frames, device=x.device))  # (n_frames, batch, size)
        queries = self.queries(states[n_frames // 2]).reshape(n, self.HEADS, -1)
        weights = torch.einsum("bhs,tbs->bht", queries, states).softmax(2)
        return self.classifier(torch.einsum("bht,tbs->bhs", weights, states).flatten(1))


PUBLISHED: dict[str, Callable[[int, int], nn.Module]] = {  # of n_mels and n_classes
    **{f"bc_resnet_{width}": lambda _, n, width=width: BCResNet(width, n) for width in (1, 2, 3, 8)},  # type: ignore[misc]
    "mhatt_rnn": MHAttRNN,
}
