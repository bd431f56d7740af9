"""What a model costs: parameters, and multiply-accumulates (MACs) of one clip.

MACs count the products of weights with activations; biases, normalisation, scaling and activation functions are
left out. `torch.utils.flop_counter` counts FLOPs, which are twice as many.
"""

from torch import nn

from kwspot.models.recurrent import RecurrentModel


def count_parameters(model: nn.Module) -> int:
    """Count the trainable numbers."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_macs(model: RecurrentModel, n_frames: int) -> int:
    """Count the MACs of one clip of `n_frames`: every matrix of every cell once a step, and the head once."""
    n_steps = max(1, n_frames // model.frame_stack)
    encoder = model.encoder
    layers = [*encoder.forward_layers, *encoder.backward_layers]
    weights = [p for layer in layers for p in layer.parameters() if p.ndim == 2]
    if model.attention is not None:  # its scores, and the weighted sum
        weights += [model.attention.weight, model.attention.weight]
    return n_steps * sum(weight.numel() for weight in weights) + model.head.weight.numel()
