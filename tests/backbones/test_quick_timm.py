"""timm without PyTorch's compiler: what a process imports for a backbone, and that nobody misses anything."""

from __future__ import annotations

from tests.test_package import answer

BUILT = """
import json, sys
from altub.backbones.sketch import sketch_backbone
sketch_backbone("resnet18", None, 128)
print(json.dumps(["torchvision" in sys.modules, "torch._dynamo" in sys.modules]))
"""
ASKED = """
import json, torch
from torchvision.ops import roi_align
torch.manual_seed(0)
maps, boxes = torch.randn(1, 2, 8, 8), torch.tensor([[0.0, 0.5, 0.5, 6.0, 7.0]])
with torch.no_grad():
    usual = roi_align(maps, boxes, 3, sampling_ratio=2)
    torch.use_deterministic_algorithms(True)
    asked = roi_align(maps.requires_grad_(), boxes, 3, sampling_ratio=2)
from altub.backbones.quick_timm import is_compile_supported
from torch._dynamo import utils
print(json.dumps([usual.tolist(), asked.tolist(), is_compile_supported("cpu") == utils.is_compile_supported("cpu")]))
"""


def test_a_backbone_is_built_without_the_compiler() -> None:
    assert answer(BUILT) == [True, False]


def test_who_asks_gets_the_same_answer() -> None:
    quick = answer("from altub.backbones.quick_timm import import_timm\nimport_timm()\n" + ASKED)
    assert quick == answer(ASKED) and quick[2]


def test_what_must_not_be_compiled_is_not() -> None:
    code = """
import json, sys, torch
from altub.backbones.quick_timm import disable_compiler
function = disable_compiler(lambda x: (x + 1, torch.compiler.is_compiling()))
before = [function(1)[0], "torch._dynamo" in sys.modules]
compiled = torch.compile(lambda x: function(x * 2), backend="eager")
value, is_compiling = compiled(torch.ones(2))
print(json.dumps([before, value.tolist(), is_compiling]))
"""
    assert answer(code) == [[2, False], [3.0, 3.0], False]
