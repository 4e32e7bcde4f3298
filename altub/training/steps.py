"""One update of the flow or of its base: which parameters move, by which gradient, at which learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import zip_longest

import torch
from torch import Tensor
from torch.nn import Parameter

from altub.device import Workers
from altub.errors import ConfigError
from altub.flows import FeatureNorm, FlowPyramid
from altub.flows.head import Microbatch, Update, microbatch_size
from altub.training.config import TrainingConfig
from altub.training.distributed import ALONE, Group, summed
from altub.training.optimisers import uncompiled
from altub.training.push import Push
from altub.training.schedule import Phase

__all__ = ["Alternation", "learning_rate_factor"]

WARMUP_START = 0.1  # share of the learning rate where a warm-up begins; CFLOW-AD's code
BASE_CLIP = 100.0  # bound of the base's gradient in a base phase, by norm or by value; both public variants use 100


class Alternation:
    """Updates flow and base by the schedule of `config.base`.

    Args:
        pyramid: flows and bases, on their device.
        precision: gives the autocast context of a forward pass.
        workers: run the microbatches of an update side by side; gradients always add up in the same order.
        group: the processes that share every batch.

    Attributes:
        optimizers: "flow", and "base" where it is trained by gradients; their state goes into the checkpoint.
        lr_now: the flow's learning rate in the latest step.
        norms: what features have still to pass: the pyramid's norms, unless their store has applied them.
    """

    def __init__(
        self,
        config: TrainingConfig,
        pyramid: FlowPyramid,
        precision: Callable[[], AbstractContextManager],
        workers: Workers,
        group: Group = ALONE,
    ) -> None:
        self.config, self.pyramid, self.group = config, pyramid, group
        self.precision, self.workers = precision, workers
        self.norms: Sequence[FeatureNorm] = list(pyramid.norms)
        self.flow_parameters = list(pyramid.flow_parameters())
        self.base_parameters = list(pyramid.base_parameters())
        schedule = config.base
        groups = [{"params": self.flow_parameters}]
        if schedule.base_update == "gradient" and schedule.joint:
            # L2 decay would pull the base back to N(0, I), the very thing AltUB lets go of.
            groups.append({"params": self.base_parameters, "weight_decay": 0.0})
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "flow": uncompiled(torch.optim.Adam)(groups, lr=config.lr, weight_decay=config.weight_decay)
        }
        if schedule.base_update == "gradient":
            kind = torch.optim.Adam if schedule.optimizer == "adam" else torch.optim.SGD
            self.optimizers["base"] = uncompiled(kind)(self.base_parameters, lr=schedule.lr or config.lr)
        self.lr_now = config.lr

    def enqueue(
        self,
        features: Sequence[Tensor],
        phase: Phase,
        epoch: int,
        global_step: int,
        progress: float,
        push: Push | None = None,
        images: int | None = None,
    ) -> Tensor:
        """Trains on one batch of features (per scale (N, C, H, W)); `progress` is the share of training done.

        Args:
            push: known defects that the first update of a flow phase also pushes away from good parts.
            images: of the whole batch, where `features` are this process's share of it, which may be empty.

        Most flows make one update of a batch; a head may make many (`FlowHead.train_batch`). On a GPU what it does is
        only queued: reading the result waits.

        Returns each scale's negative log-likelihood in nats, mean over the batch: (scales,) float64 on the device, and
        on a GPU maybe not computed yet. Where one is not finite, on a CPU the update that it belongs to is not made,
        nor any after it; on a GPU, where that would be a wait in every update, such weights are lost.
        """
        self.set_rates(progress)
        base_moves = phase == "base" or self.config.base.base_joins_flow(epoch, global_step)
        for parameter in self.flow_parameters:
            parameter.requires_grad_(phase == "flow")
        for parameter in self.base_parameters:
            parameter.requires_grad_(base_moves)
        updates: Iterator[Sequence[Update | None]]
        if not len(features[0]):  # the other processes keep all images of this batch
            updates = iter([[None] * len(features)])
        elif phase == "flow":
            updates = self._flow_updates(features, [self.config.seed, epoch, global_step], push)
        else:
            updates = iter([self._base_update(features)])
        device = features[0].device
        totals = torch.zeros(len(features), dtype=torch.float64, device=device)
        images = images or len(features[0])
        for count, update in enumerate(updates):
            if count and self.group.size > 1:
                raise ConfigError(
                    f"The flow {self.config.flow.kind} makes several updates of a batch, which processes cannot share: "
                    "train it with one."
                )
            totals += self._gradients(update, len(features), len(features[0]) / images)
            if device.type == "cpu" and not torch.isfinite(totals).all():
                break
            if phase == "base":
                self._clip()
            self.optimizers[phase].step()
        return totals / images

    # The scales share no parameters. What they make of a batch is therefore merged: the n-th updates of all scales are
    # one optimiser step, whose microbatches of every scale run side by side.

    def _flow_updates(
        self, features: Sequence[Tensor], seed: list[int], push: Push | None
    ) -> Iterator[list[Update | None]]:
        """The n-th updates of all scales; None for a scale that makes fewer."""
        pyramid = self.pyramid
        per_scale = [
            head.train_batch(maps, norm, base, precision=self.precision, seed=[*seed, scale])
            for scale, (head, maps, norm, base) in enumerate(
                zip(pyramid.heads, features, self.norms, pyramid.bases, strict=True)
            )
        ]
        for number, updates in enumerate(zip_longest(*per_scale)):
            if push is not None and number == 0:
                pushes = push.microbatches(pyramid, features, self.precision, self.norms)
                updates = [[*(parts or ()), pushed] for parts, pushed in zip(updates, pushes, strict=True)]
            yield list(updates)

    def _base_update(self, features: Sequence[Tensor]) -> list[Update]:
        """The update of a base phase, for every scale: the flow is frozen, z is data, only the base has a gradient."""

        def negative_log_likelihood(scale: int, part: Tensor) -> tuple[Tensor, Tensor]:
            normalised = self.norms[scale](part)  # in fp32: autocast is for the subnets alone
            with self.precision():
                total = self.pyramid.heads[scale].nll(normalised, self.pyramid.bases[scale]).sum()
            return total / len(features[0]), total.detach()

        return [
            [partial(negative_log_likelihood, scale, part) for part in maps.split(microbatch_size(maps))]
            for scale, maps in enumerate(features)
        ]

    def _gradients(self, update: Sequence[Update | None], scales: int, share: float = 1.0) -> Tensor:
        """Sets the gradients of one update; each scale's summed negative log-likelihood in nats, (scales,) float64.

        share: of the batch's images that this process has.
        """
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        trained = [[p for p in self.pyramid.scale_parameters(k) if p.requires_grad] for k in range(scales)]

        def gradients(item: tuple[int, Microbatch]) -> tuple[int, tuple[Tensor, ...], Tensor]:
            scale, microbatch = item
            loss, nll = microbatch()
            return scale, torch.autograd.grad(loss, trained[scale]), nll

        sums = torch.zeros(scales, dtype=torch.float64, device=self.base_parameters[0].device)
        microbatches = ((scale, part) for scale, parts in enumerate(update) for part in parts or ())
        for scale, grads, nll in self.workers.map(gradients, microbatches):
            sums[scale] += nll
            for parameter, grad in zip(trained[scale], grads, strict=True):
                parameter.grad = grad if parameter.grad is None else parameter.grad.add_(grad)
        return sums if self.group.size == 1 else self._add_up(sums, trained, share)

    def _add_up(self, sums: Tensor, trained: Sequence[Sequence[Parameter]], share: float) -> Tensor:
        """The sums over all processes; gradients become those of the whole batch's mean."""
        parameters = [parameter for of_scale in trained for parameter in of_scale]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad * share for p in parameters]
        for parameter, grad in zip(parameters, summed(self.group, grads), strict=True):
            parameter.grad = grad
        return self.group.add(sums)

    def _clip(self) -> None:
        if self.config.base.clip == "norm":
            torch.nn.utils.clip_grad_norm_(self.base_parameters, BASE_CLIP)
        elif self.config.base.clip == "value":
            torch.nn.utils.clip_grad_value_(self.base_parameters, BASE_CLIP)

    def set_rates(self, progress: float) -> None:
        """Learning rates depend on the progress alone, so that resuming needs no scheduler's state."""
        factor = learning_rate_factor(self.config, progress)
        self.lr_now = self.config.lr * factor
        for group in self.optimizers["flow"].param_groups:
            group["lr"] = self.lr_now
        if "base" in self.optimizers:
            schedule = self.config.base
            own = schedule.lr * factor if schedule.lr is not None else schedule.lr_factor * self.lr_now
            for group in self.optimizers["base"].param_groups:
                group["lr"] = own


def learning_rate_factor(config: TrainingConfig, progress: float) -> float:
    """The learning rate as a share of `config.lr`, at this share of training done (0 to 1)."""
    warmup = min(config.lr_warmup / config.epochs, 1.0)

    def after_warmup(at: float) -> float:
        if config.lr_schedule == "constant":
            return 1.0
        return config.lr_final + (1 - config.lr_final) * 0.5 * (1 + math.cos(math.pi * at))

    if progress < warmup:  # a straight line to where the schedule is by then
        return WARMUP_START + (after_warmup(warmup) - WARMUP_START) * progress / warmup
    return after_warmup(progress)
