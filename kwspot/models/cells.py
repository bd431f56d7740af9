"""Recurrent layers: a sequence of inputs to a sequence of states.

    x       (n_steps, batch, input_size)
    states  (n_steps, batch, hidden_size)

Time comes first, so that one step of the batch is one contiguous block. Every layer starts from a zero state.
"""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LN_EPS = 1e-5


class TanhRecurrence(torch.autograd.Function):
    """The loop over time of a tanh layer, with its gradient written out.

    Per step  a = p + U h,  h' = tanh(a)  or, with gain and bias,  h' = tanh(LN(a) * gain + bias).
    Autograd through the loop would build six nodes a step; here a step of the backward pass is three calls and the
    gradients of U, gain and bias are one product over all steps at the end (Werbos, 1990: back-propagation
    through time). Gradients flow to p, U, gain and bias; the second derivative is not defined.

    projected (n_steps, batch, hidden_size), u (hidden_size, hidden_size) -> states (n_steps, batch, hidden_size)
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, u: Tensor, gain: Tensor | None, bias: Tensor | None) -> Tensor:
        """Run the recurrence from a zero state."""
        size = [projected.shape[-1]]
        states = torch.empty_like(projected)
        activations = torch.empty_like(projected) if gain is not None else None
        means, rstds = [], []
        h, u_t = torch.zeros_like(projected[0]), u.t()
        for t in range(len(projected)):
            if activations is None:
                torch.tanh(torch.addmm(projected[t], h, u_t), out=states[t])
            else:
                torch.addmm(projected[t], h, u_t, out=activations[t])
                normed, mean, rstd = torch.native_layer_norm(activations[t], size, gain, bias, LN_EPS)
                torch.tanh(normed, out=states[t])
                means.append(mean)
                rstds.append(rstd)
            h = states[t]
        ctx.save_for_backward(u, gain, bias, states, activations)
        ctx.means, ctx.rstds = means, rstds
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of projected, u, gain and bias."""
        u, gain, bias, states, activations = ctx.saved_tensors
        size = [states.shape[-1]]
        grad_normed = torch.empty_like(states)  # of the argument of tanh
        grad_projected = grad_normed if gain is None else torch.empty_like(states)
        grad_h = torch.zeros_like(states[0])
        for t in reversed(range(len(states))):
            torch.ops.aten.tanh_backward.grad_input(grad_states[t] + grad_h, states[t], grad_input=grad_normed[t])
            if gain is not None:
                grad_projected[t] = torch.ops.aten.native_layer_norm_backward(
                    grad_normed[t], activations[t], size, ctx.means[t], ctx.rstds[t], gain, bias,
                    [True, False, False],
                )[0]  # fmt: skip
            grad_h = grad_projected[t] @ u
        grad_u = grad_projected[1:].flatten(0, 1).t() @ states[:-1].flatten(0, 1)
        if gain is None:
            return grad_projected, grad_u, None, None
        scaled = (activations - torch.stack(ctx.means)) * torch.stack(ctx.rstds)
        return grad_projected, grad_u, (grad_normed * scaled).sum((0, 1)), grad_normed.sum((0, 1))


class FastRecurrence(torch.autograd.Function):
    """The loop over time of a FastRNN layer, with its gradient written out as in TanhRecurrence.

    Per step  c = tanh(p + U h),  h' = alpha c + beta h.

    projected (n_steps, batch, hidden_size), u (hidden_size, hidden_size), alpha and beta () -> states
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, u: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        """Run the recurrence from a zero state."""
        candidates, states = torch.empty_like(projected), torch.empty_like(projected)
        h, u_t = torch.zeros_like(projected[0]), u.t()
        for t in range(len(projected)):
            torch.tanh(torch.addmm(projected[t], h, u_t), out=candidates[t])
            torch.add(alpha * candidates[t], beta * h, out=states[t])
            h = states[t]
        ctx.save_for_backward(u, alpha, beta, candidates, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of projected, u, alpha and beta."""
        u, alpha, beta, candidates, states = ctx.saved_tensors
        grad_projected, grads = torch.empty_like(states), torch.empty_like(states)
        grad_h = torch.zeros_like(states[0])
        for t in reversed(range(len(states))):
            torch.add(grad_states[t], grad_h, out=grads[t])
            torch.ops.aten.tanh_backward.grad_input(alpha * grads[t], candidates[t], grad_input=grad_projected[t])
            grad_h = torch.addmm(beta * grads[t], grad_projected[t], u)
        grad_u = grad_projected[1:].flatten(0, 1).t() @ states[:-1].flatten(0, 1)
        return grad_projected, grad_u, (grads * candidates).sum(), (grads[1:] * states[:-1]).sum()


class RNN(nn.Module):
    """Vanilla RNN (Elman, 1990), optionally with LayerNorm on the pre-activation of every step.

        h' = tanh(W x + U h + b)              normalise=False
        h' = tanh(LN(W x + U h) * g + b)      normalise=True   Ba et al., arXiv:1607.06450, eq. 4

    x: (n_steps, batch, input_size) -> states: (n_steps, batch, hidden_size)
    """

    GATES = 1

    def __init__(self, input_size: int, hidden_size: int, *, normalise: bool = False) -> None:
        super().__init__()
        bound = 1 / math.sqrt(hidden_size)  # as torch.nn.RNN
        self.w = nn.Parameter(torch.empty(hidden_size, input_size).uniform_(-bound, bound))
        self.u = nn.Parameter(torch.empty(hidden_size, hidden_size).uniform_(-bound, bound))
        if normalise:
            self.g = nn.Parameter(torch.ones(hidden_size))
            self.b = nn.Parameter(torch.zeros(hidden_size))
        else:
            self.register_parameter("g", None)
            self.b = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))

    def recurrent_weights(self) -> list[Tensor]:
        """Return the square matrices that map a state to the next, one a gate."""
        return [self.u]

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs to states."""
        projected = nn.functional.linear(x, self.w, self.b if self.g is None else None)
        u = self.u.to(projected.dtype)  # bfloat16 under mixed precision
        if self.g is None:
            return TanhRecurrence.apply(projected, u, None, None)
        return TanhRecurrence.apply(projected, u, self.g.to(u.dtype), self.b.to(u.dtype))


class FastRNN(nn.Module):
    """Tanh RNN with a weighted residual connection (Kusupati et al., arXiv:1901.02358): two scalars more than RNN.

        h~ = tanh(W x + U h + b)    h' = sigmoid(a) h~ + sigmoid(b') h

    They start at sigmoid(-3) = 0.05 and sigmoid(3) = 0.95, so the state changes slowly and its gradient lives long.

    x: (n_steps, batch, input_size) -> states: (n_steps, batch, hidden_size)
    """

    GATES = 1
    START = 3.0

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(hidden_size)
        self.w = nn.Parameter(torch.empty(hidden_size, input_size).uniform_(-bound, bound))
        self.u = nn.Parameter(torch.empty(hidden_size, hidden_size).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))
        self.alpha = nn.Parameter(torch.tensor(-self.START))
        self.beta = nn.Parameter(torch.tensor(self.START))

    def recurrent_weights(self) -> list[Tensor]:
        """Return the square matrices that map a state to the next, one a gate."""
        return [self.u]

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs to states."""
        projected = nn.functional.linear(x, self.w, self.b)
        u = self.u.to(projected.dtype)  # bfloat16 under mixed precision
        return FastRecurrence.apply(projected, u, self.alpha.sigmoid(), self.beta.sigmoid())


class MinGRU(nn.Module):
    """Gated unit whose gate and candidate see the input only (Feng et al., arXiv:2410.01201, minGRU).

        z = sigmoid(W x + b)    h~ = V x + c    h' = (1 - z) * h + z * h~

    A state is a weighted mean of candidates: nothing is multiplied by the same matrix again and again.

    x: (n_steps, batch, input_size) -> states: (n_steps, batch, hidden_size)
    """

    GATES = 2

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(input_size, hidden_size)
        self.candidate = nn.Linear(input_size, hidden_size)

    def recurrent_weights(self) -> list[Tensor]:
        """Return no matrix: the state is never multiplied by one."""
        return []

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs to states."""
        gates, candidates = self.gate(x).sigmoid(), self.candidate(x)
        h, states = torch.zeros_like(candidates[0]), []
        for z, candidate in zip(gates, candidates, strict=True):
            h = torch.lerp(h, candidate, z)
            states.append(h)
        return torch.stack(states)


class LSTM(nn.Module):
    """Long short-term memory (Hochreiter & Schmidhuber, 1997; forget gate of Gers et al., 2000), by torch.nn.LSTM.

        i, f, o = sigmoid(W x + U h + b)    c~ = tanh(W x + U h + b)    c' = f * c + i * c~    h' = o * tanh(c')

    x: (n_steps, batch, input_size) -> states h: (n_steps, batch, hidden_size)
    """

    GATES = 4

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = nn.LSTM(input_size, hidden_size)

    def recurrent_weights(self) -> list[Tensor]:
        """Return the square matrices that map a state to the next, one a gate."""
        return list(cast(Tensor, self.layer.weight_hh_l0).chunk(self.GATES))

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs to states."""
        return self.layer(x)[0]


class GRU(nn.Module):
    """Gated recurrent unit (Cho et al., arXiv:1406.1078), by torch.nn.GRU.

        r, z = sigmoid(W x + U h + b)    n = tanh(W x + b + r * (U h + b'))    h' = (1 - z) * n + z * h

    x: (n_steps, batch, input_size) -> states: (n_steps, batch, hidden_size)
    """

    GATES = 3

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = nn.GRU(input_size, hidden_size)

    def recurrent_weights(self) -> list[Tensor]:
        """Return the square matrices that map a state to the next, one a gate."""
        return list(cast(Tensor, self.layer.weight_hh_l0).chunk(self.GATES))

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs to states."""
        return self.layer(x)[0]
