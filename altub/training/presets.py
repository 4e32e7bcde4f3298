"""The named starting points of a training, among them the published ones."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["PRESETS", "Preset"]


class Preset(BaseModel):
    """A named starting point: a title and a sentence for people, and the settings that differ from the defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    about: str
    settings: dict[str, Any]


# How long and how fast FastFlow was trained (arXiv:2111.07677), with the variant public-fastflow of AltUB by epoch.
_PUBLISHED = {
    "epochs": 500,
    "lr": 1e-3,
    "lr_schedule": "constant",
    "map_kind": "likelihood",
    "score_kind": "map",
    "smoothing": 0.0,
    "score_share": 0.0,
    "base": {
        "base_update": "gradient",
        "interval": 5,
        "on_top": False,
        "joint": True,
        "optimizer": "adam",
        "lr": 0.05,
    },
}
_TRANSFORMER_FLOW = {"steps": 20, "hidden_ratio": 0.16, "kernels": "3x3/1x1", "norm": "none"}

# CFLOW-AD (arXiv:2107.12571): 25 x 8 epochs, soft permutations, features as they are.
_PUBLISHED_CFLOW = {
    **_PUBLISHED,
    "epochs": 200,
    "lr": 2e-4,
    "lr_schedule": "cosine",
    "lr_warmup": 16,
    "lr_final": 1e-3,
    "weight_decay": 0.0,
    "flow": {"kind": "cflow", "norm": "none", "permutation": "soft", "loss": "logsigmoid", "fibres": 256},
}

PRESETS: dict[str, Preset] = {
    "quick-look": Preset(
        title="Quick look",
        about="A first result within minutes on a CPU: the best available backbone, 256 px, 6 epochs.",
        settings={},
    ),
    "fastflow-resnet18": Preset(
        title="Paper FastFlow (resnet18)",
        about="The published FastFlow on resnet18 with AltUB: 3x3 subnets, LayerNorm with affine, 500 epochs.",
        settings={
            "backbone": "resnet18.tv_in1k",
            "stages": (1, 2, 3),
            **_PUBLISHED,
            "flow": {"kernels": "3x3", "norm": "layer-affine"},
        },
    ),
    "fastflow-wrn50": Preset(
        title="Wide (wide_resnet50_2)",
        about="The published FastFlow on wide_resnet50_2 with AltUB: the best of the CNNs; needs a GPU.",
        settings={
            "backbone": "wide_resnet50_2.racm_in1k",
            "stages": (1, 2, 3),
            **_PUBLISHED,
            "flow": {"kernels": "3x3/1x1", "norm": "layer-affine"},
        },
    ),
    "fastflow-deit": Preset(
        title="DeiT (transformer, 384 px)",
        about="The published FastFlow on DeiT features at 24 x 24 with AltUB; needs a GPU.",
        settings={
            "backbone": "deit_base_distilled_patch16_384",
            "image_size": 384,
            **_PUBLISHED,
            "flow": _TRANSFORMER_FLOW,
        },
    ),
    "fastflow-cait": Preset(
        title="CaiT (transformer, 448 px)",
        about="The published FastFlow on CaiT features at 28 x 28 with AltUB; needs a GPU with much memory.",
        settings={
            "backbone": "cait_m48_448",
            "image_size": 448,
            **_PUBLISHED,
            "flow": _TRANSFORMER_FLOW,
        },
    ),
    "cflow-resnet18": Preset(
        title="Paper CFLOW-AD (resnet18)",
        about="The published CFLOW-AD on resnet18's stages 2, 3 and 4 with AltUB: 200 epochs; needs a GPU.",
        settings={"backbone": "resnet18.tv_in1k", "stages": (2, 3, 4), **_PUBLISHED_CFLOW},
    ),
    "cflow-wrn50": Preset(
        title="Paper CFLOW-AD (wide_resnet50_2)",
        about="The published CFLOW-AD on wide_resnet50_2 with AltUB: the paper's best on images; needs a GPU.",
        settings={"backbone": "wide_resnet50_2.tv_in1k", "stages": (2, 3, 4), **_PUBLISHED_CFLOW},
    ),
}
