"""FrEIA as flows import it: what is needed, without SciPy's statistics, and the same for who uses more of it."""

from __future__ import annotations

from tests.test_package import answer

LOADED = """
import json, sys
from altub.inference import AnomalyDetector
print(json.dumps(["FrEIA.modules.all_in_one_block" in sys.modules, "scipy.stats" in sys.modules]))
"""
BLOCK = """
import json, torch, numpy
numpy.random.seed(0); torch.manual_seed(0)
from FrEIA.modules import AllInOneBlock, InvertibleModule
import altub.flows.freia as ours
block = AllInOneBlock([(6, 2, 2)], subnet_constructor=lambda i, o: torch.nn.Conv2d(i, o, 1), permute_soft=True)
(z,), log_det = block([torch.randn(2, 6, 2, 2)])
print(json.dumps([ours.InvertibleModule is InvertibleModule, block.w_perm.tolist(), z.tolist(), log_det.tolist()]))
"""


def test_a_process_that_loads_models_does_not_import_statistics() -> None:
    assert answer(LOADED) == [True, False]


def test_a_block_of_freia_is_the_one_that_it_is_imported_as_usual() -> None:
    quick, usual = answer("import altub.flows.freia\n" + BLOCK), answer(BLOCK)
    assert quick == usual and quick[0]
