"""The coupling step that FastFlow and CFLOW-AD stack, affine or additive, as one module of FrEIA's framework.

The mathematics of the affine one is FrEIA's ``AllInOneBlock`` as released on PyPI (version 0.2): the clamp is
``clamp * tanh(a)``. (FrEIA's development branch has ``clamp * tanh(a / clamp)`` since 2023; the form is pinned here so
that a checkpoint never changes its meaning.) Three things differ, none of them visible in the numbers:

* A hard permutation is an index lookup. As a C x C convolution it costs as much as a whole 1x1 layer of the subnet and
  stores two C x C matrices.
* A soft permutation stores one C x C matrix, because the inverse of a rotation is its transpose, and is drawn by a QR
  decomposition, which takes seconds where SciPy's generator takes minutes.
* The elementwise part of the step (coupling, global affine, permutation) is one autograd node that keeps only what
  its gradient needs, instead of a chain of nodes that each keep their own copy (:mod:`altub.flows.couple`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from altub.flows.couple import (
    SUBNET_FACTOR,
    Couple,
    Halve,
    affine_gradients,
    blocks,
    coupling_gradient,
    flat,
    taken,
    tanh_of,
)
from altub.flows.freia import InvertibleModule

if TYPE_CHECKING:
    from altub.flows.config import FlowConfig, Permutation

__all__ = ["AdditiveCoupling", "AffineCoupling", "CouplingStep", "coupling_step"]

GLOBAL_AFFINE_BETA = 0.5  # softplus(beta=0.5) keeps the global scale positive; FrEIA 0.2
GLOBAL_AFFINE_FACTOR = 0.1
INITIAL_GLOBAL_SCALE = 2.0 * torch.tensor(5.0).expm1().log().item()  # 0.1 * softplus(value, beta=0.5) = 1


class CouplingStep(InvertibleModule, ABC):
    """A coupling, a per-channel affine and a fixed random permutation of the channels.

    With x = (x1, x2) split along channels (the first part takes the odd channel) and a = 0.1 * subnet(x1), or
    0.1 * subnet((x1, condition)) where there is one:

        u  = (x1, x2 * exp(s) + a_t)
        y  = permute(u * g + b),            g = 0.1 * softplus(global_scale, beta=0.5)
        log|det J| = sum s + H * W * sum_c log g_c

    Args:
        dims_in: one shape (C, H, W) or (C,), C >= 2. H and W only matter to FrEIA's bookkeeping: any size runs.
        dims_c: none, or one shape (channels, ...) of a condition.
        subnet_constructor: called as f(in_channels, out_channels), a module that keeps H and W.
        permutation: "hard" exchanges channels, "soft" mixes them by a fixed random rotation.

    Attributes:
        outputs: how many numbers the coupling wants from the subnet for a channel of x2.
    """

    outputs: ClassVar[int]

    def __init__(
        self,
        dims_in: Iterable[tuple[int, ...]],
        dims_c: Iterable[tuple[int, ...]] | None = None,
        *,
        subnet_constructor: Callable[[int, int], nn.Module],
        permutation: Permutation = "hard",
    ) -> None:
        super().__init__(dims_in, dims_c)
        if len(self.dims_c) > 1:
            raise ValueError(f"A coupling takes one condition, not {len(self.dims_c)}.")
        channels = self.dims_in[0][0]
        if channels < 2:
            raise ValueError(f"A coupling needs at least 2 channels to split, not {channels}.")
        self.split = (channels - channels // 2, channels // 2)
        shape = (1, channels, *([1] * (len(self.dims_in[0]) - 1)))
        self.global_scale = nn.Parameter(torch.full(shape, INITIAL_GLOBAL_SCALE))
        self.global_offset = nn.Parameter(torch.zeros(shape))
        if permutation == "hard":
            self.register_buffer("permutation", torch.randperm(channels))  # y[:, i] = u[:, permutation[i]]
        else:
            self.permutation = None
            self.register_buffer("rotation", random_rotation(channels))  # y = rotation u
        conditions = self.dims_c[0][0] if self.dims_c else 0
        self.subnet = subnet_constructor(self.split[0] + conditions, self.outputs * self.split[1])

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        found = state_dict.get(f"{prefix}permutation")
        other = self.permutation is None or not isinstance(found, Tensor) or found.shape != self.permutation.shape
        # An index out of range would fail far from here.
        if not other and not torch.equal(found.cpu().long().sort().values, torch.arange(len(found))):
            rest[-1].append(f"{prefix}permutation is not a permutation of {len(found)} channels.")
            return
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def output_dims(self, input_dims: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        return input_dims

    def forward(
        self, x_or_z: Iterable[Tensor], c: Iterable[Tensor] | None = None, rev: bool = False, jac: bool = True
    ) -> tuple[tuple[Tensor], Tensor]:
        """Maps ((N, C, ...),) to ((N, C, ...),) and the log-determinant (N,) of that direction.

        `c` is ((N, channels, ...),) where the step was built with a condition.
        """
        (x,) = x_or_z
        (condition,) = c if self.dims_c else (None,)
        gain = self._gain(x)
        # Every position of every channel is scaled by its channel's gain.
        gain_log_det = x.shape[2:].numel() * gain.log().sum()

        if rev:
            u = self._rotate(x, self.rotation.T) if self.permutation is None else x[:, torch.argsort(self.permutation)]
            u = (u - self.global_offset) / gain
            u1, u2 = u.split(self.split, dim=1)
            x2, s_sum = self._undo(u2, (SUBNET_FACTOR * self._subnet(u1, condition)).to(u.dtype))
            return (torch.cat((u1, x2), dim=1),), -s_sum - gain_log_det

        y, s_sum = self._couple(x, condition, gain, by_position=False)
        return (y,), s_sum + gain_log_det

    def transform(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y (N, C, ...) and the share of each position in log|det J|, (N, ...): sum_c s + sum_c log g_c there.

        One pass, as costly as `forward`, whose log-determinant is the sum of these shares.
        """
        gain = self._gain(x)
        y, s_map = self._couple(x, condition, gain, by_position=True)
        return y, s_map + gain.log().sum()

    @torch.no_grad()
    def unwind(
        self, y: Tensor, grads: tuple[Tensor, Tensor], condition: Tensor | None, *, by_position: bool, inputs_too: bool
    ) -> tuple[Tensor, Tensor | None, list[Tensor | None]]:
        """The backward pass of a step of which nothing was stored: what went in is computed from what came out.

        The subnet runs once more; its graph lives as long as this call.

        Args:
            y: (N, C, ...), what `forward` gave, or with `by_position` `transform`.
            grads: the gradients of y and of the log-determinant, which is by position or not.
            condition: the one that the step was given; it gets no gradient.
            inputs_too: whether the gradient of x is wanted.

        Returns x (N, C, ...), its gradient or None, and those of `parameters()`; None for frozen ones of the subnet.
        """
        grad_y, grad_log_det = grads
        gain, offset, first = self._gain(y), self.global_offset, self.split[0]
        one, two = slice(first), slice(first, None)
        places = None
        if self.permutation is None:
            y, grad_y = self._rotate(y, self.rotation.T), self._rotate(grad_y, self.rotation.T)
        else:
            places = torch.argsort(self.permutation)  # u[:, i] = y[:, places[i]]
        x1 = taken(y, places, one).sub(offset[:, one]).div_(gain[:, one])
        with torch.enable_grad():
            a = self._subnet(x1.requires_grad_(inputs_too), condition)
        x, grad_x, grad_a = (torch.empty(maps.shape, dtype=maps.dtype, device=y.device) for maps in (y, y, a))
        of_y, of_grad, of_x1, of_a, of_x, of_grad_x, of_grad_a = (
            flat(maps) for maps in (y, grad_y, x1.detach(), a.detach(), x, grad_x, grad_a)
        )
        gains, offsets, grad_s = gain.view(1, -1, 1), offset.view(1, -1, 1), flat(grad_log_det.unsqueeze(1))
        sums, dots = gain.new_zeros(gain.numel()), gain.new_zeros(gain.numel())
        for part in blocks(of_y):
            images, _, positions = part
            sums += of_grad[part].sum((0, 2))
            dots += torch.mul(of_grad[part], of_y[part]).sum((0, 2))
            u2 = taken(of_y[part], places, two).sub(offsets[:, two]).div_(gains[:, two])
            grad2 = torch.mul(taken(of_grad[part], places, two), gains[:, two])
            of_s = grad_s[images, :, positions] if by_position else grad_s[images]
            of_x[part][:, one] = of_x1[part]
            of_x[part][:, two] = self._undo_with_gradient(u2, of_a[part], grad2, of_s, of_grad_a[part])
            of_grad_x[part][:, two] = grad2
            torch.mul(taken(of_grad[part], places, one), gains[:, one], out=of_grad_x[part][:, one])
        grad_gain, grad_offset = affine_gradients(sums, dots, gain, offset, places)
        weights = [weight for weight in self.subnet.parameters() if weight.requires_grad]
        wanted = [*weights, *([x1] if inputs_too else [])]
        through = torch.autograd.grad(a, wanted, grad_a) if wanted else ()
        if inputs_too:
            grad_x[:, :first] += through[-1]
        # Every position of every channel added its log g to the log-determinant.
        grad_gain += grad_log_det.sum() * (1 if by_position else y.shape[2:].numel()) / gain
        slope = GLOBAL_AFFINE_FACTOR * torch.sigmoid(GLOBAL_AFFINE_BETA * self.global_scale)
        found = {self.global_scale: grad_gain * slope, self.global_offset: grad_offset}
        found |= zip(weights, through, strict=False)
        return x, grad_x if inputs_too else None, [found.get(parameter) for parameter in self.parameters()]

    @abstractmethod
    def _step(self, x: Tensor, condition: Tensor | None, gain: Tensor, *, by_position: bool) -> tuple[Tensor, Tensor]:
        """Coupling, per-channel affine and exchange of channels, and the sum of s: (N,), or (N, ...) by position."""

    @abstractmethod
    def _undo(self, u2: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """x2 of the coupling's output u2, and the sum of s (N,)."""

    @abstractmethod
    def _undo_with_gradient(self, u2: Tensor, a: Tensor, grad: Tensor, grad_s: Tensor, grad_a: Tensor) -> Tensor:
        """x2 of the coupling's output u2 and the subnet's answer `a`.

        `grad`, the gradient of u2, becomes that of x2; the one of `a` is written into `grad_a`. `grad_s` is the
        gradient of the sum of s.
        """

    def _gain(self, x: Tensor) -> Tensor:
        if x.shape[1] != sum(self.split):
            raise ValueError(f"This coupling is built for {sum(self.split)} channels, not {x.shape[1]}.")
        return GLOBAL_AFFINE_FACTOR * F.softplus(self.global_scale, beta=GLOBAL_AFFINE_BETA)

    def _couple(self, x: Tensor, condition: Tensor | None, gain: Tensor, *, by_position: bool) -> tuple[Tensor, Tensor]:
        y, s = self._step(x, condition, gain, by_position=by_position)
        return (self._rotate(y, self.rotation) if self.permutation is None else y), s

    def _subnet(self, x1: Tensor, condition: Tensor | None) -> Tensor:
        """What it answers: not scaled by `SUBNET_FACTOR` yet, and maybe in half precision."""
        return self.subnet(x1 if condition is None else torch.cat((x1, condition.to(x1.dtype)), dim=1))

    def _rotate(self, x: Tensor, rotation: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # z must not be rounded
            return (x.movedim(1, -1) @ rotation.T).movedim(-1, 1)


class AffineCoupling(CouplingStep):
    """Scales and shifts: s = clamp * tanh(a_s), with a = (a_s, a_t).

    Args:
        clamp: bound of |s|; the others are those of :class:`CouplingStep`.

    Source: FastFlow (arXiv:2111.07677) section 3.2; CFLOW-AD (arXiv:2107.12571) section 4; FrEIA 0.2
    ``AllInOneBlock``; Real NVP (arXiv:1605.08803).
    """

    outputs = 2

    def __init__(
        self,
        dims_in: Iterable[tuple[int, ...]],
        dims_c: Iterable[tuple[int, ...]] | None = None,
        *,
        subnet_constructor: Callable[[int, int], nn.Module],
        clamp: float = 2.0,
        permutation: Permutation = "hard",
    ) -> None:
        super().__init__(dims_in, dims_c, subnet_constructor=subnet_constructor, permutation=permutation)
        self.clamp = clamp

    def _step(self, x: Tensor, condition: Tensor | None, gain: Tensor, *, by_position: bool) -> tuple[Tensor, Tensor]:
        if torch.compiler.is_compiling():  # a graph holds no gradient written by hand, and is fused by who runs it
            return self._plain_step(x, condition, gain, by_position=by_position)
        x1, x = Halve.apply(x, self.split[0])
        a = self._subnet(x1, condition)
        return Couple.apply(x, a, gain, self.global_offset, self.permutation, self.clamp, by_position)

    def _plain_step(
        self, x: Tensor, condition: Tensor | None, gain: Tensor, *, by_position: bool
    ) -> tuple[Tensor, Tensor]:
        """`_step` as a chain of PyTorch's own operations."""
        x1, x2 = x.split(self.split, dim=1)
        a_s, a_t = (SUBNET_FACTOR * self._subnet(x1, condition).to(x.dtype)).chunk(2, dim=1)
        s = self.clamp * torch.tanh(a_s)
        y = torch.cat((x1, x2 * torch.exp(s) + a_t), dim=1) * gain + self.global_offset
        y = y if self.permutation is None else y.index_select(1, self.permutation)
        return y, (s if by_position else s.flatten(1)).sum(1)

    def _undo(self, u2: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        a_s, a_t = a.chunk(2, dim=1)
        s = self.clamp * torch.tanh(a_s)
        return (u2 - a_t) * torch.exp(-s), s.flatten(1).sum(1)

    def _undo_with_gradient(self, u2: Tensor, a: Tensor, grad: Tensor, grad_s: Tensor, grad_a: Tensor) -> Tensor:
        a_s, a_t = a.to(u2.dtype).chunk(2, dim=1)
        tanh = tanh_of(a_s)
        scale = torch.mul(tanh, self.clamp).exp_()
        x2 = torch.sub(u2, a_t, alpha=SUBNET_FACTOR).div_(scale)
        coupling_gradient(grad, grad_s, x2, tanh, scale, self.clamp, grad_a)
        return x2


class AdditiveCoupling(CouplingStep):
    """Only shifts: s = 0 and a = a_t, so that the determinant is the same for all inputs.

    Of such a flow the energy of z and the likelihood of the features differ by a constant.

    Source: NICE (arXiv:1410.8516) section 3.2; in anomaly detection arXiv:2510.09452.
    """

    outputs = 1

    def _step(self, x: Tensor, condition: Tensor | None, gain: Tensor, *, by_position: bool) -> tuple[Tensor, Tensor]:
        x1, x2 = x.split(self.split, dim=1)
        u = torch.cat((x1, torch.add(x2, self._subnet(x1, condition).to(x.dtype), alpha=SUBNET_FACTOR)), dim=1)
        y = torch.mul(u, gain).add_(self.global_offset)
        y = y if self.permutation is None else y.index_select(1, self.permutation)
        return y, x1.new_zeros(len(x1), *(x1.shape[2:] if by_position else ()))

    def _undo(self, u2: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        return u2 - a, u2.new_zeros(len(u2))

    def _undo_with_gradient(self, u2: Tensor, a: Tensor, grad: Tensor, grad_s: Tensor, grad_a: Tensor) -> Tensor:
        torch.mul(grad, SUBNET_FACTOR, out=grad_a)
        return torch.sub(u2, a.to(u2.dtype), alpha=SUBNET_FACTOR)


def coupling_step(config: FlowConfig) -> Callable[..., CouplingStep]:
    """The coupling step that a configuration asks for, wanting only `dims_in`, `dims_c` and `subnet_constructor`."""
    if config.coupling == "additive":
        return partial(AdditiveCoupling, permutation=config.permutation)
    return partial(AffineCoupling, clamp=config.clamp, permutation=config.permutation)


def random_rotation(channels: int) -> Tensor:
    """A rotation (C, C) drawn evenly from all of them; Mezzadri, arXiv:math-ph/0609050."""
    orthogonal, triangular = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64))
    rotation = orthogonal * triangular.diagonal().sign()  # without it QR's own convention shows
    rotation[:, 0] *= torch.linalg.det(rotation).sign()
    return rotation.float()
