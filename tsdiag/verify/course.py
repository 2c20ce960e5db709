"""What comes next: waves of arms, each settled by the plan and the results of those before it.

Screening finds the set worth confirming (``screening.py``). Confirmation trains that set and the
control on seeds that chose nothing. What time is left goes to as much random search as screening
took, to the parts of the repair one by one, to the stalled weights, and to the verdicts of the
other causes.

``waves`` goes no further than what is known, so it is asked anew whenever a run has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from statistics import fmean
from types import MappingProxyType

from tsdiag.models import Shapes
from tsdiag.verify.arms import Arm, canonical
from tsdiag.verify.effects import learns
from tsdiag.verify.plan import SEEDS, Plan
from tsdiag.verify.screening import RESTORES, Screening
from tsdiag.verify.waves import Edits, Results, Wave, forkable


class Course:
    """The waves of a plan, given what is known so far."""

    def __init__(
        self,
        plan: Plan,
        shapes: Shapes,
        results: Results,
        closed: bool = False,
        settled: Edits | None = None,
        steps: int | None = None,
        paces: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.plan = plan
        # The set that is being confirmed, whatever screening finds later, and at how many steps.
        self._settled, self._steps = settled, steps
        self._results = results
        self._screening = Screening(plan, shapes, results, closed, paces)

    def waves(self) -> Iterator[Wave]:
        """Yield each wave up to the first that is not done."""
        chosen = self._settled
        if chosen is None:
            chosen = yield from self._screening.waves()
        if chosen is None:
            return
        if chosen:
            confirmation = self._paired("confirmation", chosen)
            yield confirmation
            if confirmation.pending(self._results):
                return
            yield from self._afterwards(chosen)
        for hypothesis in self.plan.hypotheses:
            yield self._paired("other causes", hypothesis.set)

    @cached_property
    def steps(self) -> int:
        """Steps of the confirmation, and of all that is compared over its seeds."""
        if self._steps is not None:
            return self._steps
        chosen = self.chosen()
        return self._screening.steps_of(chosen) if chosen else self.plan.steps

    def pending(self) -> tuple[str, list[Arm]]:
        """Return the first wave that is not done, and what can be run now; ("", []) at the end.

        First what that wave lacks, then what is known already to come after.
        """
        left = [(wave.name, arm) for wave in self.waves() for arm in wave.pending(self._results)]
        if not left:
            return "", []
        return left[0][0], list(dict.fromkeys(arm for _, arm in left))

    def current(self) -> tuple[str, int]:
        """Return the first wave that is not done, and how many of its runs are left."""
        for wave in self.waves():
            if left := wave.pending(self._results):
                return wave.name, len(left)
        return "", 0

    def chosen(self) -> Edits | None:
        """Return the set that screening has found, {} where it has found none, None before."""
        if self._settled is not None:
            return self._settled
        screening = self._screening.waves()
        try:
            while True:
                if next(screening).pending(self._results):
                    return None
        except StopIteration as end:
            found: Edits | None = end.value
            return found

    def losses(
        self, changes: Edits, steps: int | None = None, origin: str | None = None
    ) -> dict[int, float]:
        """Return the losses of a set, by seed; steps None: at those of the confirmation."""
        steps = self.steps if steps is None else steps
        arms = (self._arm(changes, seed, steps, origin) for seed in self.plan.seeds)
        found = {arm.seed: self._results.get(arm) for arm in arms}
        return {seed: loss for seed, loss in found.items() if loss is not None}

    def screened(self, changes: Edits, against: Edits) -> tuple[int, float, float] | None:
        """Return the most steps at which both sets were screened, and their losses there."""
        for steps in self.plan.lengths:
            here = self._screening.loss(changes, steps)
            there = self._screening.loss(against, steps)
            if max(here, there) < float("inf"):
                return steps, here, there
        return None

    def sets(self) -> list[Edits]:
        """Return every set that was screened, in the order of the waves."""
        found = {arm.edits: arm.set for arm in self._screened_arms() if arm.set}
        return list(found.values())

    def _screened_arms(self) -> list[Arm]:
        """Return the arms of screening that have ended."""
        found: dict[Arm, None] = {}
        for wave in self._screening.waves():
            found |= {arm: None for arm in wave.arms if arm in self._results}
            if wave.pending(self._results):
                break
        return list(found)

    def random_best(self) -> tuple[Edits, int, float] | None:
        """Return the best random edit at the most steps that any had, these, and its loss."""
        for steps in self.plan.lengths:
            known = [
                (loss, i)
                for i, edit in enumerate(self.plan.random)
                if (loss := self._screening.loss(edit, steps)) < float("inf")
            ]
            if known:
                loss, i = min(known)
                return self.plan.random[i], steps, loss
        return None

    def random_arms(self) -> list[Arm]:
        """Return the random edits that have been carried out, on one seed."""
        seed, lengths = self.plan.screen_seed, self.plan.lengths
        arms = [self._arm(edit, seed, steps) for steps in lengths for edit in self.plan.random]
        return [arm for arm in arms if arm in self._results]

    def is_random_done(self) -> bool:
        """Tell whether random edits had all the time that is theirs."""
        waves = (self._at_random(steps) for steps in self.plan.lengths)
        return not any(wave.pending(self._results) for wave in waves)

    def reached(self, repair: Edits, steps: int) -> float | None:
        """Return what a set reached at some steps, or else in its confirmation.

        Where it had not begun to learn at these steps, they say nothing of it either.
        """
        found = self._screening.loss(repair, steps)
        if found < self.plan.naive:
            return found
        losses = [self.plan.counted(loss) for loss in self.losses(repair).values()]
        return fmean(losses) if losses else None

    def rests(self, chosen: Edits) -> list[Edits]:
        """Return a set without what could be spared, as far as the rest can be built."""
        return self._screening.rests(chosen)

    def parts(self, chosen: Edits) -> list[Edits]:
        """Return a set change by change; two that are tied to each other are one part."""
        return self._screening.parts(chosen)

    def builds(self, changes: Edits) -> bool:
        """Tell whether a set of changes can be carried out."""
        return self._screening.builds(changes)

    def smallest(self, chosen: Edits) -> Edits:
        """Return the smallest part of a set that goes as far on all seeds: screening had one."""
        parts = [*({path: value} for path, value in chosen.items()), *self.rests(chosen)]
        for part in sorted(parts, key=len):
            if part != chosen and self.is_enough(part, chosen):
                return self.smallest(part)
        return chosen

    def is_enough(self, part: Edits, whole: Edits) -> bool | None:
        """Tell whether a part restores and surely learns, on all seeds; None while one is open."""
        here, there = (list(self.losses(changes).values()) for changes in (part, whole))
        if min(len(here), len(there)) < SEEDS:
            return None
        far, farthest = (fmean(map(self.plan.attained, some)) for some in (here, there))
        return far >= RESTORES * farthest and learns(self.plan, here)

    def restores(self, changes: Edits, best: Edits) -> bool | None:
        """Tell whether a set goes most of another one's way on the seed of screening, if known."""
        both = self.screened(changes, best)
        return None if both is None else self._screening.restores(changes, best, both[0])

    def _afterwards(self, repair: Edits) -> Iterator[Wave]:
        """Yield what shows more of a repair that has had its confirmation."""
        for steps in reversed(self.plan.lengths):
            yield self._at_random(steps)
        if (found := self.random_best()) is not None and self._close(found, repair):
            yield self._paired("random search", found[0])
        # A part that goes as far on all seeds is the repair, and is asked for its own parts. First
        # what screening did not show to fall short: on it hangs whether the repair is minimal.
        smallest = self.smallest(repair)
        for rest in self.rests(smallest):
            if self.restores(rest, smallest) is not False:
                yield self._paired("without a part", rest)
        for part in self._alone(smallest):
            yield self._paired("parts alone", part)
        for rest in self.rests(smallest):
            yield self._paired("without a part", rest)
        yield from self._forks(repair)

    def _at_random(self, steps: int) -> Wave:
        """Return random edits that cost as much as screening did at these steps."""
        plan = self.plan
        taken = [arm for arm in self._screened_arms() if arm.set and arm.steps == steps]
        budget = sum(plan.seconds_of(arm) for arm in taken)
        drawn = list(plan.random)
        if steps > plan.rungs[-1]:
            drawn = self._screening.worth_more_steps(drawn)
        if steps > plan.rungs[0]:
            drawn.sort(key=lambda edit: (self._screening.loss(edit, plan.rungs[0]), len(edit)))
        arms: list[Arm] = []
        spent = 0.0
        for arm in (self._arm(edit, plan.screen_seed, steps) for edit in drawn if taken):
            spent += plan.seconds_of(arm)
            # The last digits of a sum of equal costs must not cost chance a run.
            if arms and spent > budget * (1 + 1e-9):
                break
            arms.append(arm)
        return Wave("random search", tuple(arms))

    def _alone(self, repair: Edits) -> list[Edits]:
        if len(repair) == 1:
            return []
        return [part for part in self.parts(repair) if self.builds(part)]

    def _forks(self, repair: Edits) -> Iterator[Wave]:
        """Yield optimisation remedies, tried from the weights that the run had stalled with."""
        plan = self.plan
        if plan.weights is None:
            return
        sets = [repair, *(hypothesis.set for hypothesis in plan.hypotheses)]
        for changes in {canonical(s): s for s in sets if forkable(s)}.values():
            arms = [
                self._arm(edit, seed, self.steps, plan.run)
                for seed in plan.seeds
                for edit in ({}, changes)
            ]
            yield Wave("from the plateau", tuple(arms))

    def _close(self, found: tuple[Edits, int, float], repair: Edits) -> bool:
        """Tell whether a random edit came near enough to the repair to be compared on all seeds."""
        _, steps, theirs = found
        mine = self.reached(repair, steps)
        if mine is None:
            return False
        return theirs <= mine or self.plan.attained(theirs) >= RESTORES * self.plan.attained(mine)

    def _paired(self, name: str, changes: Edits) -> Wave:
        steps = self.steps
        treatments = [self._arm(changes, seed, steps) for seed in self.plan.seeds]
        pairs = zip(self._controls(), treatments, strict=True)
        return Wave(name, tuple(arm for pair in pairs for arm in pair))

    def _controls(self) -> list[Arm]:
        steps = self.steps
        return [self._arm({}, seed, steps) for seed in self.plan.seeds]

    def _arm(self, changes: Edits, seed: int, steps: int, origin: str | None = None) -> Arm:
        return Arm.of(changes, seed, steps, origin)
