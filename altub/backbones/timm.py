"""Any model of timm as a frozen feature pyramid.

For convolutional networks ``stages`` are timm's ``out_indices``. For plain transformers a stage is the index of a
block, whose tokens pass the model's own final norm and are laid out on the grid without class tokens, as in FastFlow
(Yu et al., 2021, https://arxiv.org/abs/2111.07677).
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from altub.backbones.catalogue import BACKBONE_PRESETS
from altub.backbones.pyramid import Backbone, check_stages
from altub.backbones.quick_timm import import_timm
from altub.backbones.weights import HubFile, WeightsInfo, hash_tensors, load_strictly, weight_sources
from altub.device import shapes_alone
from altub.errors import ConfigError, WeightsError

__all__ = ["create_timm", "full_name_of", "hub_file", "sketch_timm", "timm_config"]


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


def create_timm(
    name: str, stages: Sequence[int] | None, pretrained: bool, expected_sha256: str | None, download: bool = True
) -> Backbone:
    """The frozen network; the arguments are those of :func:`altub.backbones.create_backbone`."""
    config = timm_config(name)  # first: an unknown name needs no network
    if pretrained and not download:  # before a network is built that may be of any size
        next(weight_sources(name, (full_name_of(config),), hub_file(config), download=False))
    model, parts = _build(name, stages, on_meta=pretrained)
    if pretrained:
        weights = _load(model, name, config, expected_sha256, download)
    else:
        weights = WeightsInfo("random", hash_tensors(model.state_dict()), name)
    backbone = Backbone(weights=weights, **parts)
    if expected_sha256 is not None:
        backbone.check_weights(expected_sha256)
    return backbone


def sketch_timm(name: str, stages: Sequence[int] | None) -> Backbone:
    """The network on the meta device, where timm can build it there: shapes without weights.

    Raises:
        ConfigError: there is no such model, or it has no such stages.
    """
    timm_config(name)
    _, parts = _build(name, stages, on_meta=True)
    device = next(parts["network"].parameters()).device
    with torch.device(device):
        return Backbone(weights=WeightsInfo("none", "", name), **parts)


def _build(name: str, stages: Sequence[int] | None, on_meta: bool) -> tuple[nn.Module, dict[str, Any]]:
    """timm's model, cut off behind its last used stage, and what a `Backbone` is made of beside the weights."""
    timm = import_timm()
    config = timm_config(name)
    model = _construct(timm.create_model, name, on_meta=on_meta)
    info = [dict(entry) for entry in model.feature_info]
    transformer = hasattr(model, "blocks") and hasattr(model, "norm") and len(info) == len(model.blocks)
    if stages is None:
        preset = BACKBONE_PRESETS.get(name)
        stages = preset.stages if preset else (2 * len(info) // 3 - 1,) if transformer else (1, 2, 3)
    chosen = check_stages(name, stages, first=0, last=len(info) - 1)
    data = timm.data.resolve_model_data_config(model)
    model.prune_intermediate_layers(list(chosen), prune_norm=not transformer, prune_head=True)
    return model, {
        "network": _TimmFeatures(model, chosen, norm=transformer),
        "name": name,
        "stages": chosen,
        "channels": [info[i]["num_chs"] for i in chosen],
        "strides": [info[i]["reduction"] for i in chosen],
        "mean": data["mean"],
        "std": data["std"],
        "fixed_image_size": config.input_size[-1] if transformer or config.fixed_input_size else None,
        "has_final_norm": transformer,
    }


def _construct(create: Callable[..., nn.Module], name: str, on_meta: bool) -> nn.Module:
    """The whole model; ``on_meta`` spares memory and initialisation where weights follow (cait_m48: 356 million)."""
    if on_meta:
        with shapes_alone():
            model = create(name, pretrained=False)
        state = model.state_dict()
        # Buffers that no file holds are computed at construction and need their memory at once.
        if all(key in state for key, _ in model.named_buffers()):
            return model
    return create(name, pretrained=False)


def _load(model: nn.Module, name: str, config, expected_sha256: str | None, download: bool) -> WeightsInfo:
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    others: list[str] = []
    for source in weight_sources(name, (full_name_of(config),), hub_file(config), download=download):
        weights = load_strictly(model, source, convert)
        if expected_sha256 is None or weights.sha256 == expected_sha256:
            return weights
        others.append(f"{source.location} has {weights.sha256[:12]}")
    raise WeightsError(
        f"The model was trained on weights of {name} with hash {expected_sha256[:12]}, but "
        f"{'; '.join(others)}. Put the weights it was trained on into the folder of ALTUB_WEIGHTS."
    )


def timm_config(name: str):
    """timm's pretrained configuration of ``name``; ConfigError where timm has no such model."""
    timm = import_timm()
    try:
        config = timm.models.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # a known architecture with a tag that it does not have
        config = None
    if config is None:
        known = [*BACKBONE_PRESETS, *timm.list_models(), *timm.list_models(pretrained=True)]
        close = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else " Any model name of timm will do."
        raise ConfigError(
            f"There is no backbone {name!r}.{hint} A backbone of your own is made known by "
            "altub.backbones.register_backbone, or given as backbone=."
        )
    return config


def full_name_of(config) -> str:
    """Architecture and tag, such as resnet18.tv_in1k."""
    return f"{config.architecture}.{config.tag}" if config.tag else config.architecture


def hub_file(config) -> HubFile | None:
    """Where the Hub has the weights; None where timm knows of none."""
    if not config.hf_hub_id:
        return None
    repo_id, _, revision = config.hf_hub_id.partition("@")
    filename = config.hf_hub_filename or "model.safetensors"
    if not filename.endswith(".safetensors"):  # only safetensors are read, never a pickle
        filename = "model.safetensors"
    return HubFile(repo_id, filename, revision or None)
