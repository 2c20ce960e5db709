"""Faults of structure, on numbers made by hand: the ones that tell a cause from its look-alikes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tsdiag.config import RunConfig
from tsdiag.diagnostics.audit import DataAudit, Order, TargetFacts
from tsdiag.diagnostics.case import Case, Facts, Record
from tsdiag.diagnostics.diagnose import answer
from tsdiag.diagnostics.findings import Clear, Finding, NotMeasured
from tsdiag.diagnostics.rules.batch_mixing import RULE as BATCH_MIXING
from tsdiag.diagnostics.rules.blind_time_steps import RULE as BLIND_TIME_STEPS
from tsdiag.diagnostics.rules.degenerate_normalization import RULE as DEGENERATE_NORMALIZATION
from tsdiag.diagnostics.rules.faulty_mask import RULE as FAULTY_MASK
from tsdiag.diagnostics.rules.feature_bottleneck import RULE as FEATURE_BOTTLENECK
from tsdiag.diagnostics.rules.missing_input_projection import RULE as MISSING_INPUT_PROJECTION
from tsdiag.diagnostics.rules.order_blind import RULE as ORDER_BLIND
from tsdiag.diagnostics.rules.pooling_discards_channels import RULE as POOLING_DISCARDS_CHANNELS
from tsdiag.diagnostics.rules.positions_swamped import RULE as POSITIONS_SWAMPED
from tsdiag.diagnostics.rules.under_capacity import RULE as UNDER_CAPACITY
from tsdiag.diagnostics.signals import Signal, Trace
from tsdiag.diagnostics.states import Standing
from tsdiag.models import imply, preset

CONFIG = preset(RunConfig(), "transformer", "default")
FACTS = Facts(context_length=48, channels=10)
# A window of 480 numbers as 12 tokens of 32.
WIDTHS = {"input": 480, "embedding": 384, "blocks.0": 384, "pooling": 384, "": 1}
SKILLS = {"input": 0.7, "embedding": 0.7, "blocks.0": 0.7, "pooling": 0.7, "": 0.7}
MEAN_CHANNELS = {"model.pooling": "mean_channels"}
MEAN_TIME = {"model.pooling": "mean_time", "model.positions": "none"}
AVERAGED = WIDTHS | {"pooling": 12}
POOLED = WIDTHS | {"pooling": 32}
FOUND_BEFORE = SKILLS | {"pooling": 0.1, "": 0.0}
ONE = ("model.n_heads", "model.head_dim", "model.ff_dim", "model.n_layers")
SMALL = {"model.d_model": 3, **dict.fromkeys(ONE, 1)}
UNPROJECTED = {"model.d_model": "channels", "model.n_heads": 4, "model.head_dim": 64}


AXES = ("channel", "token")


def curve(name, values, where=""):
    steps = 100 * np.arange(len(values), dtype=np.float32)
    return Signal(name, where, "", steps, np.asarray(values, dtype=np.float32))


def waterfall(skills=SKILLS, widths=WIDTHS, rank=(32, 12)):
    found = [
        curve(f"readout_{axis}_rank", [n], "pooling") for axis, n in zip(AXES, rank, strict=True)
    ]
    for order, (place, skill) in enumerate(skills.items()):
        found.append(curve("readout_skill", [skill], place))
        found.append(curve("readout_order", [order], place))
        found.append(curve("readout_features", [widths[place]], place))
    return found


def case_of(*signals, edits=None, audit=None, healthy=()):
    config = CONFIG.edits(imply(CONFIG, edits or {}))
    flat = [s for given in signals for s in (given if isinstance(given, list) else [given])]
    return Case(
        record=Record(config.paths(), Trace(tuple(flat), "completed")),
        facts=FACTS,
        standing=Standing("stalled", ""),
        audit=audit or DataAudit(),
        healthy=healthy,
    )


AVERAGE = waterfall(FOUND_BEFORE, AVERAGED, (1, 12))
LOST_AT_POOL = waterfall(FOUND_BEFORE, POOLED, (32, 1))
LOST_AT_EMBEDDING = waterfall(
    SKILLS | dict.fromkeys(["embedding", "blocks.0", "pooling", ""], 0.05),
    WIDTHS | dict.fromkeys(["embedding", "blocks.0", "pooling"], 48),
)
RATIO = curve("body_head_gradient_ratio", [0.6, 0.5])
FRESH_SGD = [curve("body_head_gradient_ratio", [3e-7, 0.2])]
DEAD_BLOCKS = [
    RATIO,
    curve("contribution", [0, 0.1], "blocks.0.attention"),
    curve("contribution", [0, 0.1], "blocks.0.feed_forward"),
    curve("stream_rms", [1.1, 1.1], "positions"),
]
UNIFORM = [curve("attention_entropy", [0.999, 0.993], f"blocks.0.attention[{h}]") for h in (0, 1)]
NOT_BY_HEART = [curve("one_batch_loss_share", [0.25]), curve("one_batch_steps", [204]), RATIO]
UNREAD = [curve("blind_time_share", [0.5])] + [
    curve("input_gradient", [part >= 12], f"time[{part}]") for part in range(24)
]
FAINT = curve("positions_ratio", [0.02, 0.04], "positions")
MISSED = waterfall(FOUND_BEFORE)
UNSHUFFLED = curve("time_shuffle_effect", [3e-7])
ORDERED = curve("time_shuffle_effect", [1.1])

FIRES = {
    "pool": (POOLING_DISCARDS_CHANNELS, [AVERAGE], MEAN_CHANNELS, 0.0, 0.7 * 0.6),
    "order": (ORDER_BLIND, [UNSHUFFLED], MEAN_TIME, 3e-7, 1e-5),
    "order of tokens": (ORDER_BLIND, [ORDERED, LOST_AT_POOL], MEAN_TIME, 0.0, 0.7 * 0.6),
    "faint": (POSITIONS_SWAMPED, [LOST_AT_POOL, FAINT], {"model.pooling": "mean_time"}, 0.04, 0.1),
    "loud": (
        POSITIONS_SWAMPED,
        [LOST_AT_EMBEDDING, curve("positions_ratio", [104, 40], "positions")],
        {"model.positions": "sinusoidal"},
        40.0,
        10.0,
    ),
    "a norm of one": (DEGENERATE_NORMALIZATION, DEAD_BLOCKS, {"model.d_model": 1}, 0.0, 0.0),
    "a norm before its mean": (
        DEGENERATE_NORMALIZATION,
        FRESH_SGD,
        {**MEAN_CHANNELS, "model.final_norm": True},
        3e-7,
        1e-4,
    ),
    "projection": (MISSING_INPUT_PROJECTION, [UNIFORM, MISSED], UNPROJECTED, 0.993, 0.98),
    "neck": (FEATURE_BOTTLENECK, [LOST_AT_EMBEDDING], {"model.d_model": 4}, 0.05, 0.35),
    "unread": (
        BLIND_TIME_STEPS,
        [UNREAD, MISSED],
        {"model.pooling": "last", "model.residual_scale": 0.0},
        0.5,
        0.1,
    ),
    "small": (UNDER_CAPACITY, NOT_BY_HEART, SMALL, 0.25, 0.05),
    "mixing": (BATCH_MIXING, [curve("batch_gradient_share", [0.2])], {}, 0.2, 1e-5),
    "mixing outputs": (
        BATCH_MIXING,
        [curve("batch_gradient_share", [0.0]), curve("batch_influence", [0.3])],
        {},
        0.3,
        1e-5,
    ),
    "mask": (FAULTY_MASK, [curve("masked_probability", [0.0, 0.1], "a[0]")], {}, 0.1, 1e-4),
}
# Nothing that a configuration could change brings these about in models of this package.
BEYOND_CONFIGURATION = {"mixing", "mixing outputs", "mask"}


@pytest.mark.parametrize("name", FIRES)
def test_it_fires_with_its_numbers(name):
    rule, signals, edits, observed, reference = FIRES[name]
    found = answer(rule, case_of(*signals, edits=edits))
    assert isinstance(found, Finding)
    assert found.cause == rule.cause
    assert found.score >= 0.5
    assert len(found.summary) < 150
    shown = [(e.observed, e.reference) for e in found.evidence]
    assert any(
        pair[1] is not None and pair == pytest.approx((observed, reference), rel=1e-3, abs=1e-9)
        for pair in shown
    ), shown


@pytest.mark.parametrize("name", FIRES)
def test_its_remedies_fit_the_configuration_and_change_it(name):
    rule, signals, edits, *_ = FIRES[name]
    before = CONFIG.edits(imply(CONFIG, edits))
    found = answer(rule, case_of(*signals, edits=edits))
    assert bool(found.remedies) == (name not in BEYOND_CONFIGURATION)
    for remedy in found.remedies:
        assert before.edits(remedy.set) != before


HEALTHY = [
    waterfall(),
    curve("time_shuffle_effect", [1.4]),
    FAINT,
    RATIO,
    curve("contribution", [0.4, 0.5], "blocks.0.attention"),
    curve("attention_entropy", [0.9, 0.9], "blocks.0.attention[0]"),
    curve("blind_time_share", [0.0]),
    curve("one_batch_loss_share", [0.045]),
    curve("batch_gradient_share", [1e-7]),
    curve("batch_influence", [3e-7]),
    curve("masked_probability", [0.0], "a[0]"),
]
RULES = {rule.cause: rule for rule, *_ in FIRES.values()}


@pytest.mark.parametrize("cause", RULES)
def test_healthy_numbers_are_clear(cause):
    assert isinstance(answer(RULES[cause], case_of(*HEALTHY)), Clear)


@pytest.mark.parametrize("cause", RULES)
def test_what_was_not_measured_is_said(cause):
    found = answer(RULES[cause], case_of())
    assert isinstance(found, NotMeasured)
    assert found.why


LOOK_ALIKES = {
    "a mean over channels that learns": (
        POOLING_DISCARDS_CHANNELS,
        [waterfall(SKILLS | {"pooling": 0.6, "": 0.52}, AVERAGED, (1, 12))],
        MEAN_CHANNELS,
    ),
    "little comes as far as the pool": (
        POOLING_DISCARDS_CHANNELS,
        [waterfall(SKILLS | {"blocks.0": 0.2, "pooling": 0.0, "": 0.0}, AVERAGED, (1, 12))],
        MEAN_CHANNELS,
    ),
    "a pool over time that loses": (POOLING_DISCARDS_CHANNELS, [LOST_AT_POOL], MEAN_TIME),
    "a stream of one number": (
        POOLING_DISCARDS_CHANNELS,
        [
            waterfall(
                FOUND_BEFORE, WIDTHS | {"embedding": 12, "blocks.0": 12, "pooling": 12}, (1, 12)
            )
        ],
        {"model.d_model": 1},
    ),
    "faint positions that nobody needs": (POSITIONS_SWAMPED, [waterfall(), FAINT], {}),
    "a head that was not trained yet": (
        POSITIONS_SWAMPED,
        [waterfall(SKILLS | {"": 0.0}, POOLED, (32, 1)), FAINT],
        {"model.pooling": "last"},
    ),
    "loud positions that fade": (
        POSITIONS_SWAMPED,
        [LOST_AT_EMBEDDING, curve("positions_ratio", [104, 3.4], "positions")],
        {},
    ),
    "a pool of rows that were never read": (
        POSITIONS_SWAMPED,
        [LOST_AT_POOL, UNREAD, FAINT],
        {"model.pooling": "last"},
    ),
    "a token a channel": (
        ORDER_BLIND,
        [ORDERED, LOST_AT_POOL],
        {**MEAN_TIME, "model.embedding": "inverted"},
    ),
    "blocks that were switched off": (
        DEGENERATE_NORMALIZATION,
        DEAD_BLOCKS,
        {"model.residual_scale": 0.0},
    ),
    "a head of zeros": (
        DEGENERATE_NORMALIZATION,
        [*FRESH_SGD, curve("weight_norm", [0.0, 0.1], "head.projection.weight")],
        {},
    ),
    "a stream of zeros": (
        DEGENERATE_NORMALIZATION,
        [*FRESH_SGD, curve("stream_rms", [0.0, 0.1], "positions")],
        {},
    ),
    "wide heads that woke": (
        MISSING_INPUT_PROJECTION,
        [UNIFORM, curve("attention_entropy", [1, 0.955], "b[0]"), MISSED],
        UNPROJECTED,
    ),
    "wide heads that are not missed": (
        MISSING_INPUT_PROJECTION,
        [UNIFORM, waterfall()],
        UNPROJECTED,
    ),
    "uniform patterns behind a projection": (
        MISSING_INPUT_PROJECTION,
        [UNIFORM, MISSED],
        {"model.embedding": "linear"},
    ),
    "everything is narrow": (FEATURE_BOTTLENECK, [LOST_AT_EMBEDDING], SMALL),
    "the fall is at the pool": (FEATURE_BOTTLENECK, [LOST_AT_POOL], {"model.d_model": 4}),
    "only the stream is narrow": (UNDER_CAPACITY, NOT_BY_HEART, {"model.d_model": 4}),
    "parts are frozen": (UNDER_CAPACITY, NOT_BY_HEART, {**SMALL, "optimizer.frozen": ["blocks"]}),
    "gradients that fade": (
        UNDER_CAPACITY,
        [
            *NOT_BY_HEART,
            curve("block_gradient_norm", [1e-5], "blocks.0"),
            curve("block_gradient_norm", [0.6], "blocks.1"),
        ],
        SMALL,
    ),
    "nothing is learned at all": (
        UNDER_CAPACITY,
        [curve("one_batch_loss_share", [1.0]), RATIO],
        SMALL,
    ),
    "unread rows that hold nothing": (BLIND_TIME_STEPS, [UNREAD, waterfall()], {}),
    "a constant": (BLIND_TIME_STEPS, [curve("blind_time_share", [1.0])], {}),
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_look_alikes_are_clear(name):
    rule, signals, edits = LOOK_ALIKES[name]
    assert isinstance(answer(rule, case_of(*signals, edits=edits)), Clear)


def test_order_that_is_worth_nothing_is_not_missed():
    audit = DataAudit(order=Order(skill=0.3, shuffled_skill=0.29))
    assert isinstance(answer(ORDER_BLIND, case_of(UNSHUFFLED, edits=MEAN_TIME, audit=audit)), Clear)
    audit = DataAudit(order=Order(skill=0.3, shuffled_skill=0.0))
    found = answer(ORDER_BLIND, case_of(UNSHUFFLED, edits=MEAN_TIME, audit=audit))
    assert found.evidence[1].observed == pytest.approx(0.3)


@pytest.mark.parametrize(("deviation", "answered"), [(1.0, Finding), (9944.6, Clear)])
def test_a_target_out_of_reach_is_no_matter_of_size(deviation, answered):
    target = TargetFacts(
        standard_deviation=deviation,
        mean=0.0,
        most_frequent_share=0.0,
        validation_mean_shift=0.0,
        validation_std_ratio=1.0,
        input_shift=0.0,
    )
    case = case_of(*NOT_BY_HEART, edits=SMALL, audit=DataAudit(target=target))
    assert isinstance(answer(UNDER_CAPACITY, case), answered)


@pytest.mark.parametrize("positions", ["none", "learned", "sinusoidal"])
def test_no_pool_over_time_is_offered_without_positions_that_tell_the_order(positions):
    edits = {**MEAN_CHANNELS, "model.positions": positions}
    found = answer(POOLING_DISCARDS_CHANNELS, case_of(AVERAGE, edits=edits))
    for remedy in found.remedies:
        after = {"model.positions": positions} | remedy.set
        assert after["model.positions"] != "none"
        if after["model.pooling"] != "flatten":
            assert after["model.positions"] == "sinusoidal"
        assert "order-blind" in remedy.safety


def test_a_healthy_sibling_that_loses_as_much_moves_the_limit():
    sibling = case_of(AVERAGE, edits=MEAN_CHANNELS).record
    alone = case_of(AVERAGE, edits=MEAN_CHANNELS)
    assert isinstance(answer(POOLING_DISCARDS_CHANNELS, alone), Finding)
    beside = replace(alone, healthy=(sibling,))
    assert isinstance(answer(POOLING_DISCARDS_CHANNELS, beside), Clear)


@pytest.mark.parametrize(
    "held",
    [
        {},
        {"model.dropout": 0.9},
        {"model.head_dropout": 0.5, "model.head_units": [8]},
        {"optimizer.frozen": ["blocks"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["pool", "projection", "faint", "order of tokens", "neck"])
def test_skills_of_weights_that_were_held_back_count_half(name, held):
    rule, signals, edits, *_ = FIRES[name]
    rate = curve("rate_ratio", [1.0 if held else 0.003])
    whole = answer(rule, case_of(*signals, curve("rate_ratio", [1.0]), edits=edits))
    half = answer(rule, case_of(*signals, rate, edits=edits | held))
    assert half.score == pytest.approx(whole.score / 2)


@pytest.mark.parametrize(
    ("signals", "why"),
    [
        (
            [curve("global_update_ratio", [1e-7, 1e-7]), curve("rate_ratio", [0.02])],
            "near where they were drawn",
        ),
        ([curve("validation_loss", [2.0, np.nan])], "diverged"),
    ],
)
def test_a_neck_of_weights_that_were_hardly_trained_is_not_judged(signals, why):
    found = answer(
        FEATURE_BOTTLENECK, case_of(LOST_AT_EMBEDDING, signals, edits={"model.d_model": 4})
    )
    assert isinstance(found, NotMeasured)
    assert why in found.why


LATE = Signal("body_head_gradient_ratio", "", "", np.array([1.0]), np.array([1e-9]))


@pytest.mark.parametrize(
    ("rule", "signal"), [(DEGENERATE_NORMALIZATION, LATE), (POSITIONS_SWAMPED, FAINT)]
)
def test_half_of_the_numbers_is_no_answer(rule, signal):
    assert isinstance(answer(rule, case_of(signal)), NotMeasured)


def test_patterns_that_are_not_finite_come_from_a_mask():
    found = answer(FAULTY_MASK, case_of(curve("masked_probability", [0.0, np.nan], "a[0]")))
    assert found.score == 1


def test_the_oldest_rows_are_named_only_where_they_are_the_unread_ones():
    newest = [curve("input_gradient", [part < 12], f"time[{part}]") for part in range(24)]
    found = [
        answer(BLIND_TIME_STEPS, case_of(some, MISSED)) for some in (UNREAD, [UNREAD[0], *newest])
    ]
    assert found[0].summary.startswith("the oldest 24 of 48 rows")
    assert found[1].summary.startswith("24 of 48 rows")
