"""One training step in AltUB's alternation: whose turn it is, with which optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from altub.config import TrainingConfig
from altub.flows import FlowPyramid
from altub.parallel import Workers
from altub.schedule import Phase

__all__ = ["Alternation"]

BASE_CLIP = 100.0  # bound of the base's gradient in its own turn, by norm or by value; both public readings use 100


class Alternation:
    """Updates flow and base by the schedule of `config.base`.

    Args:
        pyramid: flows and bases, on their device.
        micro_batch: images per backward pass; gradients add up to those of the whole batch, always in the same order.
        workers: run the passes of a batch side by side.
        precision: gives the autocast context of a forward pass.
    """

    def __init__(
        self,
        config: TrainingConfig,
        pyramid: FlowPyramid,
        micro_batch: int,
        precision: Callable[[], AbstractContextManager],
        workers: Workers,
    ) -> None:
        self.config, self.pyramid, self.micro_batch = config, pyramid, micro_batch
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
        not finite.
        """
        self._set_rates(progress)
        joins = self.config.base.base_joins_flow(epoch, global_step)
        for parameter in self.flow_parameters:
            parameter.requires_grad_(phase == "flow")
        for parameter in self.base_parameters:
            parameter.requires_grad_(phase == "base" or joins)
        optimizer = self.optimizers[phase]
        for other in self.optimizers.values():
            other.zero_grad(set_to_none=True)
        trained = [p for p in (*self.flow_parameters, *self.base_parameters) if p.requires_grad]

        count = len(features[0])
        totals = torch.zeros(len(features), dtype=torch.float64, device=features[0].device)

        def gradients(part: list[Tensor]) -> tuple[tuple[Tensor | None, ...], Tensor]:
            losses = torch.stack([head.sum() for head in self._nll(part, phase)])
            return torch.autograd.grad(losses.sum() / count, trained, allow_unused=True), losses.detach()

        starts = range(0, count, self.micro_batch)
        parts = ([level[start : start + self.micro_batch] for level in features] for start in starts)
        for grads, losses in self.workers.map(gradients, parts):
            totals += losses
            for parameter, grad in zip(trained, grads, strict=True):
                if grad is not None:
                    parameter.grad = grad if parameter.grad is None else parameter.grad.add_(grad)
        losses = (totals / count).tolist()
        if all(map(math.isfinite, losses)):
            if phase == "base":
                self._clip()
            optimizer.step()
        return losses

    def _nll(self, part: Sequence[Tensor], phase: Phase) -> list[Tensor]:
        normalised = self.pyramid.normalise(part)  # in fp32: autocast is for the subnets alone
        with self.precision():
            if phase == "flow":
                return self.pyramid.nll(normalised)
            with torch.no_grad():  # the flow is frozen: z is data, only the base sees a gradient
                latents = self.pyramid.latents(normalised)
            return [-base.log_prob(z) - log_det for base, (z, log_det) in zip(self.pyramid.bases, latents, strict=True)]

    def _clip(self) -> None:
        if self.config.base.clip == "norm":
            torch.nn.utils.clip_grad_norm_(self.base_parameters, BASE_CLIP)
        elif self.config.base.clip == "value":
            torch.nn.utils.clip_grad_value_(self.base_parameters, BASE_CLIP)

    def _set_rates(self, progress: float) -> None:
        """Learning rates depend on the progress alone, so that resuming needs no scheduler's state."""
        factor = 0.5 * (1 + math.cos(math.pi * progress)) if self.config.lr_schedule == "cosine" else 1.0
        self.lr_now = self.config.lr * factor
        for group in self.optimizers["flow"].param_groups:
            group["lr"] = self.lr_now
        if "base" in self.optimizers:
            schedule = self.config.base
            own = schedule.lr * factor if schedule.lr is not None else schedule.lr_factor * self.lr_now
            for group in self.optimizers["base"].param_groups:
                group["lr"] = own
