"""The backbones that are offered by name, and which of them this machine can use; free of torch and timm."""

from __future__ import annotations

from dataclasses import dataclass

from altub.backbones.quick_timm import import_timm
from altub.backbones.registry import FILTER_BANK, is_registered, registered_backbones

__all__ = [
    "AUTO_BACKBONE",
    "BACKBONE_PRESETS",
    "BackbonePreset",
    "backbone_titles",
    "is_known",
    "resolve_auto",
    "usual_flow_lr",
    "weights_available",
]

AUTO_BACKBONE = "resnet18.tv_in1k"  # what "auto" takes where its weights are available


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
    """Where the Hub has the weights; None where none are needed."""
    flow_lr: float | None = None
    """A flow's usual learning rate on its features, where it is not the flow's own."""


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
            flow_lr=1e-2,  # heads on 30 channels take larger steps: measured on the sample, where 1e-3 is far from done
        ),
    )
}


def backbone_titles() -> dict[str, str]:
    """Name -> title of what a list of choices offers: the presets and what was registered."""
    own = {name: known.title for name, known in registered_backbones().items() if name != FILTER_BANK}
    return {name: preset.title for name, preset in BACKBONE_PRESETS.items()} | own


def usual_flow_lr(name: str) -> float | None:
    """A flow's usual learning rate on the features of this backbone; None where it is the flow's own."""
    preset = BACKBONE_PRESETS.get(name)
    return preset.flow_lr if preset else None


def is_known(name: str) -> bool:
    """Is there a backbone of this name, whether or not its weights are here? Imports timm where it must be asked."""
    if is_registered(name) or name in BACKBONE_PRESETS:
        return True
    return import_timm().is_model(name)


def resolve_auto() -> tuple[str, str]:
    """The backbone that "auto" means on this machine, and a sentence that says why."""
    source = weights_available(AUTO_BACKBONE)
    if source is None:
        return FILTER_BANK, (
            f"No pretrained weights are available (no {AUTO_BACKBONE}.safetensors in ALTUB_WEIGHTS, none in the "
            "Hugging Face cache, and the Hub cannot be reached), so the filter bank is used, which needs none."
        )
    where = {
        "file": "lie in the folder of ALTUB_WEIGHTS",
        "cache": "are in the Hugging Face cache",
        "hub": "can be fetched from the Hugging Face Hub",
    }[source]
    return AUTO_BACKBONE, f"The pretrained weights of {AUTO_BACKBONE} {where}."


def weights_available(name: str) -> str | None:
    """Where the weights of ``name`` are: "file", "cache", "hub", or None; "none" where it needs none to be found.

    Asks the Hub at most once per process, for three seconds at most. That a file is there does not say that it is
    sound: :func:`create_backbone` checks that.

    Raises:
        ConfigError: there is no such backbone.
    """
    if is_registered(name):
        return "none"
    from altub.backbones.weights import HubFile, find_in_cache, find_in_folder, probe_hub  # torch: slow to import

    if find_in_folder(name):
        return "file"
    preset = BACKBONE_PRESETS.get(name)
    if preset and preset.hub_id:  # known without importing timm, which takes seconds
        full_name, file = preset.hub_id.split("/")[1], HubFile(preset.hub_id)
    else:
        from altub.backbones.timm import full_name_of, hub_file, timm_config

        config = timm_config(name)
        full_name, file = full_name_of(config), hub_file(config)
    if find_in_folder(full_name):
        return "file"
    if file is None:
        return None
    if find_in_cache(file):
        return "cache"
    return "hub" if not probe_hub(file) else None
