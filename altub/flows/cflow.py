"""CFLOW-AD (arXiv:2107.12571): coupling flows over single positions of a feature map, conditioned on where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from altub.device import send
from altub.flows.config import FlowConfig
from altub.flows.coupling import coupling_step
from altub.flows.freia import SequenceINN
from altub.flows.head import FlowHead, Precision, Update
from altub.flows.inside import at_size
from altub.flows.position import position_code
from altub.flows.recompute import run_steps

if TYPE_CHECKING:
    from altub.flows.base import DiagonalGaussian
    from altub.flows.norms import FeatureNorm

__all__ = ["CFlowHead"]

ROWS_AT_A_TIME = 4096  # fibres per pass where nothing is learned; bounds the memory, whatever the size of the map
MICROBATCH_FIBRES = 1024  # fibres per backward pass on a CPU: the same gradient from tensors that fit its caches


class CFlowHead(FlowHead):
    """The flow on one scale. The C features of one position (a fibre) are mapped by themselves.

    Where the position lies is the condition of every coupling step; nothing else of the map is seen.

    Args:
        config: `steps` coupling steps; `hidden_ratio`, hidden units of a subnet as a multiple of its inputs,
            C/2 + condition; `condition`, channels of the position code; `coupling`; `clamp`, bound of the log-scale
            of an affine one; `permutation` between the steps: "soft" was published, "hard" halves the file. In
            training, `fibres` is the number of positions an update and `loss` what it minimises.
        shape: (C, H, W) of the maps in training. At another size the positions are stretched to this one.

    Attributes:
        offset: () float32, the least energy (nats per dimension) of a position in good images; set by `calibrate`.
    """

    needs_calibration = True
    takes_regions = True
    recomputes = True

    def __init__(self, config: FlowConfig, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.flow = SequenceINN(self.channels)
        for _ in range(config.steps):
            self.flow.append(
                coupling_step(config),
                cond=0,
                cond_shape=(config.condition,),
                subnet_constructor=_subnet(config.hidden_ratio),
            )
        self.register_buffer("offset", torch.zeros(()))
        self._in_use: tuple[Tensor, tuple[int, int], Tensor] | None = None

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.transform(features)
        return z, log_det.sum((1, 2))

    def transform(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self._by_position(features, rev=False)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        features, log_det = self._by_position(z, rev=True)
        return features, log_det.sum((1, 2))

    def log_det_map(self, features: Tensor) -> Tensor:
        return self.transform(features)[1]

    def energy(self, features: Tensor, base: DiagonalGaussian, log_det_weight: float = 1.0) -> Tensor:
        """-log p of each position's features in nats per dimension, always with the log-determinant: (N, H, W)."""
        z, log_det = self.transform(features)
        return -base.log_prob_map(z.float()) - log_det.float() / self.channels

    def likelihood(self, energy: Tensor) -> Tensor:
        """1 at the least energy of held-out good images."""
        return torch.exp(self.offset - energy)

    @torch.no_grad()
    def calibrate(self, energies: Tensor) -> None:
        self.offset.copy_(energies.amin())

    def train_batch(
        self,
        features: Tensor,
        norm: FeatureNorm,
        base: DiagonalGaussian,
        *,
        precision: Precision,
        seed: Sequence[int],
    ) -> Iterator[Update]:
        """All positions of the batch that count in a random order, one update for every `config.fibres` of them."""
        with torch.no_grad():
            normalised = norm(features)
        height, width = normalised.shape[2:]
        fibres = normalised.permute(0, 2, 3, 1).reshape(-1, self.channels)
        codes = self.codes(height, width)
        words = np.random.SeedSequence(seed).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(words[0] >> 1))
        order = torch.randperm(len(fibres), generator=generator)
        inside, share = self._inside_here((height, width)), 1.0
        if inside is not None:
            counts = inside[order % len(codes)]
            order, share = order[counts], len(order) / int(counts.sum())
        order = send(order, fibres.device)

        def loss(part: Tensor, count: int) -> tuple[Tensor, Tensor]:
            with precision():
                z, log_det = self.forward_fibres(fibres[part], codes[part % len(codes)])
                log_prob = base.log_prob(z.float()[:, :, None, None]) + log_det.float()
                per_dimension = log_prob / self.channels
                if self.config.loss == "logsigmoid":
                    value = F.softplus(-per_dimension).sum() / count  # -logsigmoid(logp / C)
                else:
                    value = -per_dimension.sum() / count
            return value, -share * log_prob.detach().sum(dtype=torch.float64)  # as of all positions, see `nll`

        # Equal parts: a small rest would be an update of its own with a noisy gradient.
        for chosen in order.tensor_split(max(round(len(order) / self.config.fibres), 1)):
            size = MICROBATCH_FIBRES if fibres.device.type == "cpu" else len(chosen)
            yield [partial(loss, part, len(chosen)) for part in chosen.split(size)]

    def _inside_here(self, size: tuple[int, int]) -> Tensor | None:
        """`inside` at maps of this size as bool (H * W,) in the program's own memory: read from a GPU only once."""
        if self.inside is None:
            return None
        if self._in_use is None or self._in_use[0] is not self.inside or self._in_use[1] != size:
            self._in_use = self.inside, size, at_size(self.inside, size).flatten().cpu()
        return self._in_use[2]

    def forward_fibres(self, fibres: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Fibres (M, C) at positions with these codes (M, condition) to z (M, C) and log|det J| (M,)."""
        return run_steps(self.flow, fibres, codes, recompute=self.recompute)

    def codes(self, height: int, width: int) -> Tensor:
        """The condition of every position, row by row: (H * W, condition)."""
        code = position_code(self.config.condition, (height, width), self.size, self.offset.device)
        return code.flatten(1).T.contiguous()

    def _by_position(self, maps: Tensor, rev: bool) -> tuple[Tensor, Tensor]:
        count, channels, height, width = maps.shape
        codes = self.codes(height, width).to(maps.dtype)
        if torch.compiler.is_compiling():  # a graph holds no loop over images
            rows = maps.permute(0, 2, 3, 1).reshape(-1, channels)
            out, log_det = self.flow(rows, c=[codes.expand(count, -1, -1).reshape(-1, codes.shape[1])], rev=rev)
            return out.view(count, height, width, channels).permute(0, 3, 1, 2), log_det.view(count, height, width)
        # One image after the other: its numbers then do not even differ by rounding between batches.
        images = [self._fibre_pieces(image.flatten(1).T.contiguous(), codes, rev) for image in maps]
        out = torch.stack([rows.T for rows, _ in images]).reshape(count, channels, height, width)
        return out, torch.stack([log_det for _, log_det in images]).reshape(count, height, width)

    def _fibre_pieces(self, rows: Tensor, codes: Tensor, rev: bool) -> tuple[Tensor, Tensor]:
        pieces = zip(rows.split(ROWS_AT_A_TIME), codes.split(ROWS_AT_A_TIME), strict=True)
        mapped = [
            self.flow(fibres, c=[code], rev=True) if rev else self.forward_fibres(fibres, code)
            for fibres, code in pieces
        ]
        return torch.cat([out for out, _ in mapped]), torch.cat([log_det for _, log_det in mapped])


def _subnet(hidden_ratio: float) -> Callable[[int, int], nn.Module]:
    def build(in_channels: int, out_channels: int) -> nn.Module:
        hidden = max(int(in_channels * hidden_ratio), 1)
        return nn.Sequential(nn.Linear(in_channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out_channels))

    return build
