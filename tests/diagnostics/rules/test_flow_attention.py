"""Causes in what heads look at, on numbers made by hand: some as measured, in round."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tsdiag.diagnostics.case import Case, Facts, Record
from tsdiag.diagnostics.diagnose import answer
from tsdiag.diagnostics.findings import Clear, NotMeasured
from tsdiag.diagnostics.rules.attention_entropy_collapse import RULE as ENTROPY_COLLAPSE
from tsdiag.diagnostics.rules.attention_never_specializes import RULE as NEVER_SPECIALIZES
from tsdiag.diagnostics.rules.redundant_heads import RULE as REDUNDANT_HEADS
from tsdiag.diagnostics.rules.unscaled_attention_logits import RULE as UNSCALED
from tsdiag.diagnostics.signals import Trace
from tsdiag.diagnostics.states import Standing

sys.path.insert(0, str(Path(__file__).parent))
from made import (
    FOUNDING,
    TRANSFORMER,
    applied,
    assert_explained,
    attention,
    case,
    curve,
    found,
    heads,
)

# Attention that never specialises


def test_the_founding_model_is_told_from_its_entropy_and_starved_gradient():
    given = case(*attention(entropy=0.99996, ratio=0.011, grown=1.4), config=FOUNDING)
    result = found(NEVER_SPECIALIZES, given)
    entropy, ratio, norm = result.evidence
    assert entropy.observed == pytest.approx(0.99996)
    assert entropy.reference == 0.99
    assert ratio.observed == pytest.approx(0.011)
    assert ratio.reference == 0.2
    assert norm.observed == pytest.approx(1.4)
    assert 0.7 < result.score < 0.9
    widths = [edit.get("model.d_model") for edit in applied(result, FOUNDING)]
    assert 64 in widths


def test_heads_of_a_projection_share_its_width():
    given = case(*attention(entropy=1.0, ratio=0.01), config=FOUNDING)
    wide = [r.set for r in found(NEVER_SPECIALIZES, given).remedies if "model.d_model" in r.set]
    assert wide == [{"model.d_model": 64, "model.head_dim": 10, "model.embedding": "linear"}]


def test_a_wide_stream_is_never_narrowed():
    wide = {"model__d_model": 128, "model__n_heads": 8, "model__head_dim": 128}
    given = case(*attention(entropy=1.0, ratio=0.01), **wide)
    edits = [r.set for r in found(NEVER_SPECIALIZES, given).remedies if "model.d_model" in r.set]
    assert edits == [{"model.d_model": 128, "model.head_dim": 16}]


def test_scores_are_not_scaled_the_wrong_way():
    loud, faint = ({"model__attention_scale": scale} for scale in (4.0, 1e-3))
    uniform = found(NEVER_SPECIALIZES, case(*attention(entropy=1.0, ratio=0.01), **loud))
    assert {"model.attention_scale": None} not in [r.set for r in uniform.remedies]
    sharp = found(ENTROPY_COLLAPSE, case(*attention(**GROWN), **faint))
    assert {"model.attention_scale": None} not in [r.set for r in sharp.remedies]


def test_a_scale_that_was_set_is_taken_back_first():
    tiny = TRANSFORMER.edit("model.attention_scale", 1e-5)
    given = case(*attention(entropy=1.0, ratio=1e-3, scale=1e-5, grown=50.0), config=tiny)
    result = found(NEVER_SPECIALIZES, given)
    assert result.score == 1.0
    assert [edit.get("model.attention_scale") for edit in applied(result, tiny)] == [None, None]


@pytest.mark.parametrize(
    "numbers",
    [
        {"entropy": 0.9999, "ratio": 0.5},
        {"entropy": 0.98, "ratio": 0.01},
        {"entropy": 0.9999, "ratio": 0.1, "grown": 4.0},
        {"entropy": 0.9999, "ratio": 0.003, "grown": 1e-11},
        {"entropy": 1.0, "ratio": 0.001, "cosine": 1.0, "layers": 6},
        {"entropy": 1.0, "ratio": 1e-14, "scale": 0.0},
    ],
    ids=[
        "uniform but not starved",
        "starved but not uniform",
        "late plateau: W_Q W_K grows",
        "weight decay: W_Q W_K shrinks",
        "rank collapse: tokens are alike",
        "degenerate normalisation: no scores",
    ],
)
def test_what_looks_like_attention_that_never_specialises(numbers):
    assert answer(NEVER_SPECIALIZES, case(*attention(**numbers))) == Clear()


def test_one_sharp_head_in_four_is_enough_to_be_clear():
    signals = [s for s in attention(entropy=0.9999, ratio=0.01) if s.name != "attention_entropy"]
    sharp = [
        *heads("attention_entropy", 0.9999, 0.9999),
        *heads("attention_entropy", 0.9999, 0.8, layer=1),
    ]
    assert answer(NEVER_SPECIALIZES, case(*signals, *sharp)) == Clear()


def test_a_learning_sibling_with_uniform_heads_moves_the_limit_and_a_sharp_one_does_not():
    ill = attention(entropy=0.9999, ratio=0.02)
    sharp, uniform = case(*attention(entropy=0.05, ratio=0.02)).record, case(*ill).record
    assert found(NEVER_SPECIALIZES, case(*ill, healthy=[sharp])).evidence[1].reference == 0.2
    assert answer(NEVER_SPECIALIZES, case(*ill, healthy=[uniform])) == Clear()


# Entropy collapse, and scores that are too large from the start

ONE_HOT = {"entropy": (0.7, 0.3, 0.002, 0.002, 0.002), "largest": (4.0, 50.0, 900.0, 900.0, 900.0)}
GROWN = {**ONE_HOT, "scale": (1.3, 20.0, 300.0, 300.0, 300.0)}


def test_scores_that_grew_are_told_with_their_size():
    result = found(ENTROPY_COLLAPSE, case(*attention(**GROWN)))
    entropy, largest, scale = result.evidence
    assert entropy.observed == pytest.approx(0.002)
    assert entropy.reference == 0.1
    assert largest.observed == 900.0
    assert largest.reference == 100.0
    assert scale.observed == 300.0
    assert scale.reference == pytest.approx(2.6)
    assert "from 1.3 to 3e+02 nats" in result.summary
    edits = applied(result, TRANSFORMER)
    assert any(edit.get("model.qk_norm") for edit in edits)
    assert edits[-1].get("optimizer.lr") == pytest.approx(3e-4)


@pytest.mark.parametrize(
    "numbers",
    [
        {**GROWN, "largest": 85.0},
        {**GROWN, "entropy": 0.2},
        {"entropy": 0.01, "largest": 400.0, "scale": 110.0},
    ],
    ids=["heads that learned to be sharp", "not one-hot", "large weights from the start"],
)
def test_what_looks_like_a_collapse(numbers):
    assert answer(ENTROPY_COLLAPSE, case(*attention(**numbers))) == Clear()


def readout(place, order, skill):
    return [
        curve("readout_skill", place, skill),
        curve("readout_order", place, order),
        curve("readout_features", place, 80),
    ]


@pytest.mark.parametrize(("window", "output", "clear"), [(0.7, 0.6, 1), (0.7, 0.2, 0), (0, 0, 0)])
def test_one_hot_heads_that_serve_are_no_collapse(window, output, clear):
    skills = [*readout("input", 0, window), *readout("", 1, output)]
    result = answer(ENTROPY_COLLAPSE, case(*attention(**GROWN), *skills))
    assert (result == Clear()) == bool(clear)


def test_half_of_the_heads_are_not_most_of_them():
    signals = [s for s in attention(**GROWN) if s.name != "attention_entropy"]
    half = [*heads("attention_entropy", 0.01, 0.01), *heads("attention_entropy", 0.4, 0.4, layer=1)]
    assert answer(ENTROPY_COLLAPSE, case(*signals, *half)) == Clear()


def test_scores_that_are_large_at_the_first_step_are_told():
    scaled = TRANSFORMER.edit("model.attention_scale", 4.0)
    given = case(*attention(entropy=(0.15, 0.02), scale=(8.0, 90.0)), config=scaled)
    result = found(UNSCALED, given)
    assert result.evidence[0].observed == 8.0
    assert result.evidence[0].steps == (0, 0)
    assert result.evidence[1].observed == pytest.approx(0.15)
    assert applied(result, scaled)[0].get("model.attention_scale") is None


@pytest.mark.parametrize(
    ("numbers", "scale"),
    [
        ({"entropy": (0.45, 0.1), "scale": (2.3, 30.0)}, 1.0),
        ({"entropy": (0.01, 0.01), "scale": (110.0, 110.0)}, None),
        ({"entropy": (0.7, 0.002), "scale": (1.3, 300.0)}, 16.0),
        ({"entropy": (0.6, 0.6), "scale": (3.5, 3.5)}, 1.0),
        ({"entropy": (0.15, 0.02), "scale": (8.0, 90.0)}, 0.4),
    ],
    ids=[
        "learned from",
        "large weights, right scale",
        "grew in training",
        "patterns not sharp",
        "a choice of temperature",
    ],
)
def test_what_looks_like_a_missing_scale(numbers, scale):
    given = case(*attention(**numbers), model__attention_scale=scale)
    assert answer(UNSCALED, given) == Clear()


def test_scores_of_a_model_from_elsewhere_decide_alone():
    signals = attention(entropy=(0.01, 0.01), scale=(30.0, 30.0))
    record = Record({}, Trace(tuple(signals), "completed"))
    foreign = Case(record, Facts(48, 10), Standing("stalled", ""))
    result = found(UNSCALED, foreign)
    assert result.remedies == ()  # it has no configuration to edit


def test_a_collapse_from_the_first_step_on_ranks_below_the_missing_scale():
    given = case(
        *attention(entropy=(0.15, 0.01), scale=(8.0, 90.0), largest=300.0),
        model__attention_scale=4.0,
    )
    assert_explained(found(ENTROPY_COLLAPSE, given), UNSCALED, given)


# Redundant heads


def likeness(*values):
    return [
        curve("head_similarity", f"blocks.{i}.attention", *[value] * 5)
        for i, value in enumerate(values)
    ]


def test_heads_that_deviate_alike_are_told_with_their_layers():
    given = case(*attention(entropy=0.6), *likeness(0.99, 0.98), model__n_heads=8)
    result = found(REDUNDANT_HEADS, given)
    assert [shown.where for shown in result.evidence] == [
        "blocks.0.attention",
        "blocks.1.attention",
    ]
    assert result.evidence[0].observed == pytest.approx(0.99)
    assert result.evidence[0].reference == pytest.approx(0.95)
    assert "2 of 2 layers" in result.summary
    edits = applied(result, TRANSFORMER)
    assert (edits[0].get("model.n_heads"), edits[0].get("model.head_dim")) == (2, 64)
    assert edits[1].seed == 1


@pytest.mark.parametrize(
    "values", [(0.1, -0.05), (0.99, 0.1)], ids=["unlike", "half of the layers"]
)
def test_heads_that_differ_are_clear(values):
    assert answer(REDUNDANT_HEADS, case(*attention(entropy=0.6), *likeness(*values))) == Clear()


def test_uniform_heads_deviate_too_little_to_be_judged():
    result = answer(REDUNDANT_HEADS, case(*attention(entropy=0.999), *likeness(0.99, 0.99)))
    assert isinstance(result, NotMeasured)
    assert "uniform" in result.why
