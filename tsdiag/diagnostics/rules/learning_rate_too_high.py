"""The rate is too large: steps overshoot, and the loss ends no better than a constant.

What it looks for: single steps that moved all weights by a twentieth of their length or more, and a
loss on fixed windows that rose far above where it began; or a rate thirty times what the loss
tolerates from fresh weights, with steps longer than in healthy runs.

Why training stalls: a step longer than the curvature allows lands higher than it began. Weights
grow, activations die or saturate, and what is left predicts the mean; later, smaller steps do not
bring the dead parts back.

Told apart from: missing-warmup, where only the first steps are long; exploding-gradients, where
gradients grow with depth and a clip helps; weight-decay-too-strong, where steps are long because
the weights shrink, and the loss does not jump; gradient-noise-dominates, where the loss of batches
jumps and not that of fixed windows.

Remedies: the tolerated rate, at most a tenth of the present one; with it a clip and a warmup where
there are none.

Limits: a rate that is too high from the third step on and dies before the next measurement shows
only its jump. Where weights began far from any use, steps of a fifteenth of their length lower the
loss at first and there is no jump: that is suspected, and shown by the remedy alone. Between 0.03
and 0.1 small models here still learned, with update ratios up to 0.05.

References: Smith 2017 (the range test); Lewkowycz et al. 2020 (catapults above the stable rate);
Bottou et al. 2018, section 4 (steps and curvature).
"""

from __future__ import annotations

from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, Remedy, Suspect, strength
from tsdiag.diagnostics.measures import first, greatest, last
from tsdiag.diagnostics.rules.rule import Rule

# Largest update over weight: healthy traces 0.001 to 0.0076, without warmup up to 0.034; the
# largest with which a model here still learned is 0.050 (0.058 of weights that decay had shrunk),
# and 0.055 to 0.25 stalled.
LONG, HUGE = 0.052, 0.2
# Largest over first loss of the fixed windows: healthy traces 1 to 1.4, without warmup up to 3.8.
JUMP, EXPLOSION = 2.5, 50.0
# Configured over tolerated rate: healthy traces 0.1 to 10. Where it leaves no doubt, steps need be
# only beyond the healthy ones: rates of .05 and .1 read 32 to 100, with steps of .015 to .05.
RATIO, FAR_BEYOND, BRISK = 15.0, 30.0, 0.012
# Above this no model here learned, with or without a jump: 0.058 with decay, 0.084 at a rate of .3
# in a stream of four, which stalled.
SUSPECT = 0.07
PREFERRED_CLIP, PREFERRED_WARMUP = 1.0, 0.1


def longest(record: Record) -> float | None:
    """Return the longest step, in lengths of the weights."""
    return greatest(record.signal("global_update_ratio"))


def jump(record: Record) -> float | None:
    """Return the largest loss of the fixed windows over their first."""
    loss = record.signal("fixed_batch_loss")
    start, top = first(loss), greatest(loss)
    return top / start if start and top is not None else None


def check(case: Case) -> Answer:
    """Look for steps that are too long and did harm."""
    steps = case.record.signal("global_update_ratio")
    loss = case.record.signal("fixed_batch_loss")
    length, rise = longest(case.record), jump(case.record)
    if steps is None or loss is None or length is None or rise is None:
        return Clear()
    meter = case.record.signal("rate_ratio")
    ratio = last(meter)
    beyond = ratio is not None and ratio >= FAR_BEYOND
    long, limit = case.upper(longest, BRISK if beyond else LONG), case.upper(jump, JUMP)
    if length <= long or (rise <= limit and not beyond):
        return Clear()
    rate = float(case.setting("optimizer.lr", 0.0))
    start = first(loss) or 0.0
    shown = [evidence(steps, length, long)]
    if rise > limit:
        shown.append(evidence(loss, rise * start, limit * start))
    if meter is not None and ratio is not None and ratio > RATIO:
        shown.append(evidence(meter, ratio, RATIO))
    harm = f"the loss of fixed windows rose to {rise:.2g} times its start"
    if rise <= limit:
        harm = f"fresh weights tolerated only {1 / (ratio or 1):.1g} of that rate"
    return Finding(
        cause="learning-rate-too-high",
        score=max(
            strength(length, case.upper(longest, LONG), HUGE), strength(rise, limit, EXPLOSION)
        ),
        summary=f"at a rate of {rate:g} a step moved the weights by {100 * length:.2g} % of their "
        f"length, and {harm}",
        evidence=tuple(shown),
        remedies=(_slower(case, rate, ratio),) if rate > 0 else (),
    )


def suspect(case: Case) -> Suspect | None:
    """Propose a lower rate where steps were too long for anything that learned, without a jump."""
    rate, length = float(case.setting("optimizer.lr", 0.0)), longest(case.record)
    if rate <= 0 or length is None or length <= case.upper(longest, SUSPECT):
        return None
    why = f"at a rate of {rate:g} a step moved the weights by {100 * length:.2g} % of their length"
    remedy = _slower(case, rate, last(case.record.signal("rate_ratio")))
    return Suspect(cause="learning-rate-too-high", why=why, remedies=(remedy,))


def _slower(case: Case, rate: float, ratio: float | None) -> Remedy:
    # What the loss tolerated from fresh weights, or a tenth where that is known to be no less.
    slower = rate / max(10.0, ratio or 0.0)
    edit: dict[str, Any] = {"optimizer.lr": float(f"{slower:.2g}")}
    if float(case.setting("optimizer.clip_norm", 0.0)) == 0:
        edit["optimizer.clip_norm"] = PREFERRED_CLIP
    if float(case.setting("optimizer.warmup_fraction", 0.0)) == 0:
        edit["optimizer.warmup_fraction"] = PREFERRED_WARMUP
    return Remedy(
        set=edit,
        expects="fixed_batch_loss no longer rises, global_update_ratio stays below 0.03",
        safety="slower where the rate was not the cause; take another tenth if it still jumps",
        source="Smith 2017; measured: 0.3 stalled at .70 and 0.03 reached .155 (tests/traces)",
    )


RULE = Rule(
    cause="learning-rate-too-high",
    page=__doc__,
    check=check,
    suspect=suspect,
    needs={"global_update_ratio": "", "fixed_batch_loss": ""},
    explains=("attention-entropy-collapse", "dead-activations", "saturated-gates"),
)
