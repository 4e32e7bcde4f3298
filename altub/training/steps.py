"""One training step in AltUB's alternation: whose turn it is, with which optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from altub.flows import FlowPyramid
from altub.parallel import Workers
from altub.training.config import TrainingConfig
from altub.training.schedule import Phase

__all__ = ["Alternation", "images_a_piece"]

VALUES_A_PIECE = 1 << 21  # of x in one backward pass on a CPU: the same gradient from tensors that fit its caches
FEWEST_IMAGES, MOST_IMAGES = 8, 16  # a piece; small matrices waste a core, and several cores share one batch
FIBRES_A_PIECE = 1024  # fibres per backward pass on a CPU: the same gradient from tensors that fit its caches
WARMUP_START = 0.1  # share of the learning rate where a warm-up begins; CFLOW-AD's code
BASE_CLIP = 100.0  # bound of the base's gradient in its own turn, by norm or by value; both public readings use 100


class Alternation:
    """Updates flow and base by the schedule of `config.base`.

    Args:
        pyramid: flows and bases, on their device.
        workers: run the passes of a batch side by side; gradients always add up in the same order.
        precision: gives the autocast context of a forward pass.
    """

    def __init__(
        self,
        config: TrainingConfig,
        pyramid: FlowPyramid,
        precision: Callable[[], AbstractContextManager],
        workers: Workers,
    ) -> None:
        self.config, self.pyramid = config, pyramid
        self.precision, self.workers = precision, workers
        self.flow_parameters = list(pyramid.flow_parameters())
        self.base_parameters = list(pyramid.base_parameters())
        schedule = config.base
        groups = [{"params": self.flow_parameters}]
        if schedule.base_update == "gradient" and schedule.joint:
            # L2 decay would pull the base back to N(0, I), the very thing AltUB lets go of.
            groups.append({"params": self.base_parameters, "weight_decay": 0.0})
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "flow": torch.optim.Adam(groups, lr=config.lr, weight_decay=config.weight_decay)
        }
        if schedule.base_update == "gradient":
            kind = torch.optim.Adam if schedule.optimizer == "adam" else torch.optim.SGD
            self.optimizers["base"] = kind(self.base_parameters, lr=schedule.lr or config.lr)
        self.lr_now = config.lr

    def step(
        self, features: Sequence[Tensor], phase: Phase, epoch: int, global_step: int, progress: float
    ) -> list[float]:
        """One update on a batch of features (per scale (N, C, H, W)); `progress` is the share of training done.

        Returns each scale's negative log-likelihood in nats, mean over the batch. Nothing is updated where one is
        not finite, except by CFLOW, whose many updates in one batch have then spoilt the weights.
        """
        self.set_rates(progress)
        joins = self.config.base.base_joins_flow(epoch, global_step)
        for parameter in self.flow_parameters:
            parameter.requires_grad_(phase == "flow")
        for parameter in self.base_parameters:
            parameter.requires_grad_(phase == "base" or joins)
        optimizer = self.optimizers[phase]
        for other in self.optimizers.values():
            other.zero_grad(set_to_none=True)
        if self.config.flow.kind == "cflow" and phase == "flow":
            return self._fibre_steps(features, epoch, global_step)
        count = len(features[0])
        totals = torch.zeros(len(features), dtype=torch.float64, device=features[0].device)
        trained = [[p for p in self.pyramid.scale_parameters(k) if p.requires_grad] for k in range(len(features))]

        def gradients(piece: tuple[int, Tensor]) -> tuple[int, tuple[Tensor, ...], Tensor]:
            scale, part = piece
            loss = self._nll(scale, part, phase).sum()
            return scale, torch.autograd.grad(loss / count, trained[scale]), loss.detach()

        # The scales share no parameters: each is cut into pieces of the size that suits its maps.
        pieces = ((k, part) for k, maps in enumerate(features) for part in maps.split(images_a_piece(maps)))
        for scale, grads, loss in self.workers.map(gradients, pieces):
            totals[scale] += loss
            for parameter, grad in zip(trained[scale], grads, strict=True):
                parameter.grad = grad if parameter.grad is None else parameter.grad.add_(grad)
        losses = (totals / count).tolist()
        if all(map(math.isfinite, losses)):
            if phase == "base":
                self._clip()
            optimizer.step()
        return losses

    def _fibre_steps(self, features: Sequence[Tensor], epoch: int, global_step: int) -> list[float]:
        """CFLOW's turn: all positions of the batch in a random order, one update for every so many of them."""
        with torch.no_grad():
            normalised = self.pyramid.normalise(features)
        count, losses = len(features[0]), []
        for scale, maps in enumerate(normalised):
            channels, height, width = maps.shape[1:]
            fibres = maps.permute(0, 2, 3, 1).reshape(-1, channels)
            codes = self.pyramid.heads[scale].codes(height, width)
            # From (seed, epoch, step) alone: resuming goes on with the order that it would have been.
            words = np.random.SeedSequence([self.config.seed, epoch, global_step, scale]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(words[0] >> 1))
            order = torch.randperm(len(fibres), generator=generator).to(maps.device)
            total = torch.zeros((), dtype=torch.float64, device=maps.device)
            # Equal parts: a small rest would be a step of its own with a noisy gradient.
            for chosen in order.tensor_split(max(round(len(order) / self.config.flow.fibres), 1)):
                total += self._fibre_step(scale, fibres, codes, chosen)
            losses.append(total.item() / count)
        return losses

    def _fibre_step(self, scale: int, fibres: Tensor, codes: Tensor, chosen: Tensor) -> Tensor:
        """One update of one scale on the fibres at the indices `chosen`; their summed NLL in nats."""
        head, base = self.pyramid.heads[scale], self.pyramid.bases[scale]
        trained = [p for p in (*head.parameters(), *base.parameters()) if p.requires_grad]
        optimizer = self.optimizers["flow"]
        optimizer.zero_grad(set_to_none=True)

        def gradients(part: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
            with self.precision():
                z, log_det = head.forward_fibres(fibres[part], codes[part % len(codes)])
                log_prob = base.log_prob(z.float()[:, :, None, None]) + log_det.float()
                per_dimension = log_prob / head.channels
                if self.config.flow.loss == "logsigmoid":
                    loss = F.softplus(-per_dimension).sum() / len(chosen)  # -logsigmoid(logp / C)
                else:
                    loss = -per_dimension.sum() / len(chosen)
            return torch.autograd.grad(loss, trained), -log_prob.detach().sum(dtype=torch.float64)

        pieces = chosen.split(FIBRES_A_PIECE if fibres.device.type == "cpu" else len(chosen))
        total = fibres.new_zeros((), dtype=torch.float64)
        for grads, nll in self.workers.map(gradients, pieces):
            total += nll
            for parameter, grad in zip(trained, grads, strict=True):
                parameter.grad = grad if parameter.grad is None else parameter.grad.add_(grad)
        optimizer.step()
        return total

    def _nll(self, scale: int, part: Tensor, phase: Phase) -> Tensor:
        """Of every image at one scale, in nats: (N,)."""
        head, base = self.pyramid.heads[scale], self.pyramid.bases[scale]
        normalised = self.pyramid.norms[scale](part)  # in fp32: autocast is for the subnets alone
        with self.precision():
            # In the base's turn the flow is frozen: z is data, only the base sees a gradient.
            with torch.set_grad_enabled(phase == "flow"):
                z, log_det = head(normalised)
            return -base.log_prob(z) - log_det

    def _clip(self) -> None:
        if self.config.base.clip == "norm":
            torch.nn.utils.clip_grad_norm_(self.base_parameters, BASE_CLIP)
        elif self.config.base.clip == "value":
            torch.nn.utils.clip_grad_value_(self.base_parameters, BASE_CLIP)

    def set_rates(self, progress: float) -> None:
        """Learning rates depend on the progress alone, so that resuming needs no scheduler's state."""
        config = self.config
        warmup = min(config.lr_warmup / config.epochs, 1.0)

        def course(at: float) -> float:
            if config.lr_schedule == "constant":
                return 1.0
            return config.lr_final + (1 - config.lr_final) * 0.5 * (1 + math.cos(math.pi * at))

        if progress < warmup:  # a straight line to where the course is by then
            factor = WARMUP_START + (course(warmup) - WARMUP_START) * progress / warmup
        else:
            factor = course(progress)
        self.lr_now = self.config.lr * factor
        for group in self.optimizers["flow"].param_groups:
            group["lr"] = self.lr_now
        if "base" in self.optimizers:
            schedule = self.config.base
            own = schedule.lr * factor if schedule.lr is not None else schedule.lr_factor * self.lr_now
            for group in self.optimizers["base"].param_groups:
                group["lr"] = own


def images_a_piece(maps: Tensor) -> int:
    """How many of these images (N, C, H, W) one backward pass takes: on a CPU as many as suit a core, else all.

    It depends on the maps alone, so that the number of cores never shows in the weights.
    """
    if maps.device.type != "cpu":
        return len(maps)
    return min(max(VALUES_A_PIECE // max(maps[0].numel(), 1), FEWEST_IMAGES), MOST_IMAGES)
