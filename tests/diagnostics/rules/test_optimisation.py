"""Causes in how the steps are taken: each fires on its numbers, and not on those beside it."""

from __future__ import annotations

import numpy as np
import pytest

from tsdiag.config import RunConfig
from tsdiag.diagnostics.case import Case, Facts, Record
from tsdiag.diagnostics.diagnose import answer
from tsdiag.diagnostics.findings import Clear, Finding, NotMeasured, RunScores
from tsdiag.diagnostics.rules.clipping_saturated import RULE as CLIPPING_SATURATED
from tsdiag.diagnostics.rules.dropout_too_strong import RULE as DROPOUT_TOO_STRONG
from tsdiag.diagnostics.rules.gradient_noise_dominates import RULE as GRADIENT_NOISE_DOMINATES
from tsdiag.diagnostics.rules.late_plateau import RULE as LATE_PLATEAU
from tsdiag.diagnostics.rules.learning_rate_too_high import RULE as LEARNING_RATE_TOO_HIGH
from tsdiag.diagnostics.rules.learning_rate_too_low import RULE as LEARNING_RATE_TOO_LOW
from tsdiag.diagnostics.rules.missing_warmup import RULE as MISSING_WARMUP
from tsdiag.diagnostics.rules.overfitting import RULE as OVERFITTING
from tsdiag.diagnostics.rules.poor_initialization import RULE as POOR_INITIALIZATION
from tsdiag.diagnostics.rules.rule import HEADINGS, Plan
from tsdiag.diagnostics.rules.schedule_decayed_early import RULE as SCHEDULE_DECAYED_EARLY
from tsdiag.diagnostics.rules.weight_decay_too_strong import RULE as WEIGHT_DECAY_TOO_STRONG
from tsdiag.diagnostics.signals import Signal, Trace
from tsdiag.diagnostics.states import Standing
from tsdiag.models import preset

CONFIG = preset(RunConfig(), "transformer", "default").edits({"training.max_steps": 400})
LSTM = preset(RunConfig(), "lstm", "small").edits({"training.max_steps": 400})
FACTS = Facts(context_length=48, channels=10, train_windows=4000)
REACHED = RunScores(validation_loss=0.7, floors={"train_mean": 0.7, "ridge": 0.15}, baseline=0.18)
# Curves over the 400 steps, evenly spaced from the first step on; names may hold a place.
HEALTHY = {
    "validation_loss": (2.4, 0.6, 0.3, 0.21, 0.19),
    "validation_loss_ratio": (3.4, 0.9, 0.45, 0.3, 0.27),
    "train_loss": (2.9, 0.7, 0.35, 0.26, 0.2),
    "undropped_train_loss": (2.5, 0.6, 0.3, 0.2, 0.15),
    "fixed_batch_loss": (1.2, 1.4, 0.4, 0.25, 0.22),
    "prediction_variance_ratio": (2.0, 0.5, 0.8, 0.85, 0.87),
    "prediction_correlation": (0.0, 0.5, 0.75, 0.82, 0.85),
    "learning_rate": (3e-4, 3e-3, 2e-3, 1e-3, 2e-4),
    "gradient_norm": (23.0, 9.0, 5.0, 4.0, 4.0),
    "clipped": (1.0, 1.0, 1.0, 1.0, 1.0),
    "global_update_ratio": (4e-4, 3e-3, 2e-3, 1e-3, 2e-4),
    "rate_ratio": (1.0,),
    "gradient_square": (3.0, 2.0, 1.0, 1.0, 1.0),
    "gradient_covariance_trace": (90.0, 60.0, 40.0, 30.0, 30.0),
    "block_gradient_norm@blocks.0": (2.0, 1.0, 1.0, 0.9, 1.0),
    "block_gradient_norm@blocks.1": (1.9, 1.2, 1.0, 1.0, 1.0),
    "weight_norm@head.weight": (5.0, 5.0, 5.1, 5.1, 5.1),
    "weight_norm@head.bias": (0.0, 0.1, 0.1, 0.1, 0.1),
    "decay_share@head.weight": (0.01, 0.01, 0.01, 0.01, 0.01),
}
STUCK = {
    "validation_loss": (2.4, 0.75, 0.71, 0.7, 0.7),
    "validation_loss_ratio": (3.4, 1.07, 1.01, 1.0, 1.0),
}


def made(curves=None, edits=None, *, config=CONFIG, healthy=(), scores=REACHED):
    """Return a healthy run but for the curves and settings given; None leaves a curve out."""
    config = config.edits(edits or {})
    curves = HEALTHY | (curves or {})
    trace = Trace(tuple(curve(n, c) for n, c in curves.items() if c is not None), "completed")
    return Case(
        Record(config.paths(), trace), FACTS, Standing("stalled", "", scores), healthy=healthy
    )


def curve(name, values):
    steps = np.linspace(0, 399, len(values)).round()
    name, _, where = name.partition("@")
    return Signal(name, where, "unit", steps.astype(np.float32), np.array(values, np.float32))


SLOW = {"global_update_ratio": (2e-5, 3e-4, 2e-4, 1e-4, 1e-5), "rate_ratio": (0.003,)}
JUMPING = {
    "global_update_ratio": (0.04, 0.09, 0.02, 0.02, 5e-4),
    "fixed_batch_loss": (1.2, 15.0, 1, 1, 1),
}
POST = {"model.norm": "post", "optimizer.warmup_fraction": 0.0}
FIRST_STEPS = {
    "global_update_ratio": (0.017, 1e-3, 1e-3, 1e-3, 5e-4),
    "block_gradient_norm@blocks.0": (2.0, 0.2, 0.05, 0.03, 0.05),
}
SGD = {"optimizer.name": "sgd", "optimizer.clip_norm": 1e-3}
CUT = {
    "learning_rate": (3e-3, 3e-3, 1e-5, 1e-5, 1e-5),
    "validation_loss": (2.4, 0.9, 0.71, 0.7, 0.7),
}
SHRINKING = {
    "weight_norm@head.weight": (5.0, 1.0, 0.1, 0.05, 0.05),
    "decay_share@head.weight": (1.1, 1.5, 1.8, 1.8, 1.8),
}
BLOOMING = {
    "validation_loss": (0.83, 0.70, 0.69, 0.60, 0.54),
    "validation_loss_ratio": (1.18, 1, 1, 0.8, 0.7),
}
NOISY = {"gradient_square": (1.0,) * 5, "gradient_covariance_trace": (30.0,) * 5}
FLAT = {"prediction_variance_ratio": (2.0, 1e-3, 1e-5, 1e-5, 1e-5)}
BY_HEART = {
    "undropped_train_loss": (2.5, 0.1, 0.01, 0.001, 0.001),
    "validation_loss": (2.4, 0.9, 0.7, 0.64, 0.62),
}

# Rule, curves, settings, and what the summary must tell.
FIRES = [
    (LEARNING_RATE_TOO_LOW, SLOW, {"optimizer.lr": 1e-4}, "333 times the rate of 0.0001"),
    (LEARNING_RATE_TOO_HIGH, JUMPING, {"optimizer.lr": 0.3}, "12 times its start"),
    (MISSING_WARMUP, FIRST_STEPS, POST, "17 times the usual"),
    (SCHEDULE_DECAYED_EARLY, CUT, {}, "fallen by 21 %"),
    (CLIPPING_SATURATED, {}, SGD, "clip of 0.001 was active in 100 %"),
    (POOR_INITIALIZATION, {"prediction_variance_ratio": (60.0, 9, 3, 1, 1)}, {}, "42 times"),
    (
        POOR_INITIALIZATION,
        {"weight_norm@head.weight": (0.0,) * 5},
        {"model.init_scale": 0.0},
        "100 % of the weight tensors",
    ),
    (GRADIENT_NOISE_DOMINATES, NOISY, {"training.batch_size": 2}, "about 30 windows"),
    (
        GRADIENT_NOISE_DOMINATES,
        {"gradient_square": (-1.0,) * 5},
        {"training.batch_size": 2},
        "more than was measurable",
    ),
    (WEIGHT_DECAY_TOO_STRONG, SHRINKING, {"optimizer.weight_decay": 100.0}, "to 1 % of"),
    (LATE_PLATEAU, BLOOMING, {}, "to 0.54 in the later half"),
    (DROPOUT_TOO_STRONG, {"train_loss": (50.0, 2, 1, 1, 1)}, {"model.dropout": 0.9}, "20.0 times"),
    (
        DROPOUT_TOO_STRONG,
        {"train_loss": (3.0, 1, 0.6, 0.6, 0.6)},
        {"model.dropout": 0.5},
        "2.8 times",
    ),
    (
        DROPOUT_TOO_STRONG,
        FLAT,
        {"model.dropout": 0.9},
        "hardly vary",
    ),
    (
        OVERFITTING,
        BY_HEART | {"prediction_correlation": (0.0, 0.3, 0.4, 0.5, 0.5)},
        {},
        "620 times",
    ),
]
RULES = sorted({rule.cause: rule for rule, *_ in FIRES}.values(), key=lambda rule: rule.cause)


def ids(rows):
    return [rows[i][0].cause + str(i) for i in range(len(rows))]


@pytest.mark.parametrize(("rule", "curves", "edits", "told"), FIRES, ids=ids(FIRES))
def test_fires_with_its_numbers(rule, curves, edits, told):
    found = answer(rule, made(curves, edits))
    assert isinstance(found, Finding)
    assert found.cause == rule.cause
    assert told in found.summary
    assert len(found.summary) < 150
    assert 0.5 <= found.score <= 1
    assert found.evidence[0].reference is not None


@pytest.mark.parametrize(("rule", "curves", "edits", "told"), FIRES, ids=ids(FIRES))
def test_remedies_are_edits_of_the_configuration(rule, curves, edits, told):
    case = made(curves, edits)
    found = answer(rule, case)
    before = CONFIG.edits(edits)
    assert found.remedies
    for remedy in found.remedies:
        assert before.edits(remedy.set) != before
        assert remedy.expects
        assert remedy.safety
        assert remedy.source


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.cause)
def test_healthy_numbers_are_clear(rule):
    assert isinstance(answer(rule, made()), Clear)
    assert isinstance(answer(rule, made(edits={"optimizer.clip_norm": 0.0})), Clear)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.cause)
def test_says_what_was_not_measured(rule):
    for name in rule.needs:
        gone = {place: None for place in HEALTHY if place.split("@")[0] == name}
        found = answer(rule, made(gone))
        assert isinstance(found, NotMeasured)
        assert rule.needs[name] in found.why
        assert found.why


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.cause)
def test_the_page_has_its_headings(rule):
    paragraphs = rule.page.strip().split("\n\n")[1:]
    assert tuple(p.partition(":")[0] for p in paragraphs) == HEADINGS


# What looks alike: rule, curves, settings.
ALIKE = [
    # Room above the rate, yet the weights went far; a short way without room.
    (LEARNING_RATE_TOO_LOW, {"rate_ratio": (0.05,)}, {}),
    (LEARNING_RATE_TOO_LOW, {"global_update_ratio": SLOW["global_update_ratio"]}, {}),
    # Long steps that did no harm; a loss that jumps in steps of the usual length.
    (LEARNING_RATE_TOO_HIGH, {"global_update_ratio": JUMPING["global_update_ratio"]}, {}),
    (LEARNING_RATE_TOO_HIGH, {"fixed_batch_loss": JUMPING["fixed_batch_loss"]}, {}),
    # Gradients that vanish with depth, in spite of a warmup or before the skips.
    (MISSING_WARMUP, FIRST_STEPS, {"model.norm": "post", "optimizer.warmup_fraction": 0.1}),
    (MISSING_WARMUP, FIRST_STEPS, {"model.norm": "pre", "optimizer.warmup_fraction": 0.0}),
    (MISSING_WARMUP, {"global_update_ratio": FIRST_STEPS["global_update_ratio"]}, POST),
    # The loss had settled before the rate went.
    (SCHEDULE_DECAYED_EARLY, CUT | {"validation_loss": (0.71, 0.7, 0.7, 0.7, 0.7)}, {}),
    # The same clip under an optimizer that does not feel it, with and without coupled decay.
    (CLIPPING_SATURATED, {}, {"optimizer.name": "adamw", "optimizer.clip_norm": 1e-3}),
    (CLIPPING_SATURATED, {}, {"optimizer.name": "adam", "optimizer.clip_norm": 1e-3}),
    (CLIPPING_SATURATED, {}, {"optimizer.name": "sgd", "optimizer.clip_norm": 1.0}),
    # A validation span that varies little makes any start look wide.
    (
        POOR_INITIALIZATION,
        {
            "prediction_variance_ratio": (27.0, 9, 3, 1, 1),
            "validation_loss_ratio": (45.0, 9, 5, 3, 3),
        },
        {},
    ),
    # Zeros that leave zero with the first steps.
    (POOR_INITIALIZATION, {"weight_norm@head.weight": (0.0, 1.0, 2.0, 2.0, 2.0)}, {}),
    # A usual batch lies below the scale in healthy runs too.
    (
        GRADIENT_NOISE_DOMINATES,
        {"gradient_covariance_trace": (900.0,) * 5},
        {"training.batch_size": 32},
    ),
    (GRADIENT_NOISE_DOMINATES, {"gradient_square": (10.0,) * 5}, {"training.batch_size": 8}),
    # Decay is all of an update that the data have no part in; weights that shrank and learn.
    (WEIGHT_DECAY_TOO_STRONG, {"decay_share@head.weight": (1.0,) * 5}, {}),
    (WEIGHT_DECAY_TOO_STRONG, {"weight_norm@head.weight": (5.0, 1, 0.1, 0.05, 0.05)}, {}),
    # Flat at the mean; falling from above it; knowing its windows by heart.
    (LATE_PLATEAU, STUCK, {}),
    (LATE_PLATEAU, {"validation_loss": (2.4, 1.9, 1.5, 1.1, 0.8)}, {}),
    (LATE_PLATEAU, BLOOMING | {"undropped_train_loss": BY_HEART["undropped_train_loss"]}, {}),
    # A low dropout does not do that, and a high one may cost nothing.
    (DROPOUT_TOO_STRONG, {"train_loss": (50.0, 2, 1, 1, 1)}, {}),
    (DROPOUT_TOO_STRONG, {}, {"model.dropout": 0.5}),
    # Dropout without a layer to act on, or switched off.
    (DROPOUT_TOO_STRONG, FLAT, {"model.head_dropout": 0.9}),
    (DROPOUT_TOO_STRONG, FLAT, {"model.attention_dropout": 0.9}),
    # Gradients that are no numbers say nothing of a warmup.
    (MISSING_WARMUP, {"block_gradient_norm@blocks.0": (2.0, 1.0, 1.0, np.nan, np.nan)}, POST),
    # Other windows were harder from the first step on; predictions follow at another level.
    (OVERFITTING, {"undropped_train_loss": (0.1, 0.05, 0.03, 0.03, 0.03)}, {}),
    (OVERFITTING, BY_HEART | {"prediction_correlation": (0.0, 0.8, 0.97, 0.97, 0.97)}, {}),
]


@pytest.mark.parametrize(("rule", "curves", "edits"), ALIKE, ids=ids(ALIKE))
def test_what_looks_alike_is_clear(rule, curves, edits):
    assert isinstance(answer(rule, made(curves, edits)), Clear)


def test_a_healthy_sibling_moves_the_limits():
    sibling = made(SLOW, {"optimizer.lr": 1e-4}).record
    assert isinstance(answer(LEARNING_RATE_TOO_LOW, made(SLOW, healthy=(sibling,))), Clear)
    jumped = made(JUMPING).record
    assert isinstance(answer(LEARNING_RATE_TOO_HIGH, made(JUMPING, healthy=(jumped,))), Clear)


def test_rates_follow_the_meter():
    found = answer(LEARNING_RATE_TOO_LOW, made(SLOW, {"optimizer.lr": 1e-4}))
    assert found.remedies[0].set == {"optimizer.lr": pytest.approx(0.01)}
    found = answer(
        LEARNING_RATE_TOO_HIGH,
        made(JUMPING, {"optimizer.lr": 0.3, "optimizer.clip_norm": 0.0}),
    )
    assert found.remedies[0].set == {"optimizer.lr": 0.03, "optimizer.clip_norm": 1.0}


def test_coupled_decay_feels_the_clip():
    edits = {"optimizer.name": "adam", "optimizer.weight_decay": 0.1, "optimizer.clip_norm": 1e-3}
    found = answer(CLIPPING_SATURATED, made(SHRINKING, edits))
    assert [e.signal for e in found.evidence] == ["clipped", "gradient_norm", "decay_share"]
    assert "weight-decay-too-strong" in CLIPPING_SATURATED.explains


def test_unscaled_data_leave_the_start_unjudged():
    for path in ("data.scale_inputs", "data.scale_target"):
        found = answer(POOR_INITIALIZATION, made(edits={path: False}))
        assert isinstance(found, NotMeasured)
        assert path in found.why


def test_a_bloomer_that_has_arrived_is_clear():
    near = RunScores(validation_loss=0.54, floors={"ridge": 0.5}, baseline=0.52)
    assert isinstance(answer(LATE_PLATEAU, made(BLOOMING, scores=near)), Clear)


def test_an_lstm_gets_remedies_it_has():
    found = answer(OVERFITTING, made(BY_HEART, config=LSTM))
    for remedy in found.remedies:
        LSTM.edits(remedy.set)


def test_first_steps_are_judged_by_what_is_a_number():
    broken = {"block_gradient_norm@blocks.0": (2.0, 0.2, 0.05, 0.03, np.nan)}
    whole = answer(MISSING_WARMUP, made(FIRST_STEPS, POST))
    assert answer(MISSING_WARMUP, made(FIRST_STEPS | broken, POST)).score == whole.score


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.cause)
@pytest.mark.parametrize("kept", [0, 1, 3])
def test_curves_that_end_without_numbers_raise_nothing(rule, kept):
    edits = {"model.norm": "post", "model.dropout": 0.9, "optimizer.warmup_fraction": 0.0}
    curves = {
        name: (*points[:kept], *[np.nan] * len(points[kept:])) for name, points in HEALTHY.items()
    }
    rule.check(made(curves, edits))


def test_dropout_of_which_only_its_size_is_known_is_worth_less():
    edits = {"model.dropout": 0.9, "model.attention_dropout": 0.9}
    found = answer(DROPOUT_TOO_STRONG, made(FLAT, edits))
    assert found.score == 0.6
    assert found.remedies[0].set == {"model.dropout": 0.1}
    edits["model.attention_dropout_kind"] = "key"
    found = answer(DROPOUT_TOO_STRONG, made(FLAT, edits))
    assert found.remedies[0].set == {"model.dropout": 0.1, "model.attention_dropout": 0.1}


def test_more_dropout_is_offered_only_where_there_is_less():
    edits = {"model.dropout": 0.5, "model.head_units": [32]}
    sets = [remedy.set for remedy in answer(OVERFITTING, made(BY_HEART, edits)).remedies]
    assert {"model.head_dropout": 0.3} in sets
    assert not any("model.dropout" in some for some in sets)


@pytest.mark.parametrize(("scale", "offered"), [(1.0, 0.3), (0.5, 0.15), (12.0, 1.0)])
def test_weights_that_begin_too_wide_are_drawn_smaller(scale, offered):
    wide = {"prediction_variance_ratio": (60.0, 9, 3, 1, 1)}
    found = answer(POOR_INITIALIZATION, made(wide, {"model.init_scale": scale}))
    assert [remedy.set for remedy in found.remedies] == [{"model.init_scale": offered}]


def test_a_warmup_that_is_too_short_is_named_as_it_is():
    plan = {"model.norm": "post", "model.n_layers": 6, "optimizer.warmup_fraction": 0.01}
    assert "warmup_fraction = 0.01" in MISSING_WARMUP.warn(Plan(CONFIG.edits(plan).paths(), FACTS))


def test_small_batches_explain_a_pool_that_loses():
    assert "positions-swamped" in GRADIENT_NOISE_DOMINATES.explains


WARNED = [
    (LEARNING_RATE_TOO_LOW, {"optimizer.lr": 1e-6}, "0.0004"),
    (MISSING_WARMUP, POST | {"model.n_layers": 6}, "warmup_fraction"),
    (POOR_INITIALIZATION, {"model.init_scale": 0.0}, "init_scale"),
    (DROPOUT_TOO_STRONG, {"model.dropout": 0.8}, "model.dropout = 0.8"),
]


@pytest.mark.parametrize(("rule", "edits", "told"), WARNED, ids=ids(WARNED))
def test_warns_before_the_first_step(rule, edits, told):
    assert rule.warn(Plan(CONFIG.paths(), FACTS)) is None
    assert told in rule.warn(Plan(CONFIG.edits(edits).paths(), FACTS))
