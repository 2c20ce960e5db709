"""Which final runs there are, in which order, and that each is done once."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from tsdiag.compare.finals import FINALISTS, Finals
from tsdiag.config import RunConfig
from tsdiag.store.database import open_store
from tsdiag.store.leases import holder
from tsdiag.store.runs import RunRow, create_run, find_runs, update_run
from tsdiag.store.studies import save_study


@pytest.fixture
def store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/tsdiag.db")
    save_study(store, "s", {})
    return store


def ended(store, trial, loss, role="trial", state="completed", lr=None):
    config = RunConfig().edit("optimizer.lr", lr or 1e-3 * (trial + 1))
    row = RunRow(
        "s", role, config.to_json(), trial=trial, state=state, validation_loss=loss, max_steps=10
    )
    return create_run(store, row)


@pytest.fixture
def searched(store):
    ended(store, 0, 0.5, role="baseline")
    for trial, loss in enumerate([0.9, 0.3, 0.4, 0.2]):
        ended(store, trial, loss, state="pruned" if trial == 3 else "completed")
    return store


def finals(store, seeds=2, search_seed=0):
    return Finals(store, "s", seeds, search_seed)


def labels(store):
    return [candidate.label for candidate in finals(store).candidates()]


def carry_out(store, final, state="completed", **columns):
    request = final.request
    row = RunRow(
        "s",
        "final",
        request.config.to_json(),
        seed=request.config.seed,
        trial=request.trial,
        label=request.label,
        parent=request.parent,
        state=state,
        **columns,
    )
    return create_run(store, row)


def test_the_baseline_and_the_best_that_went_their_whole_way(searched):
    assert labels(searched) == ["baseline 0", "trial 1", "trial 2"]
    assert FINALISTS == 2


@pytest.mark.parametrize("missing", ["baseline", "trial"])
def test_no_candidates_while_either_side_is_missing(store, missing):
    ended(store, 0, 0.5, role="trial" if missing == "baseline" else "baseline")
    assert finals(store).candidates() == []
    assert finals(store).next() is None


def test_runs_of_an_older_version_count_as_what_they_are(searched):
    """Stored before some paths came up, which then had their default."""
    first = finals(searched).next()
    row = carry_out(searched, first)
    older = json.loads(row.config)
    del older["training"]["micro_batch"], older["training"]["cuda_graph"]
    update_run(searched, row.id, config=json.dumps(older))
    assert [run.id for run in finals(searched).runs(first.candidate, first.seed)] == [row.id]


def test_how_steps_were_computed_makes_no_other_configuration(store):
    ended(store, 0, 0.5, role="baseline")
    for trial, precision in enumerate(["float32", "bfloat16"]):
        row = ended(store, trial, 0.3, lr=0.1)
        config = RunConfig.from_json(row.config).edit("training.precision", precision)
        update_run(store, row.id, config=config.to_json())
    assert labels(store) == ["baseline 0", "trial 0"]


def test_a_configuration_that_was_drawn_twice_goes_once(store):
    ended(store, 0, 0.5, role="baseline")
    for trial, lr in enumerate([0.1, 0.1, 0.2]):
        ended(store, trial, 0.3 + 0.1 * (trial == 2), lr=lr)
    assert labels(store) == ["baseline 0", "trial 0", "trial 2"]


def test_a_seed_that_chose_something_is_never_a_final_seed(searched):
    used = {row.seed for row in find_runs(searched, "s") if row.role != "final"}
    assert used
    for seed in (0, 7):
        found = Finals(searched, "s", 20, seed).seeds
        assert len(set(found)) == 20
        assert not used & {*found}


def test_pairs_are_completed_early(searched):
    order = [(c.label, seed) for c, seed in finals(searched).pending()]
    assert order[:3] == [("baseline 0", 1), ("trial 1", 1), ("trial 2", 1)]
    assert [seed for _, seed in order] == [1, 1, 1, 2, 2, 2]


def test_each_is_handed_out_once_and_differs_in_its_seed_only(searched):
    mine = finals(searched)
    seen = []
    while (final := mine.next()) is not None:
        assert final.request.config == final.candidate.config.edit("seed", final.seed)
        carry_out(searched, final)
        mine.release(final.candidate, final.seed)
        seen.append((final.candidate.label, final.seed))
    assert len(seen) == len(set(seen)) == 6
    assert mine.pending() == []


def test_a_run_that_another_process_is_at_is_left_to_it(searched, monkeypatch):
    mine, other = finals(searched), finals(searched)
    # Process 1 is always there, and it is not this one.
    other._owner = mine._owner.rsplit(":", 2)[0] + ":1:"
    first, second = mine.next(), other.next()
    assert first.candidate.label != second.candidate.label
    assert not other.keep(first)
    mine.release(first.candidate, first.seed)
    assert holder(searched, "s/final/baseline 0/1") is None


def test_what_failed_is_tried_again_but_not_for_ever(searched):
    for _ in range(3):
        final = finals(searched).next()
        assert (final.candidate.label, final.seed) == ("baseline 0", 1)
        carry_out(searched, final, "failed")
        finals(searched).release(final.candidate, final.seed)
    assert finals(searched).next().candidate.label != "baseline 0"


@pytest.mark.parametrize("state", ["diverged", "infeasible", "early_stopped"])
def test_what_has_ended_badly_is_not_tried_again(searched, state):
    final = finals(searched).next()
    carry_out(searched, final, state)
    assert (final.candidate.label, final.seed) not in [
        (candidate.label, seed) for candidate, seed in finals(searched).pending()
    ]


@pytest.mark.parametrize("state", ["interrupted", "running"])
def test_what_was_cut_short_is_resumed(searched, state):
    mine = finals(searched)
    final = mine.next()
    row = carry_out(searched, final, state, step=5)
    mine.release(final.candidate, final.seed)
    again = mine.next()
    assert (again.candidate.label, again.seed) == (final.candidate.label, final.seed)
    assert again.request.parent == row.id
    assert find_runs(searched, "s", role="final")[0].state == "interrupted"


def test_a_clock_that_is_behind_hides_no_final_run_that_has_ended(searched):
    mine = finals(searched)
    final = mine.next()
    cut = carry_out(searched, final, "interrupted")
    mine.release(final.candidate, final.seed)
    # Its successor ended on a machine whose clock is an hour behind, so it comes first by time.
    behind = cut.started - timedelta(hours=1)
    carry_out(
        searched, replace(final, request=replace(final.request, parent=cut.id)), started=behind
    )
    again = mine.next()
    assert (again.candidate.label, again.seed) != (final.candidate.label, final.seed)


def test_new_finalists_after_a_longer_search(searched):
    mine = finals(searched)
    while (final := mine.next()) is not None:
        carry_out(searched, final)
    ended(searched, 4, 0.1)
    pending = [(c.label, seed) for c, seed in mine.pending()]
    assert pending == [("trial 4", 1), ("trial 4", 2)]


def test_runs_of_another_configuration_do_not_count(searched):
    mine = finals(searched)
    final = mine.next()
    row = carry_out(searched, final)
    other = final.request.config.edit("optimizer.lr", 0.5).to_json()
    update_run(searched, row.id, config=other)
    assert len(mine.pending()) == 6
