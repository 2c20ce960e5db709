"""Scales, spans and ranges: what the audit found, and what a run's losses add to it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tsdiag.diagnostics.diagnose import answer
from tsdiag.diagnostics.findings import Clear, NotMeasured
from tsdiag.diagnostics.rules.bounded_output import RULE as BOUNDED_OUTPUT
from tsdiag.diagnostics.rules.distribution_shift import RULE as DISTRIBUTION_SHIFT
from tsdiag.diagnostics.rules.rule import Plan
from tsdiag.diagnostics.rules.unscaled_inputs import RULE as UNSCALED_INPUTS
from tsdiag.diagnostics.rules.unscaled_target import RULE as UNSCALED_TARGET

sys.path.insert(0, str(Path(__file__).parent))
from data_cases import CONFIG, FACTS, audited, case, edits_fit, foreign, record


@pytest.mark.parametrize(
    ("columns", "observed", "score"),
    [
        ({"largest_scale_ratio": 1e4}, 1e4, 1.0),
        ({"largest_scale_ratio": 25.0}, 25.0, 0.54),
        ({"largest_scale_ratio": 4.0, "largest_offset": 300.0}, 300.0, 1.0),
    ],
)
def test_unscaled_inputs(columns, observed, score):
    off = {"data.scale_inputs": False}
    found = answer(UNSCALED_INPUTS, case(off, audited("columns", **columns)))
    assert found.score == pytest.approx(score, abs=0.01)
    assert observed in [item.observed for item in found.evidence]
    assert [remedy.set for remedy in found.remedies] == [
        {"data.scale_inputs": True},
        {"model.window_norm": "revin"},
    ]
    assert edits_fit(found, off)


@pytest.mark.parametrize("edit", [{}, {"data.scale_inputs": False, "model.window_norm": "revin"}])
def test_whoever_scales_anywhere_has_scaled_inputs(edit):
    audit = audited("columns", largest_scale_ratio=1e4)
    assert answer(UNSCALED_INPUTS, case(edit, audit)) == Clear()


def test_alike_units_need_no_scaling():
    audit = audited("columns", largest_scale_ratio=10.0, largest_offset=10.0)
    assert answer(UNSCALED_INPUTS, case({"data.scale_inputs": False}, audit)) == Clear()


@pytest.mark.parametrize(
    ("target", "observed"),
    [
        ({"standard_deviation": 1e4}, 1e4),
        ({"standard_deviation": 1e-4}, 1e-4),
        ({"mean": -3000.0, "standard_deviation": 4.0}, 3000.0),
    ],
)
def test_unscaled_target(target, observed):
    off = {"data.scale_target": False}
    found = answer(UNSCALED_TARGET, case(off, audited("target", **target)))
    assert found.score == 1.0
    assert found.evidence[0].observed == pytest.approx(observed, rel=1e-3)
    assert found.evidence[1].signal == "validation_loss_ratio"
    assert found.remedies[0].set == {"data.scale_target": True}
    assert edits_fit(found, off)


@pytest.mark.parametrize("spread", [0.3, 3.0, 30.0])
def test_a_target_of_about_size_one_needs_no_scaling(spread):
    audit = audited("target", standard_deviation=spread)
    assert answer(UNSCALED_TARGET, case({"data.scale_target": False}, audit)) == Clear()


def test_plans_are_warned_of():
    def told(rule, **edits):
        config = CONFIG.edits({path.replace("__", "."): value for path, value in edits.items()})
        return rule.warn(Plan(config.paths(), FACTS))

    assert told(UNSCALED_INPUTS) is None
    assert "data.scale_inputs" in told(UNSCALED_INPUTS, data__scale_inputs=False)
    assert told(UNSCALED_INPUTS, data__scale_inputs=False, model__window_norm="revin") is None
    assert told(UNSCALED_TARGET) is None
    assert "data.scale_target" in told(UNSCALED_TARGET, data__scale_target=False)


GAP = {"validation_loss": [2.4, 0.4, 0.3, 0.2], "undropped_train_loss": [2.6, 0.1, 0.06, 0.04]}


@pytest.mark.parametrize(
    ("target", "signal", "words"),
    [
        ({"validation_mean_shift": 1.5}, "move of the target's mean", "target's mean moves"),
        ({"validation_std_ratio": 0.2}, "change of the target's deviation, log", "0.2 times"),
        ({"validation_std_ratio": 0.0}, "change of the target's deviation, log", "0 times"),
        ({"input_shift": 3.0}, "move of a column's mean", '"level" moves by 3.0'),
    ],
)
def test_distribution_shift(target, signal, words):
    levels = {"data.transform": "none"}
    found = answer(DISTRIBUTION_SHIFT, case(levels, audited("target", **target), **GAP))
    assert [item.signal for item in found.evidence[:-2]] == [signal]
    assert found.evidence[-2].observed == pytest.approx(5)
    assert words in found.summary
    assert [remedy.set for remedy in found.remedies] == [
        {"data.transform": "difference"},
        {"data.transform": "difference", "model.window_norm": "revin"},
    ]
    assert edits_fit(found, levels)


def test_of_changes_the_windows_are_normalised():
    found = answer(DISTRIBUTION_SHIFT, case({}, audited("target", input_shift=3.0), **GAP))
    assert [remedy.set for remedy in found.remedies] == [{"model.window_norm": "revin"}]
    done = {"model.window_norm": "revin"}
    found = answer(DISTRIBUTION_SHIFT, case(done, audited("target", input_shift=3.0), **GAP))
    assert found.remedies == ()


def test_overfitting_is_no_shift():
    """The gap alone, on spans that look alike."""
    assert answer(DISTRIBUTION_SHIFT, case(**GAP)) == Clear()


def test_a_shift_that_costs_nothing_is_none():
    assert answer(DISTRIBUTION_SHIFT, case({}, audited("target", input_shift=3.0))) == Clear()


def test_who_follows_nothing_is_not_off_by_a_level():
    audit = audited("target", validation_mean_shift=1.5)
    lost = {"prediction_correlation": [0.0, 0.1, 0.1, 0.1]}
    assert answer(DISTRIBUTION_SHIFT, case({}, audit, **GAP, **lost)) == Clear()


def test_healthy_siblings_with_a_gap_move_its_limit():
    audit = audited("target", input_shift=3.0)
    sibling = record(**GAP)  # its gap of 5 allows 7.5
    assert answer(DISTRIBUTION_SHIFT, case({}, audit, healthy=(sibling,), **GAP)) == Clear()


BOUNDS = {
    "tanh": {
        "unreached_share": [0.3] * 4,
        "prediction_variance_ratio": [0.5] * 4,
        "prediction_range_share": [0.3] * 4,
    },
    "relu": {
        "unreached_share": [0.5] * 4,
        "prediction_variance_ratio": [0.3] * 4,
        "prediction_range_share": [0.5] * 4,
    },
}


@pytest.mark.parametrize("bound", sorted(BOUNDS))
def test_bounded_output(bound):
    found = answer(BOUNDED_OUTPUT, foreign(**BOUNDS[bound]))
    assert found.score > 0.75
    assert found.evidence[0].observed > 0.25
    assert found.evidence[0].reference == 0.15
    assert found.remedies == ()


def test_bounded_outputs_are_what_these_numbers_say():
    """The numbers above, made: perfect predictions of a Gaussian target behind a bound."""
    targets = np.random.default_rng(0).standard_normal(1000)
    for bound, name in ((np.tanh(targets), "tanh"), (np.maximum(targets, 0), "relu")):
        outside = ((targets < bound.min()) | (targets > bound.max())).mean()
        assert outside == pytest.approx(BOUNDS[name]["unreached_share"][0], abs=0.05)
        covered = np.ptp(bound) / np.ptp(targets)
        assert covered == pytest.approx(BOUNDS[name]["prediction_range_share"][0], abs=0.07)


@pytest.mark.parametrize(
    "signals",
    [
        # Has learned little: near the mean, as a bell of its width.
        {
            "unreached_share": [0.32] * 4,
            "prediction_variance_ratio": [0.11] * 4,
            "prediction_range_share": [0.33] * 4,
            "prediction_correlation": [0.45] * 4,
        },
        # Follows nothing.
        {**BOUNDS["tanh"], "prediction_correlation": [0.1] * 4},
        # Off by a level: the range is as wide as the targets', and elsewhere.
        {**BOUNDS["tanh"], "prediction_range_share": [0.95] * 4},
    ],
)
def test_what_only_looks_bounded(signals):
    assert answer(BOUNDED_OUTPUT, foreign(**signals)) == Clear()


@pytest.mark.parametrize("bound", sorted(BOUNDS))
def test_a_linear_last_layer_bounds_nothing_whatever_its_numbers(bound):
    found = answer(BOUNDED_OUTPUT, case(**BOUNDS[bound]))
    assert isinstance(found, NotMeasured)
    assert "linear" in found.why
