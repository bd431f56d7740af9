"""What a model costs: parameters, and multiply-accumulates (MACs) of one clip.

MACs count the products of weights with activations, and of attention weights with states; biases, normalisation,
scaling and activation functions are left out. `torch.utils.flop_counter` counts FLOPs, which are twice as many.
"""

from copy import deepcopy
import warnings

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Count the trainable numbers."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_macs(model: nn.Module, n_frames: int, n_mels: int) -> int:
    """Count the MACs of one clip of `n_frames`."""
    model = deepcopy(model).cpu().eval()
    with warnings.catch_warnings(), FlopCounterMode(display=False) as counter, torch.no_grad():
        warnings.simplefilter("ignore")  # of a setting of oneDNN that the next line does not touch
        # The fused layers of oneDNN do in one call what is counted here product by product.
        with torch.backends.mkldnn.flags(enabled=False):
            model(torch.zeros(1, n_frames, n_mels), torch.tensor([n_frames]))
    return int(counter.get_total_flops()) // 2
