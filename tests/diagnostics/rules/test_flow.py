"""Causes in how gradients and tokens flow, on numbers made by hand: some as measured, in round."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tsdiag.diagnostics.case import Facts
from tsdiag.diagnostics.diagnose import answer
from tsdiag.diagnostics.findings import Clear, NotMeasured
from tsdiag.diagnostics.rules.attention_entropy_collapse import RULE as ENTROPY_COLLAPSE
from tsdiag.diagnostics.rules.attention_never_specializes import RULE as NEVER_SPECIALIZES
from tsdiag.diagnostics.rules.dead_activations import RULE as DEAD_ACTIVATIONS
from tsdiag.diagnostics.rules.exploding_gradients import RULE as EXPLODING
from tsdiag.diagnostics.rules.learning_rate_too_high import RULE as TOO_HIGH
from tsdiag.diagnostics.rules.rank_collapse import RULE as RANK_COLLAPSE
from tsdiag.diagnostics.rules.redundant_heads import RULE as REDUNDANT_HEADS
from tsdiag.diagnostics.rules.rule import Plan
from tsdiag.diagnostics.rules.saturated_gates import RULE as SATURATED_GATES
from tsdiag.diagnostics.rules.unscaled_attention_logits import RULE as UNSCALED
from tsdiag.diagnostics.rules.vanishing_gradients import RULE as VANISHING

sys.path.insert(0, str(Path(__file__).parent))
from made import (
    FOUNDING,
    LSTM,
    TRANSFORMER,
    applied,
    assert_explained,
    attention,
    blocks,
    case,
    curve,
    found,
)

ALL = (
    VANISHING, EXPLODING, NEVER_SPECIALIZES, ENTROPY_COLLAPSE, RANK_COLLAPSE, REDUNDANT_HEADS,
    UNSCALED, DEAD_ACTIVATIONS, SATURATED_GATES,
)  # fmt: skip


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.cause)
def test_without_signals_nothing_is_claimed(rule):
    result = answer(rule, case())
    assert isinstance(result, NotMeasured)
    assert result.why


@pytest.mark.parametrize(
    "rule",
    [
        rule
        for rule in ALL
        if rule not in (EXPLODING, REDUNDANT_HEADS, DEAD_ACTIVATIONS, SATURATED_GATES)
    ],
    ids=lambda rule: rule.cause,
)
def test_healthy_attention_is_clear(rule):
    assert answer(rule, case(*attention())) == Clear()


# Vanishing gradients


def test_a_gradient_that_fades_over_the_blocks_is_told_with_both_ends():
    given = case(*blocks(1e-4, 1e-3, 1e-2, 1e-1, 1.0), model__norm="post", model__n_layers=12)
    result = found(VANISHING, given)
    first, last = result.evidence
    assert (first.where, last.where) == ("blocks.0", "blocks.4")
    assert first.observed == pytest.approx(1e-4)
    assert first.reference == pytest.approx(1e-2)
    assert "1.0e-04 reaches the first" in result.summary
    assert result.score == 1.0
    edits = applied(result, TRANSFORMER.edit("model.norm", "post"))
    assert edits[0].get("model.norm") == "pre"
    assert edits[-1].get("model.residual_scale") == pytest.approx(0.562)


@pytest.mark.parametrize(
    "norms",
    [(1.0, 1.2, 0.8), (2.5, 1.0), (0.02, 0.1, 1.0)],
    ids=["even", "grows", "twice the limit"],
)
def test_gradients_that_reach_the_first_block_are_clear(norms):
    assert answer(VANISHING, case(*blocks(*norms))) == Clear()


def test_a_loss_of_gradient_at_one_place_is_no_fading():
    assert answer(VANISHING, case(*blocks(1e-4, 1e-4, 1e-4, 1.0))) == Clear()


def test_a_gradient_of_exactly_zero_is_another_cause():
    assert answer(VANISHING, case(*blocks(0.0, 1e-2, 1.0))) == Clear()


def test_fading_is_judged_on_the_later_half():
    heals = [(1e-4, 1e-4, 1.0, 1.0, 1.0), (1e-2, 1e-2, 1.0, 1.0, 1.0), (1.0,) * 5]
    fades = [(1.0, 1.0, 1e-4, 1e-4, 1e-4), (1.0, 1.0, 1e-2, 1e-2, 1e-2), (1.0,) * 5]
    assert answer(VANISHING, case(*blocks(*heals))) == Clear()
    assert found(VANISHING, case(*blocks(*fades))).score == 1.0


def test_one_block_has_no_depth():
    result = answer(VANISHING, case(*blocks(1.0)))
    assert isinstance(result, NotMeasured)
    assert "one block" in result.why


def test_a_healthy_sibling_that_fades_as_much_moves_the_limit():
    sibling = case(*blocks(2e-3, 1e-1, 1.0)).record
    assert found(VANISHING, case(*blocks(2e-3, 1e-1, 1.0)))
    assert answer(VANISHING, case(*blocks(2e-3, 1e-1, 1.0), healthy=[sibling])) == Clear()


# Exploding gradients

BURST = curve("gradient_norm", "", 20.0, 18.0, 22.0, 4e3, 5e7)


def test_growth_without_clipping_is_told_with_its_factor():
    given = case(BURST, optimizer__clip_norm=0.0, optimizer__name="sgd")
    result = found(EXPLODING, given)
    assert result.evidence[0].observed == pytest.approx(5e7 / 21, rel=1e-3)
    assert result.evidence[0].reference == 70.0
    assert result.score == 1.0
    assert applied(result, TRANSFORMER)[0].get("optimizer.clip_norm") == 1.0


def test_an_infinite_gradient_is_growth():
    given = case(curve("gradient_norm", "", 20.0, 18.0, np.inf), optimizer__clip_norm=0.0)
    assert np.isfinite(found(EXPLODING, given).evidence[0].observed)


@pytest.mark.parametrize(
    ("values", "clip"),
    [
        ((20.0, 18.0, 22.0, 4e3, 5e7), 1.0),
        ((20.0, 18.0, 22.0, 60.0), 0.0),
        ((5e7, 4e3, 20.0, 18.0), 0.0),
        ((20.0, 18.0, np.nan), 0.0),
    ],
    ids=["clipped", "usual", "huge at first and falls", "not a number may be the data's"],
)
def test_other_courses_of_the_gradient_are_clear(values, clip):
    given = case(curve("gradient_norm", "", *values), optimizer__clip_norm=clip)
    assert answer(EXPLODING, given) == Clear()


def test_growth_towards_the_first_block_counts_clipped_or_not():
    calm = curve("gradient_norm", "", *[1.0] * 5)
    result = found(EXPLODING, case(calm, *blocks(500.0, 50.0, 1.0), model__norm="post"))
    assert result.evidence[0].signal == "block_gradient_norm"
    assert result.evidence[0].observed == pytest.approx(500)
    assert 0.5 < result.score < 1
    assert {"model.norm": "pre"} in [remedy.set for remedy in result.remedies]
    assert answer(EXPLODING, case(calm, *blocks(5.0, 2.0, 1.0))) == Clear()


# Rank collapse


def test_tokens_that_became_equal_are_told_with_both_ends():
    given = case(
        *attention(entropy=1.0, cosine=0.9995, layers=3),
        model__norm="post",
        model__residual_scale=10.0,
    )
    result = found(RANK_COLLAPSE, given)
    assert result.evidence[0].where == "blocks.2"
    assert result.evidence[0].observed == pytest.approx(0.9995)
    assert result.evidence[0].reference == pytest.approx(0.99)
    assert "cosine 0.9995, before them 0.17" in result.summary
    first, second = applied(result, TRANSFORMER.edit("model.norm", "post"))
    assert (first.get("model.norm"), first.get("model.residual_scale")) == ("pre", 1.0)
    assert second.get("model.residual_scale") == pytest.approx(0.639)


def test_blocks_with_full_skips_can_only_be_fewer():
    signals = attention(entropy=1.0, cosine=0.999, layers=12)
    result = found(RANK_COLLAPSE, case(*signals, model__n_layers=12))
    assert [remedy.set for remedy in result.remedies] == [{"model.n_layers": 2}]


@pytest.mark.parametrize(
    ("numbers", "before"),
    [
        ({"entropy": 1.0, "cosine": 0.93}, 0.17),
        ({"entropy": 0.01, "cosine": 1.0}, 0.17),
        ({"entropy": 1.0, "cosine": 0.995}, 0.99),
        ({"entropy": 1.0, "cosine": 1.0}, 1.0),
    ],
    ids=[
        "deep and healthy",
        "all look at one token",
        "alike from the start",
        "equal from the start",
    ],
)
def test_what_looks_like_rank_collapse(numbers, before):
    signals = [s for s in attention(**numbers) if s.where != "positions"]
    given = case(*signals, curve("token_cosine", "positions", *[before] * 5))
    assert answer(RANK_COLLAPSE, given) == Clear()


def test_fading_gradients_rank_below_the_collapse_that_brings_them():
    signals = attention(entropy=1.0, cosine=1.0, layers=3)
    signals = [s for s in signals if s.name != "block_gradient_norm"]
    given = case(*signals, *blocks(1e-4, 1e-2, 1.0))
    assert_explained(found(VANISHING, given), RANK_COLLAPSE, given)


# Units that have stopped


def units(*shares, where="head.hidden.1"):
    return curve("dead_share", where, *shares)


def test_the_layer_with_most_dead_units_is_told():
    alive = units(0.0, 0.0, 0.1, 0.1, 0.1, where="blocks.0.feed_forward.activation")
    given = case(
        alive, units(0.06, 0.5, 1.0, 1.0, 1.0), optimizer__lr=0.1, optimizer__clip_norm=0.0
    )
    result = found(DEAD_ACTIVATIONS, given)
    assert result.evidence[0].where == "head.hidden.1"
    assert result.evidence[0].observed == 1.0
    assert result.evidence[0].reference == 0.85
    assert result.score == 1.0
    assert "100% of the units of head.hidden.1" in result.summary
    slower, smooth = applied(result, TRANSFORMER)
    assert (slower.get("optimizer.lr"), slower.get("optimizer.clip_norm")) == (0.01, 1.0)
    assert smooth.get("model.activation") == "elu"


@pytest.mark.parametrize("share", [0.0, 0.11, 0.7])
def test_a_layer_that_lives_on_some_units_is_clear(share):
    assert answer(DEAD_ACTIVATIONS, case(units(*[share] * 5))) == Clear()


def test_a_sibling_that_learns_with_as_few_units_moves_the_limit():
    sparse = units(*[0.9] * 5)
    assert found(DEAD_ACTIVATIONS, case(sparse))
    assert answer(DEAD_ACTIVATIONS, case(sparse, healthy=[case(sparse).record])) == Clear()


def gates(*shares):
    return curve("saturated_gates", "lstm.layers.0", *shares)


def test_gates_that_were_drawn_pinned_ask_for_other_weights():
    large = LSTM.edit("model.init_scale", 4.0)
    result = found(SATURATED_GATES, case(gates(0.69, 0.7, 0.74, 0.75, 0.75), config=large))
    assert result.evidence[0].observed == pytest.approx(0.75)
    assert result.evidence[0].reference == 0.5
    assert "75% of the gates" in result.summary
    assert "69% before" in result.summary
    assert [edit.get("model.init_scale") for edit in applied(result, large)] == [1.0]


def test_gates_that_were_driven_out_ask_for_a_lower_rate():
    fast = LSTM.edit("optimizer.lr", 0.3)
    result = found(SATURATED_GATES, case(gates(0.0, 0.9, 0.99, 0.99, 0.99), config=fast))
    assert result.score == 0.5
    assert [edit.get("optimizer.lr") for edit in applied(result, fast)] == [0.03]


def test_gates_that_a_rate_drove_out_rank_below_it():
    pinned = gates(0.0, 0.9, 0.99, 0.99, 0.99)
    steps = curve("global_update_ratio", "", 0.01, 0.2, 0.1, 0.1, 0.01)
    given = case(pinned, steps, curve("fixed_batch_loss", "", 1, 9, 2, 2, 2), config=LSTM)
    assert_explained(found(SATURATED_GATES, given), TOO_HIGH, given)


def test_weights_below_the_usual_scale_are_not_raised_to_free_gates():
    small = LSTM.edit("model.init_scale", 0.5)
    result = found(SATURATED_GATES, case(gates(0.7, 0.7, 0.7), config=small))
    assert result.remedies == ()


def remedied(result, path):
    return [remedy.set[path] for remedy in result.remedies if path in remedy.set]


def test_a_faint_skip_is_not_strengthened_and_few_blocks_not_cut():
    two = case(*blocks(1e-5, 1.0), model__norm="post", model__residual_scale=0.1)
    result = found(VANISHING, two)
    assert [remedy.set for remedy in result.remedies] == [{"model.norm": "pre"}]
    signals = attention(entropy=1.0, cosine=0.9995, layers=3)
    given = case(*signals, model__norm="post", model__residual_scale=0.1)
    result = found(RANK_COLLAPSE, given)
    assert [remedy.set for remedy in result.remedies] == [{"model.norm": "pre"}]


@pytest.mark.parametrize(("clip", "offered"), [(0.0, [1.0]), (10.0, [1.0]), (0.1, []), (1.0, [])])
def test_a_clip_is_turned_on_or_lowered_and_never_raised(clip, offered):
    calm = curve("gradient_norm", "", *[1.0] * 5)
    given = case(calm, *blocks(500.0, 1.0), optimizer__clip_norm=clip, model__residual_scale=0.5)
    result = found(EXPLODING, given)
    assert remedied(result, "optimizer.clip_norm") == offered
    assert remedied(result, "model.residual_scale") == []


def test_gates_that_move_are_clear():
    assert answer(SATURATED_GATES, case(gates(0.0, 0.01, 0.02, 0.1, 0.1), config=LSTM)) == Clear()


def test_a_transformer_has_no_gates():
    assert answer(SATURATED_GATES, case(*attention())) == NotMeasured(why="no LSTM in this model")


# Before the first step


@pytest.mark.parametrize(
    ("rule", "config", "edits", "word"),
    [
        (VANISHING, TRANSFORMER, {"model.norm": "post", "model.n_layers": 24}, "24"),
        (
            EXPLODING,
            TRANSFORMER,
            {"optimizer.name": "sgd", "optimizer.clip_norm": 0.0},
            "clip_norm",
        ),
        (NEVER_SPECIALIZES, TRANSFORMER, {"model.attention_scale": 1e-4}, "0.0001"),
        (UNSCALED, TRANSFORMER, {"model.attention_scale": 4.0}, "16 times"),
        (RANK_COLLAPSE, TRANSFORMER, {"model.norm": "post", "model.residual_scale": 10.0}, "10"),
        (SATURATED_GATES, LSTM, {"model.init_scale": 4.0}, "4"),
    ],
    ids=lambda value: getattr(value, "cause", None),
)
def test_warnings_name_the_setting_and_the_default_has_none(rule, config, edits, word):
    facts = Facts(context_length=48, channels=10)
    told = rule.warn(Plan(config.edits(edits).paths(), facts))
    assert told is not None
    assert word in told
    for quiet in (TRANSFORMER, LSTM, FOUNDING):
        assert rule.warn(Plan(quiet.paths(), facts)) is None
