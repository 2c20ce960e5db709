"""The clip cuts nearly every gradient to a small part of its length, and the optimizer feels it.

What it looks for: a clip that was active in nine of ten steps and left less than a twentieth of the
gradient, under an optimizer whose steps are as long as its gradients: SGD; or Adam with coupled
decay that has become nearly all that it follows.

Why training stalls: with SGD a clip at a thousandth of the usual norm is a rate of a thousandth.
With Adam and L2 the decay is added behind the clip, is not cut, and outweighs the data.

Told apart from: learning-rate-too-low, where the rate itself is low and no clip is in the way;
weight-decay-too-strong, where the decay outweighs gradients of full length.

Remedies: a clip at about the usual norm of the gradients, so that it catches only those far above;
or AdamW, which is indifferent to the scale.

Limits: the median norm is that of a run that was held back; it may fall once the run learns. An
active clip alone says nothing: in healthy runs here it was active in 47 to 100 % of the steps.

References: Pascanu et al. 2013 (clipping by norm); Loshchilov and Hutter 2019, section 2 (L2 under
Adam); measured: AdamW at a clip of 0.01 reached .995, SGD .16.
"""

from __future__ import annotations

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, Remedy, strength
from tsdiag.diagnostics.measures import average, middle
from tsdiag.diagnostics.rules.rule import Rule
from tsdiag.diagnostics.rules.weight_decay_too_strong import decay

ALWAYS = 0.9  # share of the steps; healthy traces 0.47 to 1
# Clip over the median norm: healthy traces 0.11 to 1.2, SGD learned at 0.3 and stalled at 0.001.
LEFT, NOTHING = 0.03, 1e-4
# Decay over all that Adam follows, median over tensors: healthy traces 0.003 to 0.02.
DECAY = 0.9
SCALE_FREE = ("adamw", "sam")


def left(record: Record) -> float | None:
    """Return the clip over the median norm of the gradients."""
    norm = middle(record.signal("gradient_norm"), record.warmup)
    clip = float(record.setting("optimizer.clip_norm", 0.0))
    return clip / norm if clip and norm else None


def check(case: Case) -> Answer:
    """Look for gradients of which the clip leaves nothing, where that matters."""
    clipped, norm = case.record.signal("clipped"), case.record.signal("gradient_norm")
    share, rest = average(clipped, case.record.warmup), left(case.record)
    limit = case.lower(left, LEFT)
    if clipped is None or norm is None or share is None or rest is None or not _felt(case):
        return Clear()
    if share <= ALWAYS or rest >= limit:
        return Clear()
    clip = float(case.setting("optimizer.clip_norm"))
    usual = clip / rest
    return Finding(
        cause="clipping-saturated",
        score=strength(rest, limit, NOTHING),
        summary=f"the clip of {clip:g} was active in {100 * share:.0f} % of the steps and left "
        f"{100 * rest:.2g} % of gradients with a usual norm of {usual:.2g}",
        evidence=(
            evidence(clipped, share, ALWAYS),
            evidence(norm, usual, clip / limit),
            *_decay_shown(case.record),
        ),
        remedies=_remedies(case, usual),
    )


def _felt(case: Case) -> bool:
    """Tell whether the clip changes what the optimizer does."""
    name = case.setting("optimizer.name", "adamw")
    if name in SCALE_FREE:
        return False
    share = decay(case.record)
    return name == "sgd" or (share is not None and share > DECAY)


def _decay_shown(record: Record) -> tuple[Evidence, ...]:
    share = decay(record)
    if share is None or share <= DECAY:
        return ()
    median = "ratio, median over tensors"
    return (Evidence(signal="decay_share", observed=share, reference=DECAY, unit=median),)


def _remedies(case: Case, usual: float) -> tuple[Remedy, ...]:
    raised = Remedy(
        set={"optimizer.clip_norm": float(f"{usual:.2g}")},
        expects="clipped falls to about a half, global_update_ratio grows",
        safety="if the loss jumps, take a third of it",
        source="Pascanu et al. 2013; measured with SGD: 1.16 at a clip of 0.001, .155 at 10",
    )
    if case.setting("optimizer.name") != "sgd":
        return (raised,)
    # A rate of SGD means nothing to Adam; this is the middle of what trained here.
    return (
        raised,
        Remedy(
            set={"optimizer.name": "adamw", "optimizer.lr": 1e-3},
            expects="validation_loss falls at any clip",
            safety="a new rate has to be found for it",
            source="Kingma and Ba 2015, section 2.1: invariant to the scale of gradients",
        ),
    )


RULE = Rule(
    cause="clipping-saturated",
    page=__doc__,
    check=check,
    needs={"clipped": "", "gradient_norm": ""},
    explains=("learning-rate-too-low", "weight-decay-too-strong", "late-plateau"),
)
