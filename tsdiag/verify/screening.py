"""Screening: which set of changes is worth confirming, found on one seed.

Sets differ in the cost of a step by tenfold. What is cheap comes first, at as many steps as its
confirmation would have: remedies alone, in pairs and all at once. Where none of that learns, all
remedies are asked at fewer steps, alone and all at once, then pairs, then the better half of all
sets at more steps (successive halving; Jamieson and Talwalkar 2016). Then parts of the best set are
left out. Pairs are asked although no member helps alone: repairs are not monotone. Where nothing
has begun to learn, losses rank noise: then the better half goes on to more steps.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from itertools import combinations
from types import MappingProxyType

from tsdiag.diagnostics.states import LEARNS
from tsdiag.models import Shapes
from tsdiag.verify.arms import Arm, canonical
from tsdiag.verify.hypotheses import pairs, refusal, union
from tsdiag.verify.plan import WORTHWHILE, Plan
from tsdiag.verify.waves import Edits, Results, Wave, without

# A set restores where it goes this share of the way that the best one goes. Smaller sets that do
# are preferred to larger ones that go a little further.
RESTORES = 0.9
RATE = "optimizer.lr"
# Between two rates that are tried, about half a decade.
LADDER = 3.0
# Of two rates that go about as far, the lower is taken: the higher may be at the edge of what is
# stable. Of a planted fault, 9e-3 did best on six seeds and lost 65 % on three others; 3e-3 brings
# back 94 % there. Closer than RESTORES, since a rate that is too low does not spare anything.
AS_FAR = 0.95
# So many times as many steps are worth another round; less is within what timing is off by.
LONGER = 1.5
# A part is spared where what is left affords this share of the steps: less is within what timing is
# off by.
AFFORDS = 0.95
# A set is cheap where its steps take this share of the control's.
CHEAP = 0.5
# Course: waves that end with the set that was found, {} where there is none, None where time ends.
Search = Generator[Wave, None, Edits | None]


class Screening:
    """The waves of screening, given what is known so far."""

    def __init__(
        self,
        plan: Plan,
        shapes: Shapes,
        results: Results,
        closed: bool,
        paces: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._plan = plan
        self._paces = paces  # what a step took in runs, by their label [s]
        self._base = plan.base
        self._shapes = shapes
        self._results = results
        # Out of its part of the time: it goes on with what it knows, once that is anything.
        remedies = [h.set for h in plan.hypotheses]
        known = (self.loss(s, steps) for s in remedies for steps in plan.lengths)
        self._closed = closed and any(loss < float("inf") for loss in known)

    def waves(self) -> Search:
        """Yield the waves up to the first that is not done; return the set that was found."""
        singles = [
            hypothesis.set for hypothesis in self._plan.hypotheses if not hypothesis.is_longer
        ]
        cheap = self._cheap(self._joined(singles))
        found = (yield from self._for_longer(cheap)) if cheap else []
        if found is None:
            return None
        if self._learns(found, self._plan.most_steps):
            return (yield from self._smallest(found, self._plan.most_steps))
        ranked = yield from self._at_rungs(singles)
        if ranked is None:
            return None
        sets, last = ranked if ranked[0] else (found, self._plan.most_steps)
        is_open = not cheap and self._plan.most_steps >= LONGER * last
        if is_open and not self._is_learning(sets, last):
            longer = yield from self._for_longer(self._better_half(sets, last))
            if longer is None:
                return None
            if longer:
                sets, last = longer, self._plan.most_steps
        return (yield from self._smallest(sets, last))

    def _at_rungs(
        self, singles: list[Edits]
    ) -> Generator[Wave, None, tuple[list[Edits], int] | None]:
        """Ask all sets at the rungs; return what is left of them, and at how many steps."""
        first, last = self._plan.rungs[0], self._plan.rungs[-1]
        if not (yield from self._ask("screening", [{}, *singles], first)):
            return None
        rates = self._other_rates(singles, first)
        if not (yield from self._ask("other rates", rates, first)):
            return None
        singles = self._with_one_rate(singles, rates, first)
        whole = union(self._base, singles, self._shapes)
        sets = [*singles, *([whole] if whole and whole not in singles else [])]
        if not (yield from self._ask("all at once", sets, first)):
            return None
        best = self._best(sets, first)
        if best is None:
            return [], last
        if not any(self._suffices(single, best, first) for single in singles):
            promising = sorted(singles, key=lambda single: self._rank(single, first))
            both = pairs(self._base, promising, self._shapes)
            sets += [pair for pair in both if pair not in sets]
            if not (yield from self._ask("pairs", sets, first)):
                return None
        # A rate that did nothing for the model as it was may be too low for it once it is repaired.
        more = yield from self._rates_of_best(sets, first)
        if more is None:
            return None
        sets = more
        # Out of time between the two: what is known of the shorter one must do.
        known = any(self.loss(changes, last) < float("inf") for changes in sets)
        if last > first and self._closed and not known:
            last = first
        if last > first:
            sets = self._better_half(sets, first)
            if not (yield from self._ask("halving", [{}, *sets], last)):
                return None
        return sets, last

    def _smallest(self, sets: list[Edits], steps: int) -> Search:
        """Ask for the smallest part of the best set that restores, and return it."""
        best = self._best(sets, steps)
        if best is None:
            return {}
        smallest = [s for s in sets if self.restores(s, best, steps)]
        chosen = min(smallest, key=lambda changes: (len(changes), self._rank(changes, steps)))
        return (yield from self._leave_out(self._calmest(chosen, smallest, steps), best, steps))

    def _joined(self, singles: list[Edits]) -> list[Edits]:
        """Return remedies alone, in pairs and all at once."""
        sets = [*singles, *pairs(self._base, singles, self._shapes)]
        whole = union(self._base, singles, self._shapes)
        return sets if not whole or whole in sets else [*sets, whole]

    def _cheap(self, sets: list[Edits]) -> list[Edits]:
        """Return the sets whose steps are cheap, where more steps are worth another round."""
        most = CHEAP * self._plan.pace_of({})
        longer = self._plan.most_steps >= LONGER * self._plan.rungs[-1]
        return [changes for changes in sets if longer and self._plan.pace_of(changes) <= most]

    def _for_longer(self, sets: list[Edits]) -> Generator[Wave, None, list[Edits] | None]:
        """Ask sets at the steps of a confirmation, and return those that are known there."""
        steps = self._plan.most_steps
        if not (yield from self._ask("more steps", sets, steps)):
            return None
        known = [changes for changes in sets if self.loss(changes, steps) < float("inf")]
        return (yield from self._rates_of_best(known, steps)) if known else []

    def worth_more_steps(self, sets: list[Edits]) -> list[Edits]:
        """Return the sets that make steps cheap; where there are none, the better half of all."""
        return self._cheap(sets) or self._better_half(sets, self._plan.rungs[-1])

    def _rates_of_best(
        self, sets: list[Edits], steps: int
    ) -> Generator[Wave, None, list[Edits] | None]:
        """Ask a larger and a smaller rate of the best set that has one; return all sets."""
        best = self._best(sets, steps)
        more = [] if best is None else self._other_rates([best], steps)
        if not (yield from self._ask("other rates", [*sets, *more], steps)):
            return None
        return [*sets, *(rate for rate in more if rate not in sets)]

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
        if best is None or not self._helps(best, steps):
            best = alike[0]
        best = self._calmest(best, [*alike, *rates], steps)
        at = singles.index(alike[0])
        return [*singles[:at], best, *(s for s in singles[at:] if s not in alike)]

    def _calmest(self, best: Edits, sets: list[Edits], steps: int) -> Edits:
        """Return the same set with the lowest rate that goes about as far."""
        rest = without(best, {RATE})
        same = [s for s in sets if RATE in s and RATE in best and without(s, {RATE}) == rest]
        enough = [s for s in same if self.restores(s, best, steps, AS_FAR)]
        return min(enough, key=lambda s: float(s[RATE]), default=best)

    def _leave_out(self, chosen: Edits, best: Edits, steps: int) -> Search:
        """Leave out paths as long as the rest restores; return what is left."""
        while len(chosen) > 1:
            rests = self.rests(chosen)
            if not (yield from self._ask("leaving out", rests, steps)):
                return None
            enough = [
                rest
                for rest in rests
                if self.restores(rest, best, steps) and self._affords(rest, chosen, steps)
            ]
            if not enough:
                return chosen
            # What can be spared one by one can mostly be spared at once, which saves rounds.
            kept = {path: chosen[path] for path in chosen if all(path in rest for rest in enough)}
            if len(enough) > 1 and self.builds(kept):
                if not (yield from self._ask("leaving out", [kept], steps)):
                    return None
                if self.restores(kept, best, steps) and self._affords(kept, chosen, steps):
                    chosen = kept
                    continue
            chosen = min(enough, key=lambda rest: self._rank(rest, steps))
        return chosen

    def _affords(self, rest: Edits, chosen: Edits, steps: int) -> bool:
        """Tell whether what is left has as many steps in its confirmation.

        Narrower heads can be spared and make steps three times as cheap: without them, five pairs
        had so few steps that nothing learned.
        """
        return self.steps_of(rest) >= AFFORDS * min(steps, self.steps_of(chosen))

    def steps_of(self, changes: Edits) -> int:
        """Return the steps of a confirmation of a set, by what its steps took where it has run."""
        label = Arm.of(changes, self._plan.screen_seed, 1).label
        return self._plan.steps_of(changes, self._paces.get(label))

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
            *(without(chosen, hypothesis.set.keys()) for hypothesis in self._plan.hypotheses),
        ]
        some = {canonical(rest): rest for rest in rests if self.builds(rest) and rest != chosen}
        return list(some.values())

    def parts(self, chosen: Edits) -> list[Edits]:
        """Return a set change by change; two that are tied to each other are one part."""
        found: list[Edits] = []
        left = sorted(chosen)
        while left:
            path = left.pop(0)
            partner = next((other for other in left if self._tied(chosen, path, other)), None)
            if partner is not None:
                left.remove(partner)
            paths = (path,) if partner is None else (path, partner)
            found.append({p: chosen[p] for p in paths})
        return found

    def _tied(self, chosen: Edits, one: str, other: str) -> bool:
        """Tell whether neither of two changes can be missing, and both together can."""
        single = (self.builds(without(chosen, {path})) for path in (one, other))
        rest = without(chosen, {one, other})
        return not any(single) and (not rest or self.builds(rest))

    def builds(self, changes: Edits) -> bool:
        """Tell whether a set of changes can be carried out."""
        return bool(changes) and refusal(self._base, changes, self._shapes) is None

    def restores(self, changes: Edits, best: Edits, steps: int, share: float = RESTORES) -> bool:
        """Tell whether a set goes most of the way that the best one goes.

        The way begins at the naive floor, as skill does. Where none has come that far at so few
        steps, it begins at the control.
        """
        lowest, control = self._counted(best, steps), self._counted({}, steps)
        start = self._plan.naive if lowest < self._plan.naive else control
        if not lowest < start or start == float("inf"):  # nothing is shown of any of them
            return changes == best
        return start - self._counted(changes, steps) >= share * (start - lowest)

    def _counted(self, changes: Edits, steps: int) -> float:
        """Return what a loss counts as in a comparison; to rank sets, any loss will do."""
        loss = self.loss(changes, steps)
        return loss if loss == float("inf") else self._plan.counted(loss)

    def loss(self, changes: Edits, steps: int) -> float:
        """Return what a set reached on the seed of screening; infinite where that is not known."""
        found = self._results.get(Arm.of(changes, self._plan.screen_seed, steps))
        return float("inf") if found is None else found

    def _ask(self, name: str, sets: list[Edits], steps: int) -> Generator[Wave, None, bool]:
        """Yield the wave of these sets, and tell whether all of it is known."""
        arms = [Arm.of(changes, self._plan.screen_seed, steps) for changes in sets]
        wave = Wave(name, tuple(a for a in arms if not self._closed or a in self._results))
        yield wave
        return not wave.pending(self._results)

    def _rank(self, changes: Edits, steps: int) -> tuple[float, int]:
        return self.loss(changes, steps), len(changes)

    def _better_half(self, sets: list[Edits], steps: int) -> list[Edits]:
        """Return the sets with the lower losses, at least two."""
        ranked = sorted(sets, key=lambda changes: self._rank(changes, steps))
        return ranked[: max(2, (len(sets) + 1) // 2)]

    def _best(self, sets: list[Edits], steps: int) -> Edits | None:
        """Return the set with the lowest loss, or None where nothing was carried out."""
        known = [changes for changes in sets if self.loss(changes, steps) < float("inf")]
        return min(known, key=lambda changes: self._rank(changes, steps)) if known else None

    def _is_learning(self, sets: list[Edits], steps: int) -> bool:
        """Tell whether any of the sets got below the naive floor, so that their order tells."""
        return any(self.loss(changes, steps) < self._plan.naive for changes in sets)

    def _learns(self, sets: list[Edits], steps: int) -> bool:
        """Tell whether any of the sets learns."""
        return any(self._plan.attained(self.loss(changes, steps)) > LEARNS for changes in sets)

    def _suffices(self, changes: Edits, best: Edits, steps: int) -> bool:
        """Tell whether a set restores, and learns already: at few steps the best may be nothing."""
        attained = self._plan.attained(self.loss(changes, steps))
        return self.restores(changes, best, steps) and attained > LEARNS

    def _helps(self, changes: Edits, steps: int) -> bool:
        """Tell whether a set gains over the control what would be worth having.

        Where the control has not been trained so long, over the naive floor.
        """
        least = WORTHWHILE * (self._plan.naive - self._plan.reference)
        control = self._counted({}, steps)
        before = self._plan.naive if control == float("inf") else control
        return before - self._counted(changes, steps) >= least
