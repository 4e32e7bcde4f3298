from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import precision_recall_curve, roc_auc_score

from altub.evaluation.metrics import Evaluator, Metrics, aupro, f1_max, image_auroc, pixel_auroc


def brute_force_aupro(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """The definition, word for word: every threshold, every region, trapezoids up to the limit."""
    regions = []
    for i, mask in enumerate(masks):
        labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [(i, labelled == r + 1) for r in range(count)]
    normal = ~masks
    fpr, pro = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        detected = maps >= threshold
        fpr.append(float(detected[normal].mean()))
        pro.append(float(np.mean([detected[i][region].mean() for i, region in regions])))
    area = 0.0
    for x0, x1, y0, y1 in zip(fpr, fpr[1:], pro, pro[1:], strict=False):
        if x1 <= limit:
            area += (x1 - x0) * (y0 + y1) / 2
        elif x0 < limit:
            at_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            area += (limit - x0) * (y0 + at_limit) / 2
    return area / limit


def brute_force_f1_max(scores: np.ndarray, labels: np.ndarray) -> float:
    best = 0.0
    for threshold in np.unique(scores):
        predicted = scores >= threshold
        true_positives = np.sum(predicted & labels)
        best = max(best, 2 * true_positives / (np.sum(predicted) + np.sum(labels)))
    return float(best)


def random_case(seed: int, levels: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Maps (5, 16, 20) with a weak signal, and masks of one or more blobs; ``levels`` rounds to force
    ties."""
    rng = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(rng.normal(size=(5, 16, 20)), (0, 2, 2)) > 0.12
    masks[0] = False
    maps = rng.normal(size=masks.shape) + masks * rng.uniform(0.2, 2.0)
    if levels:
        maps = np.round(maps * levels) / levels
    return maps.astype(np.float32), masks


CASES = [(seed, levels) for seed in range(4) for levels in (None, 4, 1)]


@pytest.mark.parametrize(("seed", "levels"), CASES)
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_aupro_equals_brute_force(seed: int, levels: int | None, limit: float) -> None:
    maps, masks = random_case(seed, levels)
    assert aupro(maps, masks, limit) == pytest.approx(brute_force_aupro(maps, masks, limit), abs=1e-10)


@pytest.mark.parametrize(("seed", "levels"), CASES)
def test_pixel_auroc_and_f1_equal_scikit_learn(seed: int, levels: int | None) -> None:
    maps, masks = random_case(seed, levels)
    assert pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-12)
    precision, recall, _ = precision_recall_curve(masks.ravel(), maps.ravel())
    with np.errstate(invalid="ignore"):
        expected = np.nanmax(2 * precision * recall / (precision + recall))
    value, threshold = f1_max(maps, masks)
    assert value == pytest.approx(expected, abs=1e-12)
    assert value == pytest.approx(brute_force_f1_max(maps.ravel(), masks.ravel()), abs=1e-12)
    predicted = maps >= threshold  # the threshold belongs to the value
    assert 2 * (predicted & masks).sum() / (predicted.sum() + masks.sum()) == pytest.approx(value, abs=1e-12)


def test_hand_computed_case() -> None:
    # Six normal pixels and two regions: one pixel (score 5), and two pixels (scores 4 and 1) that touch at a
    # corner.
    maps = np.array([[[5, 0, 3], [0, 0, 4], [2, 1, 0]]], dtype=np.float32)
    masks = np.array([[[1, 0, 0], [0, 0, 1], [0, 1, 0]]], dtype=bool)
    # PRO over FPR: (0, .5) after 5, (0, .75) after 4, (1/6, .75) after 3, (2/6, .75) after 2, (2/6, 1) after
    # 1.
    assert aupro(maps, masks, 0.3) == pytest.approx(0.75)
    assert aupro(maps, masks, 1.0) == pytest.approx(0.75 / 3 + 2 / 3)
    # Pairs won: 6 + 6 + 4 of 18.
    assert pixel_auroc(maps, masks) == pytest.approx(16 / 18)
    # Threshold 1 finds 3 of 3 with 2 false positives (F1 .75); threshold 4 finds 2 of 3 with none (F1 .8).
    assert f1_max(maps, masks) == (pytest.approx(0.8), 4.0)


def test_limit_on_a_tied_step_is_interpolated() -> None:
    # One threshold takes the defect and half of the normal pixels: the curve is the line from (0, 0) to (0.5,
    # 1).
    maps = np.array([[[1, 1, 0]]], dtype=np.float32)
    masks = np.array([[[1, 0, 0]]], dtype=bool)
    assert aupro(maps, masks, 0.3) == pytest.approx((0.3 * 0.6 / 2) / 0.3)


@pytest.mark.parametrize("sign", [1, -1])
def test_perfect_and_inverted_maps(sign: int) -> None:
    _, masks = random_case(0, None)
    maps = sign * masks.astype(np.float32)
    expected = 1.0 if sign > 0 else 0.0
    assert pixel_auroc(maps, masks) == expected
    assert aupro(maps, masks) == pytest.approx(expected, abs=1e-12)
    assert aupro(maps, masks) <= 1.0
    if sign > 0:
        assert f1_max(maps, masks) == (1.0, 1.0)


def test_constant_maps_are_chance() -> None:
    _, masks = random_case(1, None)
    maps = np.full(masks.shape, 0.25, dtype=np.float32)
    assert pixel_auroc(maps, masks) == 0.5
    assert aupro(maps, masks, 0.3) == pytest.approx(0.15)  # the diagonal: 0.3 / 2
    share = masks.mean()
    assert f1_max(maps, masks)[0] == pytest.approx(2 * share / (1 + share))


def test_invariant_under_monotone_transforms() -> None:
    maps, masks = random_case(2, 4)
    labels, scores = masks.any((1, 2)), maps.max((1, 2))
    evaluator = Evaluator(labels, list(masks))
    raw = evaluator(maps, scores)
    bent = evaluator(np.exp(maps.astype(np.float64)) - 7, scores**3)
    assert raw == bent
    assert raw != evaluator(-maps, scores)


def test_evaluator_equals_single_functions_and_can_be_reused() -> None:
    evaluators, first = {}, {}
    for seed in (0, 3):
        maps, masks = random_case(seed, 4)
        labels, scores = masks.any((1, 2)), maps.mean((1, 2))
        assert 0 < labels.sum() < len(labels)
        evaluators[seed] = Evaluator(labels, [m if bad else None for m, bad in zip(masks, labels, strict=True)])
        result = first[seed] = evaluators[seed](maps, scores)
        assert result.image_auroc == pytest.approx(roc_auc_score(labels, scores))
        assert result.image_auroc == image_auroc(scores, labels)
        assert result.pixel_auroc == pixel_auroc(maps, masks)
        assert result.aupro == pytest.approx(aupro(maps, masks, 0.3))
        assert result.f1_max == f1_max(maps, masks)[0]
        assert result.image_f1_max == f1_max(scores, labels)[0]
        assert list(result.as_dict()) == list(Metrics.model_fields)
    maps, masks = random_case(0, 4)
    before = maps.copy()
    assert evaluators[0](maps, maps.mean((1, 2))) == first[0]
    assert np.array_equal(maps, before)


def test_defective_images_without_mask_are_left_out_of_pixel_metrics() -> None:
    maps, masks = random_case(3, None)
    labels, scores = masks.any((1, 2)), maps.max((1, 2))
    dropped = int(np.flatnonzero(labels)[0])
    some = [None if i == dropped else mask for i, mask in enumerate(masks)]
    keep = np.arange(len(masks)) != dropped
    result = Evaluator(labels, some)(maps, scores)
    assert result.pixel_auroc == pixel_auroc(maps[keep], masks[keep])
    assert result.aupro == pytest.approx(aupro(maps[keep], masks[keep]))
    assert result.f1_max == f1_max(maps[keep], masks[keep])[0]
    assert result.image_auroc == pytest.approx(roc_auc_score(labels, scores))


def test_good_image_counts_as_all_normal_whatever_its_mask() -> None:
    maps, masks = random_case(0, None)
    labels = masks.any((1, 2))
    odd = list(masks)
    odd[0] = np.ones_like(masks[0])
    assert not labels[0]
    scores = maps.max((1, 2))
    assert Evaluator(labels, odd)(maps, scores) == Evaluator(labels, list(masks))(maps, scores)


def test_what_cannot_be_computed_is_none() -> None:
    maps, masks = random_case(0, None)
    scores = maps.max((1, 2))
    labels = masks.any((1, 2))
    n = len(maps)

    no_masks = Evaluator(labels, [None] * n)(maps, scores)
    assert no_masks.image_auroc is not None and no_masks.image_f1_max is not None
    assert (no_masks.pixel_auroc, no_masks.aupro, no_masks.f1_max) == (None, None, None)

    only_good = Evaluator([False] * n, [None] * n)(maps, scores)
    assert set(only_good.as_dict().values()) == {None}

    only_bad = Evaluator([True] * 4, list(masks[1:]))(maps[1:], scores[1:])
    assert (only_bad.image_auroc, only_bad.image_f1_max) == (None, None)
    assert only_bad.pixel_auroc == pixel_auroc(maps[1:], masks[1:])

    empty_masks = Evaluator([True, False], [np.zeros((16, 20), bool)] * 2)(maps[:2], scores[:2])
    assert empty_masks.pixel_auroc is None and empty_masks.image_auroc is not None

    assert set(Evaluator([], [])(maps[:0], scores[:0]).as_dict().values()) == {None}
    assert aupro(maps, np.zeros_like(masks)) is None
    assert aupro(maps, np.ones_like(masks)) is None
    assert pixel_auroc(maps, np.zeros_like(masks)) is None
    assert image_auroc([1.0, 2.0], [True, True]) is None
    with pytest.raises(ValueError, match="defective"):
        f1_max(np.array([1.0]), np.array([False]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_values_are_refused(bad: float) -> None:
    maps, masks = random_case(0, None)
    labels, scores = masks.any((1, 2)), maps.max((1, 2))
    evaluator = Evaluator(labels, list(masks))
    broken = maps.copy()
    broken[1, 2, 3] = bad
    with pytest.raises(ValueError, match=r"1 of 1600 anomaly maps are NaN or infinite"):
        evaluator(broken, scores)
    with pytest.raises(ValueError, match="image scores"):
        evaluator(maps, np.where(np.arange(5) == 2, bad, scores))
    with pytest.raises(ValueError, match="NaN or infinite"):
        aupro(broken, masks)


def test_shapes_that_do_not_fit_are_refused() -> None:
    maps, masks = random_case(0, None)
    labels, scores = masks.any((1, 2)), maps.max((1, 2))
    evaluator = Evaluator(labels, list(masks))
    with pytest.raises(ValueError, match="maps"):
        evaluator(maps[:4], scores)
    with pytest.raises(ValueError, match="scores"):
        evaluator(maps, scores[:4])
    with pytest.raises(ValueError, match="do not fit masks"):
        evaluator(maps[:, :8], scores)
    with pytest.raises(ValueError, match="one label and one mask"):
        Evaluator(labels, list(masks[:3]))
    with pytest.raises(ValueError, match="one size"):
        Evaluator([True, True], [masks[1], masks[2][:8]])
    with pytest.raises(ValueError, match="fpr_limit"):
        aupro(maps, masks, 0.0)
