"""Cases made by hand: a few curves of blocks and heads, around a complete configuration."""

from __future__ import annotations

import numpy as np

from tsdiag.config import RunConfig
from tsdiag.diagnostics.case import Case, Facts, Record
from tsdiag.diagnostics.diagnose import SYMPTOM, answer
from tsdiag.diagnostics.findings import Finding
from tsdiag.diagnostics.signals import Signal, Trace
from tsdiag.diagnostics.states import Standing
from tsdiag.models import imply, preset

TRANSFORMER = preset(RunConfig(), "transformer", "default")
LSTM = preset(RunConfig().edit("model.kind", "lstm"), "lstm", "small")
FOUNDING = preset(RunConfig(), "transformer", "founding")


def curve(name, where, *values):
    """Return a curve over steps 0, 100, 200, ..."""
    steps = 100 * np.arange(len(values), dtype=np.float32)
    return Signal(name, where, "", steps, np.asarray(values, dtype=np.float32))


def case(*signals, config=TRANSFORMER, healthy=(), **edits):
    changed = config.edits(imply(config, {k.replace("__", "."): v for k, v in edits.items()}))
    trace = Trace(tuple(signals), "completed")
    facts = Facts(context_length=48, channels=10)
    record = Record(changed.paths(), trace)
    return Case(record, facts, Standing("stalled", ""), healthy=tuple(healthy))


def blocks(*norms):
    """Return one curve a block; a value stands for all steps, a tuple for its course."""
    courses = [norm if isinstance(norm, tuple) else (norm,) * 5 for norm in norms]
    return [curve("block_gradient_norm", f"blocks.{i}", *c) for i, c in enumerate(courses)]


def heads(name, *values, layer=0):
    """Return one curve a head; a value stands for all steps, a tuple for its course."""
    return [
        curve(name, f"blocks.{layer}.attention[{i}]", *(v if isinstance(v, tuple) else [v] * 5))
        for i, v in enumerate(values)
    ]


def attention(entropy=0.9, ratio=0.7, grown=1.0, scale=0.8, largest=3.0, cosine=0.4, layers=2):
    """Return what is measured of two heads a layer; healthy numbers unless others are given."""
    signals = [curve("token_cosine", "positions", *[0.17] * 5)]
    for i in range(layers):
        place = f"blocks.{i}.attention"
        signals += [
            *heads("attention_entropy", entropy, entropy, layer=i),
            *heads("query_key_norm", (1.0, grown), (1.0, grown), layer=i),
            *heads("logit_scale", scale, scale, layer=i),
            *heads("largest_logit", largest, largest, layer=i),
            curve("query_key_gradient_norm", place, *[0.5 * ratio] * 5),
            curve("value_gradient_norm", place, *[0.5] * 5),
            curve("block_gradient_norm", f"blocks.{i}", *[1.0] * 5),
            curve("token_cosine", f"blocks.{i}", *[cosine] * 5),
        ]
    return signals


def found(rule, given):
    result = answer(rule, given)
    assert isinstance(result, Finding), result
    assert result.cause == rule.cause
    assert len(result.summary) < 150
    return result


def assert_explained(symptom, rule, given):
    """Check that a rule explains a finding, and that its own is strong enough to stand above it."""
    assert symptom.cause in rule.explains
    assert found(rule, given).score >= SYMPTOM * symptom.score


def applied(result, config):
    """Return the complete configurations that the remedies of a finding lead to."""
    assert result.remedies
    return [config.edits(dict(remedy.set)) for remedy in result.remedies]
