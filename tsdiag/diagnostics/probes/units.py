"""Units that have stopped: activations without a slope, gates that are pinned open or shut."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tsdiag.diagnostics.probes.probe import Probe, Reading, View
from tsdiag.diagnostics.probes.readings import Found, readings
from tsdiag.diagnostics.signals import SignalName

# Without randomness and parameters of their own, so that their slopes can be taken again.
KINDS = (nn.ReLU, nn.GELU, nn.ELU, nn.SiLU, nn.SELU, nn.Mish, nn.Hardswish, nn.Tanh, nn.Sigmoid)
CHANNELS_FIRST = (nn.Conv1d, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)
DEAD_SLOPE = 1e-3  # a unit that never passes more of a gradient learns nothing
SAMPLED_WINDOWS = 8  # for gates: a share of thousands needs no more, and they cost a forward pass
SATURATED = 5.0  # nats from half open: a sigmoid's slope there is 0.7 % (the catalogue's limit)


def _measure(view: View) -> list[Reading]:
    found: Found = {}
    channels_first = {
        id(view.left[path])
        for path, module in view.model.named_modules()
        if isinstance(module, CHANNELS_FIRST) and path in view.left
    }
    with torch.autocast(view.inputs.device.type, enabled=False):
        for path, module in view.model.named_modules():
            if path not in view.entered:
                continue
            entered = view.entered[path]
            if isinstance(module, KINDS):
                axis = 1 if id(entered) in channels_first else -1
                found["dead_share", path] = dead_share(module, entered.movedim(axis, -1))
            elif isinstance(module, nn.LSTM) and _is_plain(module, entered):
                every = -(-len(entered) // SAMPLED_WINDOWS)
                share = saturated_gates(module, entered[::every], view.left[path][::every])
                found["saturated_gates", path] = share
    return readings(found)


def dead_share(activation: nn.Module, entered: Float[Tensor, "*sample unit"]) -> Float[Tensor, ""]:
    """Return the share of units whose activation is flat at every sample."""
    with torch.enable_grad():
        given = entered.detach().clone().requires_grad_()
        # Past the hooks that somebody may have left there; of a copy, as it may work in place.
        (slope,) = torch.autograd.grad(activation.forward(given * 1).sum(), given)
    steepest = slope.abs().flatten(0, -2).amax(dim=0)
    # A unit that is not a number is not dead, and neither is anything then known about the others.
    dead = (steepest < DEAD_SLOPE).to(steepest.dtype).mean()
    return torch.where(entered.isfinite().all(), dead, torch.nan)


@torch.no_grad()
def saturated_gates(
    lstm: nn.LSTM,
    entered: Float[Tensor, "batch token features"],
    left: Float[Tensor, "batch token states"],
) -> Float[Tensor, ""]:
    """Return the share of input, forget and output gates that are pinned.

    A state before a step is the output of the step before, so no loop over time is needed.
    """
    shares = []
    states = left.chunk(2 if lstm.bidirectional else 1, dim=-1)
    for state, suffix in zip(states, ("", "_reverse"), strict=False):
        weights = {name: getattr(lstm, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh")}
        first = torch.zeros_like(state[:, :1])
        before = (state[:, 1:], first) if suffix else (first, state[:, :-1])
        gates = entered @ weights["weight_ih"].T + torch.cat(before, 1) @ weights["weight_hh"].T
        if lstm.bias:
            gates = gates + getattr(lstm, f"bias_ih_l0{suffix}")
            gates = gates + getattr(lstm, f"bias_hh_l0{suffix}")
        # In torch's order: input, forget, candidate, output. The candidate is a value, no gate.
        into, forget, _, out = gates.chunk(4, dim=-1)
        shares.append((torch.stack((into, forget, out)).abs() > SATURATED).to(gates.dtype).mean())
    return torch.where(left.isfinite().all(), torch.stack(shares).mean(), torch.nan)


def _is_plain(lstm: nn.LSTM, entered: Tensor) -> bool:
    """Tell whether all states of the layer can be seen from outside."""
    return lstm.num_layers == 1 and lstm.proj_size == 0 and lstm.batch_first and entered.dim() == 3


SIGNALS = (
    SignalName(
        "dead_share",
        "share",
        "share of an activation's units that are flat at every token of every window",
        of="state",
    ),
    SignalName(
        "saturated_gates",
        "share",
        "share of an LSTM layer's input, forget and output gates beyond 5 nats from half open",
        of="state",
    ),
)

UNITS = Probe("units", "standard", View, SIGNALS, _measure)
