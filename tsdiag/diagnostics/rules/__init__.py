"""The registry of causes: a new one is a file beside this one and a line here."""

from __future__ import annotations

from tsdiag.diagnostics.rules.attention_entropy_collapse import RULE as ATTENTION_ENTROPY_COLLAPSE
from tsdiag.diagnostics.rules.attention_never_specializes import RULE as ATTENTION_NEVER_SPECIALIZES
from tsdiag.diagnostics.rules.batch_mixing import RULE as BATCH_MIXING
from tsdiag.diagnostics.rules.blind_time_steps import RULE as BLIND_TIME_STEPS
from tsdiag.diagnostics.rules.bounded_output import RULE as BOUNDED_OUTPUT
from tsdiag.diagnostics.rules.broadcast_loss import RULE as BROADCAST_LOSS
from tsdiag.diagnostics.rules.clipping_saturated import RULE as CLIPPING_SATURATED
from tsdiag.diagnostics.rules.constant_target import RULE as CONSTANT_TARGET
from tsdiag.diagnostics.rules.corrupt_inputs import RULE as CORRUPT_INPUTS
from tsdiag.diagnostics.rules.dead_activations import RULE as DEAD_ACTIVATIONS
from tsdiag.diagnostics.rules.degenerate_normalization import RULE as DEGENERATE_NORMALIZATION
from tsdiag.diagnostics.rules.detached_graph import RULE as DETACHED_GRAPH
from tsdiag.diagnostics.rules.distribution_shift import RULE as DISTRIBUTION_SHIFT
from tsdiag.diagnostics.rules.dropout_too_strong import RULE as DROPOUT_TOO_STRONG
from tsdiag.diagnostics.rules.exploding_gradients import RULE as EXPLODING_GRADIENTS
from tsdiag.diagnostics.rules.faulty_mask import RULE as FAULTY_MASK
from tsdiag.diagnostics.rules.feature_bottleneck import RULE as FEATURE_BOTTLENECK
from tsdiag.diagnostics.rules.frozen_parameters import RULE as FROZEN_PARAMETERS
from tsdiag.diagnostics.rules.gradient_noise_dominates import RULE as GRADIENT_NOISE_DOMINATES
from tsdiag.diagnostics.rules.gradients_accumulate import RULE as GRADIENTS_ACCUMULATE
from tsdiag.diagnostics.rules.late_plateau import RULE as LATE_PLATEAU
from tsdiag.diagnostics.rules.leaking_baseline import RULE as LEAKING_BASELINE
from tsdiag.diagnostics.rules.learning_rate_too_high import RULE as LEARNING_RATE_TOO_HIGH
from tsdiag.diagnostics.rules.learning_rate_too_low import RULE as LEARNING_RATE_TOO_LOW
from tsdiag.diagnostics.rules.misaligned_target import RULE as MISALIGNED_TARGET
from tsdiag.diagnostics.rules.missing_input_projection import RULE as MISSING_INPUT_PROJECTION
from tsdiag.diagnostics.rules.missing_warmup import RULE as MISSING_WARMUP
from tsdiag.diagnostics.rules.no_signal import RULE as NO_SIGNAL
from tsdiag.diagnostics.rules.order_blind import RULE as ORDER_BLIND
from tsdiag.diagnostics.rules.overfitting import RULE as OVERFITTING
from tsdiag.diagnostics.rules.parameters_not_in_optimizer import RULE as PARAMETERS_NOT_IN_OPTIMIZER
from tsdiag.diagnostics.rules.pooling_discards_channels import RULE as POOLING_DISCARDS_CHANNELS
from tsdiag.diagnostics.rules.poor_initialization import RULE as POOR_INITIALIZATION
from tsdiag.diagnostics.rules.positions_swamped import RULE as POSITIONS_SWAMPED
from tsdiag.diagnostics.rules.rank_collapse import RULE as RANK_COLLAPSE
from tsdiag.diagnostics.rules.redundant_heads import RULE as REDUNDANT_HEADS
from tsdiag.diagnostics.rules.rule import Rule
from tsdiag.diagnostics.rules.saturated_gates import RULE as SATURATED_GATES
from tsdiag.diagnostics.rules.schedule_decayed_early import RULE as SCHEDULE_DECAYED_EARLY
from tsdiag.diagnostics.rules.under_capacity import RULE as UNDER_CAPACITY
from tsdiag.diagnostics.rules.unscaled_attention_logits import RULE as UNSCALED_ATTENTION_LOGITS
from tsdiag.diagnostics.rules.unscaled_inputs import RULE as UNSCALED_INPUTS
from tsdiag.diagnostics.rules.unscaled_target import RULE as UNSCALED_TARGET
from tsdiag.diagnostics.rules.vanishing_gradients import RULE as VANISHING_GRADIENTS
from tsdiag.diagnostics.rules.weight_decay_too_strong import RULE as WEIGHT_DECAY_TOO_STRONG
from tsdiag.diagnostics.rules.wrong_mode import RULE as WRONG_MODE

# In the order of the catalogue: structure, gradients and attention, optimisation, data, loops.
RULES: tuple[Rule, ...] = (
    POOLING_DISCARDS_CHANNELS,
    ORDER_BLIND,
    POSITIONS_SWAMPED,
    DEGENERATE_NORMALIZATION,
    MISSING_INPUT_PROJECTION,
    FEATURE_BOTTLENECK,
    BATCH_MIXING,
    FAULTY_MASK,
    BLIND_TIME_STEPS,
    VANISHING_GRADIENTS,
    EXPLODING_GRADIENTS,
    ATTENTION_NEVER_SPECIALIZES,
    ATTENTION_ENTROPY_COLLAPSE,
    RANK_COLLAPSE,
    REDUNDANT_HEADS,
    UNSCALED_ATTENTION_LOGITS,
    LEARNING_RATE_TOO_HIGH,
    LEARNING_RATE_TOO_LOW,
    MISSING_WARMUP,
    SCHEDULE_DECAYED_EARLY,
    CLIPPING_SATURATED,
    POOR_INITIALIZATION,
    GRADIENT_NOISE_DOMINATES,
    WEIGHT_DECAY_TOO_STRONG,
    LATE_PLATEAU,
    DROPOUT_TOO_STRONG,
    OVERFITTING,
    UNDER_CAPACITY,
    DEAD_ACTIVATIONS,
    UNSCALED_INPUTS,
    UNSCALED_TARGET,
    BOUNDED_OUTPUT,
    DISTRIBUTION_SHIFT,
    MISALIGNED_TARGET,
    NO_SIGNAL,
    LEAKING_BASELINE,
    CONSTANT_TARGET,
    CORRUPT_INPUTS,
    FROZEN_PARAMETERS,
    PARAMETERS_NOT_IN_OPTIMIZER,
    GRADIENTS_ACCUMULATE,
    DETACHED_GRAPH,
    WRONG_MODE,
    BROADCAST_LOSS,
    SATURATED_GATES,
)
