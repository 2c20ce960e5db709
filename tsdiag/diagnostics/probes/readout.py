"""The readout waterfall: how much of the target a linear probe finds at each place of a model.

Where it falls from one place to the next, usable information dies. Places are the window itself
("input"), the model's direct children and its blocks (see ``anatomy``) by their paths, in the order
in which they finish, and the output (""). A place that only passes on what the one before gave has
its numbers. Wide places are fitted from few windows, so skills are lower bounds, and lower for the
wider one of two places that hold the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tsdiag.data.windows import Windows
from tsdiag.diagnostics.probes.anatomy import anatomy
from tsdiag.diagnostics.probes.linear_probe import linear_skill
from tsdiag.diagnostics.probes.pool_rank import POOLING
from tsdiag.diagnostics.probes.probe import Probe, Reading, Specimen, View
from tsdiag.diagnostics.probes.sample import spaced, variance
from tsdiag.diagnostics.probes.view import look
from tsdiag.diagnostics.signals import SignalName

FITTED = 1000  # windows of the train span
SCORED = 500  # windows of the validation span
AT_ONCE = 32  # windows of one look, which holds what every module gives
MOST_BYTES = 2**29  # of activations held; more places than fit take another round of looks
INPUT = "input"
BYPASS = "bypass"

Activations = dict[str, Float[Tensor, "window feature"]]

SIGNALS = (
    SignalName(
        "readout_skill",
        "share of target variance",
        "1 - mse / variance of a ridge on the activations, on windows it was not fitted to",
        "state",
    ),
    SignalName("readout_order", "places", "places that the data have passed before", "state"),
    SignalName("readout_features", "numbers", "width of a window's activations there", "state"),
    SignalName(
        "bypass_skill",
        "share of target variance",
        "readout_skill of what the pooling makes of the stream before the first block: what the"
        " head would get if the blocks did nothing",
        "state",
    ),
)


def measure_readout(specimen: Specimen) -> Iterator[Reading]:
    """Fit on train windows, score on validation windows; a constant target has no skill."""
    model = specimen.model
    train, validation = specimen.train.every(FITTED), specimen.validation.every(SCORED)
    targets, truth = (_targets(windows) for windows in (train, validation))
    if variance(truth) == 0:
        return
    view = look(model, *spaced(validation, AT_ONCE))
    found = places(view)
    twins = _first_with_the_same(found)
    widths = {path: found[path][0].numel() for path in twins.values()}
    pooled = bypass(view)
    if pooled is not None:
        widths[BYPASS] = pooled[0].numel()
    skills: dict[str, float] = {}
    for paths in rounds(widths, len(train) + len(validation)):
        fitted, scored = (activations(model, windows, paths) for windows in (train, validation))
        for path in paths:
            # What is not finite cannot be fitted; the loss signals say that it diverged.
            if bool(fitted[path].isfinite().all() and scored[path].isfinite().all()):
                skills[path] = linear_skill((fitted[path], targets), (scored[path], truth))
    for order, path in enumerate(found):
        yield Reading("readout_order", float(order), path)
        yield Reading("readout_features", float(widths[twins[path]]), path)
        if twins[path] in skills:
            yield Reading("readout_skill", skills[twins[path]], path)
    if BYPASS in skills:
        yield Reading("bypass_skill", skills[BYPASS], POOLING)


def places(view: View) -> dict[str, Tensor]:
    """Return what is to be probed by path, in the order of the data."""
    parts = {name for name, _ in view.model.named_children()}
    wanted = {*parts, *anatomy(view.model).blocks, ""}
    # Hooks fire when a module finishes, so ``left`` is in the order of the data.
    found = {INPUT: view.inputs} | {p: left for p, left in view.left.items() if p in wanted}
    count = len(view.inputs)
    return {path: left for path, left in found.items() if left.ndim > 1 and len(left) == count}


def bypass(view: View) -> Float[Tensor, "window feature"] | None:
    """Return what the pooling makes of the stream that enters the first block."""
    pool, blocks = dict(view.model.named_children()).get(POOLING), anatomy(view.model).blocks
    stream = view.entered.get(blocks[0]) if blocks else None
    after = view.entered.get(POOLING)
    if pool is None or stream is None or after is None or stream.shape != after.shape:
        return None
    with torch.no_grad():
        pooled: Tensor = pool(stream)
    return pooled.flatten(1)


def activations(model: nn.Module, windows: Windows, paths: list[str]) -> Activations:
    """Return the flattened activations of all windows at these places."""
    parts: dict[str, list[Tensor]] = defaultdict(list)
    for index in torch.split(_every(windows), AT_ONCE):
        view = look(model, *windows.batch(index))
        for path in paths:
            given = bypass(view) if path == BYPASS else view.left.get(path, view.inputs)
            assert given is not None
            parts[path].append(given.flatten(1).float())
    return {path: torch.cat(parts.pop(path)) for path in paths}


def rounds(widths: Mapping[str, int], windows: int) -> Iterator[list[str]]:
    """Split the places so that the activations [float32] of each round fit into the limit."""
    some: list[str] = []
    for path, width in widths.items():
        held = sum(widths[other] for other in some)
        if some and 4 * windows * (held + width) > MOST_BYTES:
            yield some
            some = []
        some.append(path)
    yield some


def _first_with_the_same(found: Mapping[str, Tensor]) -> dict[str, str]:
    """Return for each place the first one that holds the very same numbers in memory."""
    first: dict[tuple[int, int], str] = {}
    return {
        path: first.setdefault((tensor.data_ptr(), tensor.numel()), path)
        for path, tensor in found.items()
    }


def _targets(windows: Windows) -> Float[Tensor, "window output"]:
    return windows.targets_at(_every(windows)).flatten(1)


def _every(windows: Windows) -> Int64[Tensor, " window"]:
    return torch.arange(len(windows), device=windows.ends.device)


READOUT = Probe("readout", "full", Specimen, SIGNALS, measure_readout)
