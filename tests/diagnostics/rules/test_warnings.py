"""What a configuration alone warns of, before the first step."""

from __future__ import annotations

import pytest

from tsdiag.config import RunConfig
from tsdiag.diagnostics.case import Facts
from tsdiag.diagnostics.rules.blind_time_steps import RULE as BLIND_TIME_STEPS
from tsdiag.diagnostics.rules.degenerate_normalization import RULE as DEGENERATE_NORMALIZATION
from tsdiag.diagnostics.rules.feature_bottleneck import RULE as FEATURE_BOTTLENECK
from tsdiag.diagnostics.rules.missing_input_projection import RULE as MISSING_INPUT_PROJECTION
from tsdiag.diagnostics.rules.order_blind import RULE as ORDER_BLIND
from tsdiag.diagnostics.rules.pooling_discards_channels import RULE as POOLING_DISCARDS_CHANNELS
from tsdiag.diagnostics.rules.positions_swamped import RULE as POSITIONS_SWAMPED
from tsdiag.diagnostics.rules.rule import Plan
from tsdiag.models import imply, preset

CONFIG = preset(RunConfig(), "transformer", "default")
FACTS = Facts(context_length=48, channels=10)
MEAN_CHANNELS = {"model.pooling": "mean_channels"}
MEAN_TIME = {"model.pooling": "mean_time", "model.positions": "none"}
UNPROJECTED = {"model.d_model": "channels", "model.n_heads": 4, "model.head_dim": 64}


def plan_of(edits):
    return Plan(CONFIG.edits(imply(CONFIG, edits)).paths(), FACTS)


WARNS = {
    "mean_channels": (POOLING_DISCARDS_CHANNELS, MEAN_CHANNELS),
    "rows": (ORDER_BLIND, {**MEAN_TIME, "model.embedding": "linear"}),
    "learned": (POSITIONS_SWAMPED, {"model.pooling": "mean_time"}),
    "one number": (DEGENERATE_NORMALIZATION, {"model.d_model": 1}),
    "its own mean": (DEGENERATE_NORMALIZATION, {**MEAN_CHANNELS, "model.final_norm": True}),
    "wide heads": (MISSING_INPUT_PROJECTION, UNPROJECTED),
    "neck": (FEATURE_BOTTLENECK, {"model.d_model": 4}),
    "ff_dim": (FEATURE_BOTTLENECK, {"model.ff_dim": 8}),
    "switched off": (BLIND_TIME_STEPS, {"model.pooling": "last", "model.residual_scale": 0.0}),
}


@pytest.mark.parametrize("name", WARNS)
def test_a_plan_is_warned_of(name):
    rule, edits = WARNS[name]
    assert rule.warn(plan_of(edits))
    assert rule.warn(plan_of({})) is None
