"""The kinds of flow there are: what each is called, how it is usually trained, and which class its heads have.

Free of torch: a built-in head is named as "module:Class" and imported when the first one is made, so that settings can
be checked and forms drawn without loading it.

A kind of your own is registered once per process, before a training is configured or a model is loaded:

    register_flow("mine", MyHead, title="My flow", settings=("steps", "hidden_ratio"))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from altub.errors import ConfigError

if TYPE_CHECKING:
    from altub.flows.config import FlowConfig
    from altub.flows.head import FlowHead

__all__ = [
    "DEFAULT_FLOW",
    "FlowInfo",
    "Paper",
    "create_head",
    "find_flow",
    "flow_names",
    "flow_title",
    "flows_with",
    "get_flow",
    "register_flow",
]

DEFAULT_FLOW = "fastflow"
ALWAYS_USED = frozenset({"kind", "norm", "position_weight", "position_rank", "options"})  # no matter which head
USUAL_LR = 1e-3  # where a kind does not say
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Paper:
    """Where a flow was published."""

    arxiv: str
    """Number on arXiv, such as "2111.07677"."""

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv}"


@dataclass(frozen=True)
class FlowInfo:
    """What is known about one kind of flow; see :func:`register_flow` for the fields."""

    name: str
    head: type[FlowHead] | str
    title: str
    about: str = ""
    paper: Paper | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    usual_lr: float = USUAL_LR
    settings: frozenset[str] = frozenset()
    check: Callable[[FlowConfig], None] | None = None

    @property
    def label(self) -> str:
        """Title and what it is about, for a list of choices."""
        return f"{self.title}: {self.about}" if self.about else self.title

    def uses(self, setting: str) -> bool:
        """Does this field of :class:`FlowConfig` matter to such a flow?"""
        return setting in ALWAYS_USED or setting in self.settings

    def head_class(self) -> type[FlowHead]:
        """The class of the heads; imports the built-in ones."""
        if isinstance(self.head, str):
            module, _, name = self.head.partition(":")
            return getattr(import_module(module), name)
        return self.head


_flows: dict[str, FlowInfo] = {}


def register_flow(
    name: str,
    head: type[FlowHead] | str,
    *,
    title: str | None = None,
    about: str = "",
    paper: Paper | str | None = None,
    defaults: Mapping[str, Any] = _NOTHING,
    training: Mapping[str, Any] = _NOTHING,
    usual_lr: float = USUAL_LR,
    settings: tuple[str, ...] = (),
    check: Callable[[FlowConfig], None] | None = None,
    replace: bool = False,
) -> FlowInfo:
    """Makes a kind of flow known to configurations, trainings and saved models.

    Args:
        name: what `FlowConfig.kind` says: lower-case letters, digits, ".", "_" and "-".
        head: a subclass of :class:`~altub.flows.head.FlowHead`, or where it is, as "package.module:Class".
        title: what people read; default the name.
        about: a few words behind the title in a list of choices.
        paper: number on arXiv.
        defaults: values of `FlowConfig` that differ from its own defaults for this kind.
        training: settings of a training that start from other values for this kind, such as {"epochs": 6}.
        usual_lr: Adam's learning rate where a training does not say one.
        settings: fields of `FlowConfig` that the head reads. "norm" and "options" always count.
        check: called with a complete configuration of this kind; raises ValueError where settings contradict.
        replace: needed to register a name a second time with another class.

    Raises:
        ConfigError: the name is not usable or taken, or `head` is no FlowHead.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a flow: use up to 64 lower-case letters, digits, dots, dashes and "
            "underscores, beginning with a letter or a digit."
        )
    known = _flows.get(name)
    if known is not None and known.head is not head and not replace:
        raise ConfigError(f"There is a flow {name!r} already: choose another name, or pass replace=True.")
    if not isinstance(head, str):
        from altub.flows.head import FlowHead

        if not (isinstance(head, type) and issubclass(head, FlowHead)):
            raise ConfigError(f"{head!r} is no flow head: derive a class from altub.flows.FlowHead.")
    info = FlowInfo(
        name=name,
        head=head,
        title=title or name,
        about=about,
        paper=Paper(paper) if isinstance(paper, str) else paper,
        defaults=dict(defaults),
        training=dict(training),
        usual_lr=usual_lr,
        settings=frozenset(settings),
        check=check,
    )
    _flows[name] = info
    return info


def flow_names() -> tuple[str, ...]:
    """The registered kinds, the built-in ones first."""
    return tuple(_flows)


def find_flow(name: str) -> FlowInfo | None:
    """What is known about a kind; None where it is not registered."""
    return _flows.get(name)


def get_flow(name: str) -> FlowInfo:
    """What is known about a kind.

    Raises:
        ConfigError: it is not registered.
    """
    info = _flows.get(name)
    if info is None:
        raise ConfigError(
            f"There is no flow {name!r} here: choose one of {', '.join(_flows)}, or register your own with "
            "altub.flows.register_flow before it is used."
        )
    return info


def flow_title(name: str) -> str:
    """What people read; the name itself where the kind is not registered."""
    info = _flows.get(name)
    return info.title if info else name


def flows_with(setting: str) -> tuple[str, ...]:
    """The kinds that read a setting of `FlowConfig`."""
    return tuple(name for name, info in _flows.items() if info.uses(setting))


def create_head(config: FlowConfig, shape: tuple[int, int, int]) -> FlowHead:
    """A fresh head of the kind that `config` names, for feature maps of the shape (C, H, W)."""
    return get_flow(config.kind).head_class()(config, shape)


# ------------------------------------------------------------------------------------------------ built-in


def _check_fastflow(config: FlowConfig) -> None:
    if (config.permutation, config.loss) != ("hard", "nll"):
        raise ValueError("fastflow has hard permutations and the nll loss; others are for cflow")


def _check_cflow(config: FlowConfig) -> None:
    if config.norm == "layer-affine":
        raise ValueError("layer-affine trains with whole maps, but cflow sees single positions: take another norm")


register_flow(
    "fastflow",
    "altub.flows.fastflow:FastFlowHead",
    title="FastFlow",
    about="whole maps",
    paper="2111.07677",
    usual_lr=5e-4,  # measured; published is 1e-3
    settings=("steps", "hidden_ratio", "coupling", "clamp", "kernels", "position_code"),
    check=_check_fastflow,
)
register_flow(
    "cflow",
    "altub.flows.cflow:CFlowHead",
    title="CFLOW-AD",
    about="position by position",
    paper="2107.12571",
    defaults={"hidden_ratio": 2.0, "clamp": 1.9},  # where the published architecture differs from FastFlow's
    usual_lr=1e-3,  # measured; published is 2e-4
    settings=("steps", "hidden_ratio", "coupling", "clamp", "condition", "permutation", "loss", "fibres"),
    check=_check_cflow,
)
