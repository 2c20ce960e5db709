"""What comes next: waves of arms, each settled by the plan and the results of those before it.

Screening on one seed finds the set worth confirming: remedies alone and all at once, then pairs,
then the better half of all sets at more steps (successive halving; Jamieson and Talwalkar 2016),
then the best one with a part left out. Pairs are asked although no member helps alone: repairs are
not monotone. Confirmation trains that set and the control on seeds that chose nothing. What time is
left goes to as many random edits as screening took, to the parts of the repair one by one, to the
stalled weights, and to the verdicts of the other causes.

``waves`` goes no further than what is known, so it is asked anew whenever a run has ended.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import combinations

from tsdiag.diagnostics.states import LEARNS
from tsdiag.models import Shapes
from tsdiag.verify.arms import Arm, canonical
from tsdiag.verify.effects import learns
from tsdiag.verify.hypotheses import pairs, refusal, union
from tsdiag.verify.plan import SEEDS, WORTHWHILE, Plan
from tsdiag.verify.waves import Edits, Results, Wave, forkable, without

# A set restores where it goes this share of the way that the best one goes. Smaller sets that do
# are preferred to larger ones that go a little further.
RESTORES = 0.9
RATE = "optimizer.lr"
# Between two rates that are tried, about half a decade.
LADDER = 3.0


class Course:
    """The waves of a plan, given what is known so far."""

    def __init__(
        self,
        plan: Plan,
        shapes: Shapes,
        results: Results,
        closed: bool = False,
        settled: Edits | None = None,
    ) -> None:
        self.plan = plan
        self._settled = settled  # the set that is being confirmed, whatever screening finds later
        self.shapes = shapes
        self._base = plan.base
        self._results = results
        # Out of its part of the time: screening goes on with what it knows.
        self._closed = closed

    def waves(self) -> Iterator[Wave]:
        """Yield each wave up to the first that is not done."""
        chosen = self._settled
        if chosen is None:
            chosen = yield from self._screening()
        if chosen is None:
            return
        if chosen:
            confirmation = self._paired("confirmation", chosen)
            yield confirmation
            if self._pending(confirmation):
                return
            yield from self._afterwards(chosen)
        for hypothesis in self.plan.hypotheses:
            yield self._paired("other causes", hypothesis.set)

    def pending(self) -> tuple[str, list[Arm]]:
        """Return the first wave that is not done, and what can be run now; ("", []) at the end.

        First what that wave lacks; then the controls of the confirmation, which are needed in any
        case, and what is known already to come after.
        """
        left = [(wave.name, arm) for wave in self.waves() for arm in self._pending(wave)]
        if not left:
            return "", []
        controls = [arm for arm in self._controls() if arm not in self._results]
        arms = [arm for name, arm in left if name == left[0][0]]
        return left[0][0], list(dict.fromkeys([*arms, *controls, *(arm for _, arm in left)]))

    def chosen(self) -> Edits | None:
        """Return the set that screening has found, {} where it has found none, None before."""
        if self._settled is not None:
            return self._settled
        screening = self._screening()
        try:
            while True:
                if self._pending(next(screening)):
                    return None
        except StopIteration as end:
            found: Edits | None = end.value
            return found

    def losses(self, changes: Edits, origin: str | None = None) -> dict[int, float]:
        """Return the losses of a set at the steps of the confirmation, by seed."""
        arms = (self._arm(changes, seed, self.plan.steps, origin) for seed in self.plan.seeds)
        found = {arm.seed: self._results.get(arm) for arm in arms}
        return {seed: loss for seed, loss in found.items() if loss is not None}

    def screened(self, changes: Edits, against: Edits) -> tuple[int, float, float] | None:
        """Return the most steps at which both sets were screened, and their losses there."""
        for steps in reversed(self.plan.rungs):
            here, there = self._loss(changes, steps), self._loss(against, steps)
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
        for wave in self._screening():
            found |= {arm: None for arm in wave.arms if arm in self._results}
            if self._pending(wave):
                break
        return list(found)

    def random_best(self) -> tuple[Edits, float] | None:
        """Return the random edit with the lowest loss at the longest rung, or None."""
        rung, seed = self.plan.rungs[-1], self.plan.screen_seed
        known = [
            (loss, i)
            for i, edit in enumerate(self.plan.random)
            if (loss := self._results.get(self._arm(edit, seed, rung))) is not None
        ]
        return (self.plan.random[min(known)[1]], min(known)[0]) if known else None

    def random_arms(self) -> list[Arm]:
        """Return the random edits that have been carried out, on one seed."""
        seed = self.plan.screen_seed
        arms = [
            self._arm(edit, seed, steps) for steps in self.plan.rungs for edit in self.plan.random
        ]
        return [arm for arm in arms if arm in self._results]

    def _screening(self) -> Generator[Wave, None, Edits | None]:
        """Yield the waves of screening; return what ``chosen`` does."""
        plan, first, last = self.plan, self.plan.rungs[0], self.plan.rungs[-1]
        singles = [hypothesis.set for hypothesis in plan.hypotheses if not hypothesis.is_longer]
        if not (yield from self._ask("screening", [{}, *singles], first)):
            return None
        rates = self._other_rates(singles, first)
        if not (yield from self._ask("other rates", rates, first)):
            return None
        singles = self._with_one_rate(singles, rates, first)
        whole = union(self._base, singles, self.shapes)
        sets = [*singles, *([whole] if whole and whole not in singles else [])]
        if not (yield from self._ask("all at once", sets, first)):
            return None
        best = self._best(sets, first)
        if best is None:
            return {}
        if not any(self._suffices(single, best, first) for single in singles):
            promising = sorted(singles, key=lambda single: self._rank(single, first))
            both = pairs(self._base, promising, self.shapes)
            sets += [pair for pair in both if pair not in sets]
            if not (yield from self._ask("pairs", sets, first)):
                return None
        # A rate that did nothing for the model as it was may be too low for it once it is repaired.
        best = self._best(sets, first)
        more = [] if best is None else self._other_rates([best], first)
        if not (yield from self._ask("other rates", [*sets, *more], first)):
            return None
        sets += [rate for rate in more if rate not in sets]
        # Out of time between the two: what is known of the shorter one must do.
        known = any(self._loss(changes, last) < float("inf") for changes in sets)
        if last > first and self._closed and not known:
            last = first
        if last > first:
            half = sorted(sets, key=lambda changes: self._rank(changes, first))
            sets = half[: max(2, (len(sets) + 1) // 2)]
            if not (yield from self._ask("halving", [{}, *sets], last)):
                return None
        best = self._best(sets, last)
        if best is None:
            return {}
        smallest = [s for s in sets if self._restores(s, best, last)]
        chosen = min(smallest, key=lambda changes: (len(changes), self._rank(changes, last)))
        return (yield from self._leave_out(chosen, best, last))

    def _other_rates(self, singles: list[Edits], steps: int) -> list[Edits]:
        """Return the best of the sets that change the rate and help, at a larger and smaller one.

        A remedy's rate is known to half a decade: the meter judges one step from the first weights.
        """
        best = self._best([single for single in singles if RATE in single], steps)
        if best is None or not self._helps(best, steps):
            return []
        rates = [float(f"{best[RATE] * factor:.2g}") for factor in (LADDER, 1 / LADDER)]
        return [found for rate in rates if (found := best | {RATE: rate}) not in singles]

    def _with_one_rate(self, singles: list[Edits], rates: list[Edits], steps: int) -> list[Edits]:
        """Return the sets with one rate for all that change nothing else: the best, if it helps.

        ``rates`` are what ``_other_rates`` found; the best takes the place of the set it is of.
        """
        of = rates[0].keys() if rates else {RATE}
        alike = [single for single in singles if single.keys() == of or single.keys() == {RATE}]
        if not alike:
            return singles
        best = self._best([*alike, *rates], steps)
        best = alike[0] if best is None or not self._helps(best, steps) else best
        at = singles.index(alike[0])
        return [*singles[:at], best, *(s for s in singles[at:] if s not in alike)]

    def _leave_out(
        self, chosen: Edits, best: Edits, steps: int
    ) -> Generator[Wave, None, Edits | None]:
        """Leave out paths as long as the rest restores; return what is left."""
        while len(chosen) > 1:
            rests = self.rests(chosen)
            if not (yield from self._ask("leaving out", rests, steps)):
                return None
            enough = [rest for rest in rests if self._restores(rest, best, steps)]
            if not enough:
                return chosen
            # What can be spared one by one can mostly be spared at once, which saves rounds.
            kept = {path: chosen[path] for path in chosen if all(path in rest for rest in enough)}
            if len(enough) > 1 and self.builds(kept):
                if not (yield from self._ask("leaving out", [kept], steps)):
                    return None
                if self._restores(kept, best, steps):
                    chosen = kept
                    continue
            chosen = min(enough, key=lambda rest: self._rank(rest, steps))
        return chosen

    def rests(self, chosen: Edits) -> list[Edits]:
        """Return a set without what could be spared, as far as the rest can be built.

        That is each path; two paths of which neither can be missing by itself, as the width and
        the embedding that needs it; and all that one remedy has brought.
        """
        single = {path: without(chosen, {path}) for path in chosen}
        tied = [path for path, rest in single.items() if not self.builds(rest)]
        rests = [
            *single.values(),
            *(without(chosen, set(two)) for two in combinations(tied, 2)),
            *(without(chosen, hypothesis.set.keys()) for hypothesis in self.plan.hypotheses),
        ]
        some = {canonical(rest): rest for rest in rests if self.builds(rest) and rest != chosen}
        return list(some.values())

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
        far, farthest = (self.plan.attained(sum(some) / len(some)) for some in (here, there))
        return far >= RESTORES * farthest and learns(self.plan, here)

    def builds(self, changes: Edits) -> bool:
        """Tell whether a set of changes can be carried out."""
        return bool(changes) and refusal(self._base, changes, self.shapes) is None

    def restores(self, changes: Edits, best: Edits) -> bool | None:
        """Tell whether a set goes most of another one's way on the seed of screening, if known."""
        for steps in reversed(self.plan.rungs):
            if max(self._loss(changes, steps), self._loss(best, steps)) < float("inf"):
                return self._restores(changes, best, steps)
        return None

    def _afterwards(self, repair: Edits) -> Iterator[Wave]:
        """Yield what shows more of a repair that has had its confirmation."""
        plan, last = self.plan, self.plan.rungs[-1]
        for steps in plan.rungs:
            taken = sum(arm.steps == steps and bool(arm.set) for arm in self._screened_arms())
            drawn = list(plan.random)
            if steps > plan.rungs[0]:
                drawn.sort(key=lambda edit: self._rank(edit, plan.rungs[0]))
            yield self._wave("random search", drawn[:taken], steps)
        if (found := self.random_best()) is not None and self._close(found, repair, last):
            yield self._paired("random search", found[0])
        # A part that goes as far on all seeds is the repair, and is asked for its own parts.
        smallest = self.smallest(repair)
        for part in self._alone(smallest):
            yield self._paired("parts alone", part)
        for rest in self.rests(smallest):
            yield self._paired("without a part", rest)
        yield from self._forks(repair)

    def _alone(self, repair: Edits) -> list[Edits]:
        if len(repair) == 1:
            return []
        parts: list[Edits] = [{path: value} for path, value in repair.items()]
        return [part for part in parts if self.builds(part)]

    def _forks(self, repair: Edits) -> Iterator[Wave]:
        """Yield optimisation remedies, tried from the weights that the run had stalled with."""
        plan = self.plan
        if plan.weights is None:
            return
        sets = [repair, *(hypothesis.set for hypothesis in plan.hypotheses)]
        for changes in {canonical(s): s for s in sets if forkable(s)}.values():
            arms = [
                self._arm(edit, seed, plan.steps, plan.run)
                for seed in plan.seeds
                for edit in ({}, changes)
            ]
            yield Wave("from the plateau", tuple(arms))

    def _close(self, found: tuple[Edits, float], repair: Edits, steps: int) -> bool:
        """Tell whether a random edit came near enough to the repair to be compared on all seeds."""
        mine = self._results.get(self._arm(repair, self.plan.screen_seed, steps))
        return mine is None or self.plan.attained(found[1]) >= RESTORES * self.plan.attained(mine)

    def _ask(self, name: str, sets: list[Edits], steps: int) -> Generator[Wave, None, bool]:
        """Yield the wave of these sets, and tell whether all of it is known."""
        wave = self._wave(name, sets, steps)
        yield wave
        return not self._pending(wave)

    def _wave(self, name: str, sets: list[Edits], steps: int) -> Wave:
        arms = (self._arm(changes, self.plan.screen_seed, steps) for changes in sets)
        dropped = self._closed and name != "random search"
        return Wave(name, tuple(arm for arm in arms if not dropped or arm in self._results))

    def _paired(self, name: str, changes: Edits) -> Wave:
        treatments = [self._arm(changes, seed, self.plan.steps) for seed in self.plan.seeds]
        pairs = zip(self._controls(), treatments, strict=True)
        return Wave(name, tuple(arm for pair in pairs for arm in pair))

    def _controls(self) -> list[Arm]:
        return [self._arm({}, seed, self.plan.steps) for seed in self.plan.seeds]

    def _arm(self, changes: Edits, seed: int, steps: int, origin: str | None = None) -> Arm:
        return Arm.of(changes, seed, steps, origin)

    def _pending(self, wave: Wave) -> list[Arm]:
        return [arm for arm in wave.arms if arm not in self._results]

    def _loss(self, changes: Edits, steps: int) -> float:
        found = self._results.get(self._arm(changes, self.plan.screen_seed, steps))
        return float("inf") if found is None else found

    def _rank(self, changes: Edits, steps: int) -> tuple[float, int]:
        return self._loss(changes, steps), len(changes)

    def _best(self, sets: list[Edits], steps: int) -> Edits | None:
        """Return the set with the lowest loss, or None where nothing was carried out."""
        known = [changes for changes in sets if self._loss(changes, steps) < float("inf")]
        return min(known, key=lambda changes: self._rank(changes, steps)) if known else None

    def _suffices(self, changes: Edits, best: Edits, steps: int) -> bool:
        """Tell whether a set restores, and learns already: at few steps the best may be nothing."""
        attained = self.plan.attained(self._loss(changes, steps))
        return self._restores(changes, best, steps) and attained > LEARNS

    def _helps(self, changes: Edits, steps: int) -> bool:
        """Tell whether a set gains over the control what would be worth having."""
        least = WORTHWHILE * (self.plan.naive - self.plan.reference)
        return self._loss({}, steps) - self._loss(changes, steps) >= least

    def _restores(self, changes: Edits, best: Edits, steps: int) -> bool:
        """Tell whether a set goes most of the way that the best one goes.

        The way begins at the naive floor, as skill does. Where none has come that far at so few
        steps, it begins at the control.
        """
        lowest, control = self._loss(best, steps), self._loss({}, steps)
        start = self.plan.naive if lowest < self.plan.naive else control
        if not lowest < start:
            return changes == best
        return start - self._loss(changes, steps) >= RESTORES * (start - lowest)
