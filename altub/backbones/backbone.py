"""Frozen feature pyramids: any model of timm, and a filter bank that needs no weights.

A backbone maps images ``(N, 3, H, W)`` in [0, 1] to a list of ``(N, C_k, H/stride_k, W/stride_k)``. It is never
trained: no parameter asks for a gradient and it stays in eval mode. It knows its own input normalisation and the exact
weights it runs on.

For convolutional networks ``stages`` are timm's ``out_indices``. For plain transformers a stage is the index of a
block, whose tokens pass the model's own final norm and are laid out on the grid without class tokens, as in FastFlow
(Yu et al., 2021, https://arxiv.org/abs/2111.07677). The filter bank counts like a network: stage 1 has stride 4.
"""

from __future__ import annotations

import difflib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from altub.backbones.filter_bank import FilterBank
from altub.backbones.weights import (
    HubFile,
    WeightsInfo,
    find_in_cache,
    find_in_folder,
    hash_tensors,
    load_strictly,
    probe_hub,
    weight_sources,
)
from altub.errors import ConfigError, WeightsError

__all__ = [
    "AUTO_BACKBONE",
    "BACKBONE_PRESETS",
    "FILTER_BANK",
    "Backbone",
    "BackbonePreset",
    "create_backbone",
    "resolve_auto",
    "weights_available",
]

logger = logging.getLogger(__name__)

FILTER_BANK = "filter-bank"
AUTO_BACKBONE = "resnet18.tv_in1k"  # what "auto" takes where its weights can be had


@dataclass(frozen=True)
class BackbonePreset:
    """A backbone that the page and the command line offer by name."""

    name: str
    title: str
    stages: tuple[int, ...]
    image_size: int
    description: str
    fixed_image_size: bool = False
    hub_id: str | None = None
    """Where the Hub has the weights; None for the filter bank."""


BACKBONE_PRESETS: dict[str, BackbonePreset] = {
    preset.name: preset
    for preset in (
        BackbonePreset(
            "resnet18.tv_in1k",
            "ResNet-18",
            (1, 2, 3),
            256,
            "Small and quick, the first choice on a CPU; the tables' resnet18 (torchvision's ImageNet weights).",
            hub_id="timm/resnet18.tv_in1k",
        ),
        BackbonePreset(
            "wide_resnet50_2.racm_in1k",
            "Wide ResNet-50-2",
            (1, 2, 3),
            256,
            "The strongest convolutional network of the FastFlow paper; wants a GPU for training.",
            hub_id="timm/wide_resnet50_2.racm_in1k",
        ),
        BackbonePreset(
            "deit_base_distilled_patch16_384",
            "DeiT-B distilled 384",
            (7,),
            384,
            "A vision transformer, blocks 0 to 7; takes images of exactly 384 x 384 pixels.",
            fixed_image_size=True,
            hub_id="timm/deit_base_distilled_patch16_384.fb_in1k",
        ),
        BackbonePreset(
            "cait_m48_448",
            "CaiT-M48 448",
            (40,),
            448,
            "The largest transformer of the FastFlow paper, blocks 0 to 40; 448 x 448 pixels, a GPU and patience.",
            fixed_image_size=True,
            hub_id="timm/cait_m48_448.fb_dist_in1k",
        ),
        BackbonePreset(
            "mobilenetv2_100",
            "MobileNetV2",
            (1, 2, 3),
            256,
            "The lightest pretrained network, for small machines.",
            hub_id="timm/mobilenetv2_100.ra_in1k",
        ),
        BackbonePreset(
            FILTER_BANK,
            "Filter bank (no download)",
            (1, 2, 3),
            256,
            "Gabor filters and local colour statistics: no pretrained weights, works everywhere at once.",
        ),
    )
}


class Backbone(nn.Module):
    """A frozen network from images to feature maps; build one with :func:`create_backbone`.

    Attributes:
        name: timm name, or "filter-bank".
        stages: indices that the features come from.
        channels, strides: of each feature map.
        weights: which weights it runs on.
        image_size_multiple: both sides of an image must be multiples of this.
        fixed_image_size: the one side length a transformer takes; None where any multiple will do.
        has_final_norm: features have passed the network's own final norm, so that a flow needs none in front.
    """

    normalise_mean: Tensor
    normalise_std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        stages: Sequence[int],
        channels: Sequence[int],
        strides: Sequence[int],
        weights: WeightsInfo,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        image_size_multiple: int | None = None,
        fixed_image_size: int | None = None,
        has_final_norm: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.name = name
        self.stages = tuple(stages)
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.weights = weights
        self.image_size_multiple = image_size_multiple or max(self.strides)
        self.fixed_image_size = fixed_image_size
        self.has_final_norm = has_final_norm
        self.register_buffer("normalise_mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("normalise_std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Backbone:
        """Stays in eval mode: batch statistics of a frozen network must not move."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of images ``(N, 3, H, W)``, float in [0, 1]: a list of ``(N, C_k, H/stride_k, W/stride_k)``.

        Raises:
            ConfigError: the images have a size that the backbone does not take.
        """
        self.check_image_size(*images.shape[-2:])
        return self.network((images - self.normalise_mean) / self.normalise_std)

    def check_image_size(self, height: int, width: int) -> None:
        """Raise ConfigError for a size (pixels) that the backbone does not take."""
        fixed, multiple = self.fixed_image_size, self.image_size_multiple
        if fixed is not None and (height, width) != (fixed, fixed):
            raise ConfigError(f"{self.name} takes images of {fixed} x {fixed} pixels, not {width} x {height}.")
        if height < multiple or width < multiple or height % multiple or width % multiple:
            raise ConfigError(
                f"{self.name} takes images whose sides are multiples of {multiple} pixels, not {width} x {height}."
            )

    def describe(self) -> dict:
        """What a saved model must know to get the same features again; JSON-able."""
        return {
            "name": self.name,
            "stages": list(self.stages),
            "channels": list(self.channels),
            "strides": list(self.strides),
            "weights": {
                "source": self.weights.source,
                "sha256": self.weights.sha256,
                "location": self.weights.location,
            },
        }

    def extra_repr(self) -> str:
        return f"{self.name}, stages={self.stages}, channels={self.channels}, strides={self.strides}"


class _TimmFeatures(nn.Module):
    """A timm model cut off behind its last used stage; keeps timm's parameter names below ``model``."""

    def __init__(self, model: nn.Module, stages: Sequence[int], norm: bool) -> None:
        super().__init__()
        self.model = model
        self.stages = list(stages)
        self.norm = norm

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.model.forward_intermediates(
            images,
            indices=self.stages,
            norm=self.norm,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )


class _SelectedLevels(nn.Module):
    def __init__(self, bank: FilterBank, stages: Sequence[int]) -> None:
        super().__init__()
        self.bank = bank
        self.stages = tuple(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        levels = self.bank(images)
        return [levels[stage - 1] for stage in self.stages]


# --------------------------------------------------------------------------------------------------- creating


def create_backbone(
    name: str = "auto",
    stages: Sequence[int] | None = None,
    *,
    pretrained: bool = True,
    image_size: int = 256,
    expected_sha256: str | None = None,
) -> Backbone:
    """Build a frozen backbone.

    Args:
        name: a timm name, "filter-bank", or "auto" (see :func:`resolve_auto`).
        stages: increasing indices of the features; None takes the preset's, else (1, 2, 3), for a transformer the
            block two thirds up.
        pretrained: False gives random weights, reproducible under ``torch.manual_seed``.
        image_size: side in pixels, checked against what the backbone takes. A backbone of fixed size ignores it:
            ``fixed_image_size`` says what it takes.
        expected_sha256: the weights must have this hash; sources that hold others are passed over.

    Raises:
        ConfigError: no such model, stage or image size.
        WeightsError: the weights cannot be had, do not fit, or are others than expected.
    """
    if name == "auto":
        name, _ = resolve_auto()
        try:
            return create_backbone(
                name, stages, pretrained=pretrained, image_size=image_size, expected_sha256=expected_sha256
            )
        except WeightsError as error:
            # Only where the Hub answered the probe and then failed: a file that is broken must be seen.
            if expected_sha256 is not None or weights_available(name) is not None:
                raise
            logger.warning("%s The filter bank is used instead.", error)
            name = FILTER_BANK
    if name == FILTER_BANK:
        backbone = _create_filter_bank(stages)
        _check_hash(backbone, expected_sha256)
    else:
        backbone = _create_timm(name, stages, pretrained, expected_sha256)
    if backbone.fixed_image_size is None:
        backbone.check_image_size(image_size, image_size)
    return backbone


def _create_filter_bank(stages: Sequence[int] | None) -> Backbone:
    bank = FilterBank()
    chosen = _check_stages(FILTER_BANK, (1, 2, 3) if stages is None else stages, first=1, last=3)
    return Backbone(
        _SelectedLevels(bank, chosen),
        name=FILTER_BANK,
        stages=chosen,
        channels=[bank.channels[stage - 1] for stage in chosen],
        strides=[bank.strides[stage - 1] for stage in chosen],
        weights=WeightsInfo("none", bank.definition_sha256(), FILTER_BANK),
        image_size_multiple=16,
    )


def _create_timm(name: str, stages: Sequence[int] | None, pretrained: bool, expected_sha256: str | None) -> Backbone:
    config = _timm_config(name)  # first: an unknown name needs no network
    import timm
    from timm.data import resolve_model_data_config

    model = _construct(timm.create_model, name, on_meta=pretrained)
    info = [dict(entry) for entry in model.feature_info]
    transformer = hasattr(model, "blocks") and hasattr(model, "norm") and len(info) == len(model.blocks)
    if stages is None:
        preset = BACKBONE_PRESETS.get(name)
        stages = preset.stages if preset else (2 * len(info) // 3 - 1,) if transformer else (1, 2, 3)
    chosen = _check_stages(name, stages, first=0, last=len(info) - 1)
    data = resolve_model_data_config(model)
    fixed = config.input_size[-1] if transformer or config.fixed_input_size else None
    model.prune_intermediate_layers(list(chosen), prune_norm=not transformer, prune_head=True)

    if pretrained:
        weights = _load(model, name, config, expected_sha256)
    else:
        weights = WeightsInfo("random", hash_tensors(model.state_dict()), name)
    backbone = Backbone(
        _TimmFeatures(model, chosen, norm=transformer),
        name=name,
        stages=chosen,
        channels=[info[i]["num_chs"] for i in chosen],
        strides=[info[i]["reduction"] for i in chosen],
        weights=weights,
        mean=data["mean"],
        std=data["std"],
        fixed_image_size=fixed,
        has_final_norm=transformer,
    )
    _check_hash(backbone, expected_sha256)
    return backbone


def _construct(create: Callable[..., nn.Module], name: str, on_meta: bool) -> nn.Module:
    """The whole model; ``on_meta`` spares memory and initialisation where weights follow (cait_m48: 356 million)."""
    if on_meta:
        with torch.device("meta"):
            model = create(name, pretrained=False)
        state = model.state_dict()
        # Buffers that no file holds are computed at construction and need their memory at once.
        if all(key in state for key, _ in model.named_buffers()):
            return model
    return create(name, pretrained=False)


def _load(model: nn.Module, name: str, config, expected_sha256: str | None) -> WeightsInfo:
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    others: list[str] = []
    for source in weight_sources(name, (_full_name(config),), _hub_file(config)):
        weights = load_strictly(model, source, convert)
        if expected_sha256 is None or weights.sha256 == expected_sha256:
            return weights
        others.append(f"{source.location} has {weights.sha256[:12]}")
    raise WeightsError(
        f"The model was trained on weights of {name} with hash {expected_sha256[:12]}, but "
        f"{'; '.join(others)}. Put the weights it was trained on into the folder of ALTUB_WEIGHTS."
    )


def _check_hash(backbone: Backbone, expected_sha256: str | None) -> None:
    if expected_sha256 is not None and backbone.weights.sha256 != expected_sha256:
        raise WeightsError(
            f"The model was trained on {backbone.name} with hash {expected_sha256[:12]}, but the one at hand "
            f"has {backbone.weights.sha256[:12]}: its scores would mean nothing. Train it again."
        )


def _check_stages(name: str, stages: Sequence[int], *, first: int, last: int) -> tuple[int, ...]:
    chosen = tuple(int(stage) for stage in stages)
    if not chosen or list(chosen) != sorted(set(chosen)) or chosen[0] < first or chosen[-1] > last:
        raise ConfigError(
            f"{name} has the stages {first} to {last}: choose one or more of them in increasing order, "
            f"not {', '.join(map(str, chosen)) or 'none'}."
        )
    return chosen


# ---------------------------------------------------------------------------------------------- what there is


def resolve_auto() -> tuple[str, str]:
    """The backbone that "auto" means on this machine, and a sentence that says why."""
    source = weights_available(AUTO_BACKBONE)
    if source is None:
        return FILTER_BANK, (
            f"No pretrained weights are at hand (no {AUTO_BACKBONE}.safetensors in ALTUB_WEIGHTS, none in the "
            "Hugging Face cache, and the Hub cannot be reached), so the filter bank is used, which needs none."
        )
    where = {
        "file": "lie in the folder of ALTUB_WEIGHTS",
        "cache": "are in the Hugging Face cache",
        "hub": "can be fetched from the Hugging Face Hub",
    }[source]
    return AUTO_BACKBONE, f"The pretrained weights of {AUTO_BACKBONE} {where}."


def weights_available(name: str) -> str | None:
    """Where the weights of ``name`` are: "file", "cache", "hub", or None; "none" for the filter bank.

    Asks the Hub at most once per process, for three seconds at most. That a file is there does not say that it is
    sound: :func:`create_backbone` checks that.
    """
    if name == FILTER_BANK:
        return "none"
    if find_in_folder(name):
        return "file"
    preset = BACKBONE_PRESETS.get(name)
    if preset and preset.hub_id:  # known without importing timm, which takes seconds
        full_name, file = preset.hub_id.split("/")[1], HubFile(preset.hub_id)
    else:
        config = _timm_config(name)
        full_name, file = _full_name(config), _hub_file(config)
    if find_in_folder(full_name):
        return "file"
    if file is None:
        return None
    if find_in_cache(file):
        return "cache"
    return "hub" if not probe_hub(file) else None


def _timm_config(name: str):
    """timm's pretrained configuration of ``name``; ConfigError where timm has no such model."""
    import timm

    try:
        config = timm.models.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # a known architecture with a tag that it does not have
        config = None
    if config is None:
        known = [*BACKBONE_PRESETS, *timm.list_models(), *timm.list_models(pretrained=True)]
        close = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else " Any model name of timm will do."
        raise ConfigError(f"There is no backbone {name!r}.{hint}")
    return config


def _full_name(config) -> str:
    return f"{config.architecture}.{config.tag}" if config.tag else config.architecture


def _hub_file(config) -> HubFile | None:
    if not config.hf_hub_id:
        return None
    repo_id, _, revision = config.hf_hub_id.partition("@")
    filename = config.hf_hub_filename or "model.safetensors"
    if not filename.endswith(".safetensors"):  # only safetensors are read, never a pickle
        filename = "model.safetensors"
    return HubFile(repo_id, filename, revision or None)
