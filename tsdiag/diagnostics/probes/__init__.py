"""The registry of probes: a new one is a file beside this one and a line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tsdiag.diagnostics.probes.activations import ACTIVATIONS
from tsdiag.diagnostics.probes.attention import ATTENTION
from tsdiag.diagnostics.probes.gradients import GRADIENTS
from tsdiag.diagnostics.probes.input_gradient import INPUT_GRADIENT
from tsdiag.diagnostics.probes.loss import FIXED_LOSS, STEP_LOSS, VALIDATION_LOSS
from tsdiag.diagnostics.probes.noise import NOISE
from tsdiag.diagnostics.probes.overfit import OVERFIT
from tsdiag.diagnostics.probes.pool_rank import POOL_RANK
from tsdiag.diagnostics.probes.probe import Probe, Sample, Update, View
from tsdiag.diagnostics.probes.rate_meter import RATE_METER
from tsdiag.diagnostics.probes.readout import READOUT
from tsdiag.diagnostics.probes.sensitivity import SENSITIVITY
from tsdiag.diagnostics.probes.units import UNITS
from tsdiag.diagnostics.probes.updates import UPDATES

# Asked while a run trains: at every step, or on the schedule of ``is_due``.
LIVE: tuple[Probe[Any], ...] = (
    STEP_LOSS,
    VALIDATION_LOSS,
    FIXED_LOSS,
    GRADIENTS,
    UPDATES,
    NOISE,
    ATTENTION,
    ACTIVATIONS,
    UNITS,
)
# Asked once, when a run has ended: together they take as long as about five steps.
AT_END: tuple[Probe[Any], ...] = (SENSITIVITY, INPUT_GRADIENT, POOL_RANK)
# Asked about a model when somebody wants to know: each takes as long as tens of steps.
ON_DEMAND: tuple[Probe[Any], ...] = (READOUT, OVERFIT, RATE_METER)

PROBES = (*LIVE, *AT_END, *ON_DEMAND)


def unmeasured(reasons: Mapping[str, str], probes: Sequence[Probe[Any]] = PROBES) -> dict[str, str]:
    """Return by signal why there is none, from reasons by the names of probes or of subjects."""
    kinds = {"view": View, "update": Update, "sample": Sample}
    return {
        signal.name: f"{name} {why}"
        for name, why in reasons.items()
        for probe in probes
        if probe.name == name or probe.sees is kinds.get(name)
        for signal in probe.signals
    }


# Signals that belong to a state of the model, not to an update (see ``SignalName.of``).
STATES = frozenset(
    signal.name for probe in PROBES for signal in probe.signals if signal.of == "state"
)
