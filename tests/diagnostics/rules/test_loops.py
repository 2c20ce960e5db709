"""Faults of loops: most cannot be planted by a configuration, so their numbers are made by hand.

Those of gradients that pile up are of real runs with the line left out.
"""

from __future__ import annotations

import numpy as np
import pytest

from tsdiag.config import RunConfig
from tsdiag.diagnostics.case import Case, Facts, Record
from tsdiag.diagnostics.diagnose import answer
from tsdiag.diagnostics.findings import Clear, Finding, NotMeasured
from tsdiag.diagnostics.rules.broadcast_loss import RULE as BROADCAST_LOSS
from tsdiag.diagnostics.rules.detached_graph import RULE as DETACHED_GRAPH
from tsdiag.diagnostics.rules.frozen_parameters import RULE as FROZEN_PARAMETERS
from tsdiag.diagnostics.rules.gradients_accumulate import RULE as GRADIENTS_ACCUMULATE
from tsdiag.diagnostics.rules.parameters_not_in_optimizer import RULE as NOT_IN_OPTIMIZER
from tsdiag.diagnostics.rules.rule import Plan
from tsdiag.diagnostics.rules.wrong_mode import RULE as WRONG_MODE
from tsdiag.diagnostics.signals import Signal, Trace
from tsdiag.diagnostics.states import Standing
from tsdiag.models import preset

CONFIG = preset(RunConfig(), "transformer", "default")
TENSORS = (
    "embedding.project.weight",
    "embedding.project.bias",
    "positions.table",
    *(
        f"blocks.{block}.{part}"
        for block in (0, 1)
        for part in (
            "attention.query.weight",
            "attention.key.weight",
            "attention.key.bias",
            "attention.value.weight",
            "feed_forward.expand.weight",
        )
    ),
    "final_norm.weight",
    "head.projection.weight",
)
KEY_BIASES = {name for name in TENSORS if name.endswith("key.bias")}


def below(*paths):
    return {name for name in TENSORS if name.startswith(tuple(paths))}


def curve(name, where, values, every=1):
    steps = np.arange(len(values), dtype=np.float32) * every
    return Signal(name, where, "", steps, np.asarray(values, dtype=np.float32))


def flag(name, zeros=()):
    return [curve(name, tensor, [float(tensor not in zeros)] * 3) for tensor in TENSORS]


def healthy(**zeros):
    """Return what is known of tensors; a keyword names those at which a signal is 0."""
    names = ("trainable", "has_gradient", "owned", "changed")
    signals = [signal for name in names for signal in flag(name, zeros.get(name, ()))]
    for tensor in TENSORS:
        norm = 1e-9 if tensor in KEY_BIASES else 0.5  # zero by algebra
        if tensor not in zeros.get("has_gradient", ()):
            signals.append(curve("tensor_gradient_norm", tensor, [norm] * 3))
    return [
        *signals,
        curve("learning_rate", "", [1e-4, 1e-3, 5e-4]),
        curve("global_update_ratio", "", [1e-3] * 3),
    ]


def case(*signals, config=None, siblings=()):
    record = Record(config or {}, Trace(tuple(signals), "completed"))
    others = tuple(Record(record.config, Trace(tuple(some), "completed")) for some in siblings)
    return Case(record, Facts(48, 10), Standing("stalled", ""), healthy=others)


def observed(finding, signal):
    return [shown.observed for shown in finding.evidence if shown.signal == signal]


def frozen(paths, **more):
    return healthy(trainable=paths, has_gradient=paths, owned=paths, changed=paths, **more)


class TestFrozenParameters:
    def test_names_whole_parts(self):
        found = answer(FROZEN_PARAMETERS, case(*frozen(below("embedding", "blocks"))))
        assert isinstance(found, Finding)
        assert found.score == 1
        assert "12 of 15 tensors" in found.summary
        assert found.summary.endswith(": blocks and embedding")
        assert observed(found, "share of the model that never trains") == [pytest.approx(0.4)]
        assert {e.where for e in found.evidence if e.signal == "trainable"} <= set(TENSORS)

    def test_two_tensors_of_an_embedding_are_one_part_of_five(self):
        found = answer(FROZEN_PARAMETERS, case(*frozen(below("embedding"))))
        assert isinstance(found, Finding)
        assert observed(found, "share of the model that never trains") == [pytest.approx(0.2)]
        assert found.score == pytest.approx(0.75)

    @pytest.mark.parametrize(
        "signals",
        [
            healthy(),
            frozen(below("positions")),  # a fixed table does as well
            frozen(below("blocks.0.attention.key")),  # two tensors of a block
            healthy(has_gradient=below("head"), changed=below("head")),  # used by nobody
            healthy(owned=below("blocks"), changed=below("blocks")),  # not in the optimizer
        ],
        ids=["healthy", "positions", "part", "unused", "not-owned"],
    )
    def test_clear(self, signals):
        assert answer(FROZEN_PARAMETERS, case(*signals)) == Clear()

    def test_a_group_with_a_rate_of_zero(self):
        still = below("blocks")
        found = answer(FROZEN_PARAMETERS, case(*healthy(changed=still)))
        assert isinstance(found, Finding)
        assert "no step changes them" in found.summary
        assert found.summary.endswith(": blocks")
        assert {e.where for e in found.evidence if e.signal == "changed"} <= still - KEY_BIASES
        assert found.remedies == ()

    def test_weights_at_rest_by_rounding_are_no_rate_of_zero(self):
        crawling = [s for s in healthy(changed=below("blocks")) if s.name != "global_update_ratio"]
        crawling.append(curve("global_update_ratio", "", [1e-7] * 3))
        assert answer(FROZEN_PARAMETERS, case(*crawling)) == Clear()

    def test_a_rate_of_zero_at_every_step(self):
        resting = [s for s in healthy(changed=set(TENSORS)) if s.name != "learning_rate"]
        resting.append(curve("learning_rate", "", [0.0] * 3))
        found = answer(FROZEN_PARAMETERS, case(*resting))
        assert isinstance(found, Finding)
        assert observed(found, "learning_rate") == [0]

    def test_remedy_thaws(self):
        config = CONFIG.edit("optimizer.frozen", ["embedding"])
        found = answer(FROZEN_PARAMETERS, case(*frozen(below("embedding")), config=config.paths()))
        assert isinstance(found, Finding)
        (remedy,) = found.remedies
        assert config.edits(remedy.set).optimizer.frozen == ()

    def test_remedy_only_for_what_was_configured(self):
        config = CONFIG
        found = answer(FROZEN_PARAMETERS, case(*frozen(below("embedding")), config=config.paths()))
        assert isinstance(found, Finding)
        assert found.remedies == ()

    def test_warns_of_the_setting(self):
        assert FROZEN_PARAMETERS.warn is not None
        plan = CONFIG.edit("optimizer.frozen", ["blocks"]).paths()
        assert "['blocks']" in (FROZEN_PARAMETERS.warn(Plan(plan, Facts(48, 10))) or "")
        assert FROZEN_PARAMETERS.warn(Plan(CONFIG.paths(), Facts(48, 10))) is None

    def test_not_measured(self):
        assert answer(FROZEN_PARAMETERS, case()) == NotMeasured(why="no trainable in this run")


class TestParametersNotInOptimizer:
    def test_counts_gradients_that_nobody_uses(self):
        lost = below("embedding", "blocks.1")
        found = answer(NOT_IN_OPTIMIZER, case(*healthy(owned=lost, changed=lost)))
        assert isinstance(found, Finding)
        assert "7 of 15 tensors" in found.summary
        assert found.summary.endswith(": blocks.1 and embedding")
        assert found.score == 1
        assert observed(found, "share of the model outside of the optimizer") == [
            pytest.approx(0.3)
        ]
        assert observed(found, "tensor_gradient_norm") == [0.5, 0.5]
        assert found.remedies == ()

    @pytest.mark.parametrize(
        "signals",
        [
            healthy(),
            frozen(below("embedding", "blocks")),
            healthy(owned=below("head")),  # a second optimizer changes it
            healthy(has_gradient=below("head"), owned=below("head"), changed=below("head")),
            healthy(changed=below("blocks")),  # held, at a rate of zero
        ],
        ids=["healthy", "frozen", "second-optimizer", "unused", "rate-of-zero"],
    )
    def test_clear(self, signals):
        assert answer(NOT_IN_OPTIMIZER, case(*signals)) == Clear()

    def test_not_measured(self):
        assert answer(NOT_IN_OPTIMIZER, case(*flag("has_gradient"))) == NotMeasured(
            why="no owned in this run"
        )


def cut(*paths, blind=None, at_work=()):
    silent = below(*paths)
    signals = healthy(has_gradient=silent, changed=silent)
    if blind is not None:
        signals.append(curve("blind_time_share", "", [blind]))
    return [*signals, *(curve("stream_rms", path, [1.0]) for path in at_work)]


class TestDetachedGraph:
    def test_no_gradient_at_the_inputs_is_proof(self):
        found = answer(DETACHED_GRAPH, case(*cut("embedding", blind=1.0)))
        assert isinstance(found, Finding)
        assert found.score == 1
        assert "2 of 15 tensors" in found.summary
        assert found.summary.endswith("behind embedding")
        assert observed(found, "blind_time_share") == [1]

    def test_a_silent_block_at_work(self):
        found = answer(
            DETACHED_GRAPH, case(*cut("blocks.0", at_work=("blocks.0", "blocks.1"), blind=0.0))
        )
        assert isinstance(found, Finding)
        assert found.summary.endswith("behind blocks.0")
        assert observed(found, "share of the model that no gradient reaches") == [
            pytest.approx(0.1)
        ]
        assert 0.5 < found.score < 0.9
        assert observed(found, "blind_time_share") == []

    def test_a_sub_layer_is_seen_by_its_heads(self):
        signals = [*cut("blocks.0.attention", blind=0.0)]
        assert answer(DETACHED_GRAPH, case(*signals)) == Clear()
        signals.append(curve("attention_entropy", "blocks.0.attention[1]", [0.9]))
        found = answer(DETACHED_GRAPH, case(*signals))
        assert isinstance(found, Finding)
        assert found.summary.endswith("behind blocks.0.attention")

    @pytest.mark.parametrize(
        "signals",
        [
            healthy(),
            [*frozen(below("embedding")), curve("blind_time_share", "", [0.0])],
            cut("final_norm", blind=0.0, at_work=("blocks.0",)),  # a module that nobody uses
            healthy(has_gradient=set(TENSORS)),  # no backward pass at all
            [*healthy(), curve("blind_time_share", "", [1.0])],  # a gradient of exactly zero
        ],
        ids=["healthy", "frozen", "unused", "no-backward", "zero"],
    )
    def test_clear(self, signals):
        assert answer(DETACHED_GRAPH, case(*signals)) == Clear()

    def test_blind_to_inputs_that_change_nothing(self):
        ignored = [*cut("embedding", blind=1.0), curve("time_shuffle_effect", "", [0.0])]
        assert answer(DETACHED_GRAPH, case(*ignored)) == Clear()

    def test_not_measured(self):
        found = answer(DETACHED_GRAPH, case(*cut("embedding", at_work=("blocks.0",))))
        assert isinstance(found, NotMeasured)
        assert "2 tensors" in found.why
        assert answer(DETACHED_GRAPH, case(*flag("trainable"))) == NotMeasured(
            why="no has_gradient in this run"
        )


# Every 50 steps. Without clearing: norms over 24, 13, 10 at first and 8, 5, 4 later.
PILED = [23.5, 378.0, 920.0, 2360.0, 2710.0, 3850.0]
FRESH = [23.5, 13.2, 10.3, 3.7, 2.8, 2.0]
PILED_COSINES, FRESH_COSINES = [0.93, 0.97, 1.0, 0.91, 0.99, 1.0], [0.5, 0.1, -0.4, 0.2, 0.6, 0.1]
LOSSES = [3.4, 2.3, 31.0, 46.0, 64.0, 60.0]


def gradients(norms, cosines, losses=LOSSES, square=None, factor=1.0):
    signals = [
        curve("gradient_norm", "", norms, every=50),
        curve("gradient_cosine", "", cosines, every=50),
        curve("train_loss", "", losses, every=50),
    ]
    if square is not None:
        # head and body together are the whole: 0.6 and 0.8 of it
        signals += [
            curve(f"{part}_gradient_norm", "", of * np.asarray(norms), every=50)
            for part, of in (("body", 0.8), ("head", 0.6))
        ]
        half = factor * np.square(square) / 2
        signals += [
            curve("gradient_square", "", half, every=50),
            curve("gradient_covariance_trace", "", 32 * half, every=50),
        ]
    return signals


class TestGradientsAccumulate:
    BY_32 = CONFIG.edit("training.batch_size", 32).paths()

    def test_against_fresh_gradients(self):
        fresh = [23.5, 150.0, 135.0, 56.0, 187.0, 198.0]
        signals = gradients(PILED, PILED_COSINES, square=fresh)
        found = answer(GRADIENTS_ACCUMULATE, case(*signals, config=self.BY_32))
        assert isinstance(found, Finding)
        # ratios 1, 2.52, 6.81, 42.1, 14.5, 19.4: the median of the last four over the first
        assert observed(found, "growth over fresh gradients") == [pytest.approx(17.0, abs=0.1)]
        assert observed(found, "gradient_cosine") == [pytest.approx(0.98)]
        assert found.score == 1
        assert "17-fold" in found.summary
        assert found.remedies == ()

    def test_against_the_loss_where_no_fresh_ones_were_measured(self):
        found = answer(GRADIENTS_ACCUMULATE, case(*gradients(PILED, PILED_COSINES)))
        assert isinstance(found, Finding)
        # ratios 12.7, 249, 165, 348, 339, 497
        assert observed(found, "growth over fresh gradients") == [pytest.approx(27.0, abs=0.2)]

    @pytest.mark.parametrize(
        ("norms", "cosines", "losses", "square"),
        [
            (FRESH, FRESH_COSINES, [3.4, 2.0, 1.0, 0.5, 0.3, 0.2], FRESH),
            (FRESH, FRESH_COSINES, [3.4, 2.0, 1.0, 0.5, 0.3, 0.2], None),
            (PILED, PILED_COSINES, LOSSES, PILED),  # steep: fresh gradients are as large
            (PILED, FRESH_COSINES, LOSSES, None),  # diverging back and forth
            (FRESH, PILED_COSINES, [3.4, 3.3, 3.2, 3.1, 3.0, 2.9], FRESH),  # a crawl
            # the same multiple at every step: micro-batches
            (PILED, PILED_COSINES, LOSSES, [0.125 * norm for norm in PILED]),
        ],
        ids=["healthy", "healthy-by-loss", "explodes", "diverges", "crawls", "micro-batches"],
    )
    def test_clear(self, norms, cosines, losses, square):
        signals = gradients(norms, cosines, losses, square)
        assert answer(GRADIENTS_ACCUMULATE, case(*signals, config=self.BY_32)) == Clear()

    def test_a_scale_of_the_loss_is_no_growth(self):
        scaled = gradients(PILED, PILED_COSINES, square=PILED, factor=1e-6)
        assert answer(GRADIENTS_ACCUMULATE, case(*scaled, config=self.BY_32)) == Clear()

    def test_healthy_siblings_move_the_limit(self):
        signals = gradients(PILED, PILED_COSINES)
        found = answer(GRADIENTS_ACCUMULATE, case(*signals, siblings=[signals]))
        assert found == Clear()

    def test_not_measured(self):
        found = answer(GRADIENTS_ACCUMULATE, case(curve("gradient_norm", "", PILED)))
        assert found == NotMeasured(why="no gradient_cosine in this run")


class TestWrongMode:
    def test_two_evaluations_that_differ(self):
        found = answer(WRONG_MODE, case(curve("evaluation_repeat_effect", "", [0.0, 0.31, 0.25])))
        assert isinstance(found, Finding)
        assert found.score == 1
        assert observed(found, "evaluation_repeat_effect") == [pytest.approx(0.31)]
        assert "3.1e-01" in found.summary

    def test_clear(self):
        for value in (0.0, 3e-7):  # exact, and sums in another order
            assert (
                answer(WRONG_MODE, case(curve("evaluation_repeat_effect", "", [value]))) == Clear()
            )

    def test_not_measured_in_our_own_loop(self):
        assert answer(WRONG_MODE, case(*healthy())) == NotMeasured(
            why="tsdiag's own loop sets the mode of every pass"
        )


class TestBroadcastLoss:
    def test_shapes_differ_and_forecasts_are_flat(self):
        found = answer(BROADCAST_LOSS, case(*shapes(1.0), spread(0.2, 0.0068)))
        assert isinstance(found, Finding)
        assert found.score == 1
        assert "0.7 % of the targets' variance" in found.summary
        assert observed(found, "prediction_variance_ratio") == [pytest.approx(0.0068)]

    def test_shapes_alone(self):
        found = answer(BROADCAST_LOSS, case(*shapes(1.0)))
        assert isinstance(found, Finding)
        assert 0.5 < found.score < 1

    def test_flat_forecasts_alone_are_another_cause(self):
        assert answer(BROADCAST_LOSS, case(*shapes(0.0), spread(0.2, 0.0068))) == Clear()

    def test_shapes_that_pair_the_right_values(self):
        assert answer(BROADCAST_LOSS, case(*shapes(1.0), spread(0.01, 0.8))) == Clear()

    def test_not_measured_in_our_own_loop(self):
        assert answer(BROADCAST_LOSS, case(spread(0.2, 0.0068))) == NotMeasured(
            why="tsdiag's own loss compares tensors of one shape"
        )


def shapes(differ):
    return [curve("output_target_mismatch", "", [differ] * 2)]


def spread(*values):
    return curve("prediction_variance_ratio", "", values)
