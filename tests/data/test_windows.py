"""Windows, targets and scalers against the obvious slow computation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsdiag.config import DataConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.data.split import rows_needed, split_rows, window_ends
from tsdiag.errors import DataError

SPANS = ("train", "validation", "test")


def slow_change(future: float, last: float, transform: str) -> float:
    match transform:
        case "none":
            return future
        case "difference":
            return future - last
        case "percent_change":
            return 100 * (future / last - 1)
        case _:
            return math.log(future) - math.log(last)


def slow_windows(raw: np.ndarray, config: DataConfig, borders: tuple[int, int]):
    """Per span: windows as (end, inputs, targets), and the number dropped; all in plain loops."""
    filled = raw.copy()
    if config.fill == "forward":
        for row in range(1, len(raw)):
            for column in range(raw.shape[1]):
                if math.isnan(filled[row, column]):
                    filled[row, column] = filled[row - 1, column]
    starts = (0, borders[0] + config.embargo, borders[1] + config.embargo)
    stops = (*borders, len(raw))
    result = {}
    for name, start, stop in zip(SPANS, starts, stops, strict=True):
        kept, dropped, end = [], 0, max(start - 1, config.context_length - 1)
        while end + config.prediction_length < stop:
            context = filled[end - config.context_length + 1 : end + 1]
            truth = [raw[end + ahead, -1] for ahead in range(config.prediction_length + 1)]
            if any(math.isnan(cell) for cell in [*context.flatten(), *truth]):
                dropped += 1
            else:
                last, *future = (value + config.offset for value in truth)
                targets = [slow_change(value, last, config.transform) for value in future]
                kept.append((end, context, targets, sum(value == last for value in future)))
            end += config.stride
        result[name] = (kept, dropped)
    return filled, result


@st.composite
def cases(draw):
    rows = draw(st.integers(30, 80))
    channels = draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    # Few distinct levels, so that ties occur.
    raw = rng.integers(1, 6, size=(rows, channels)).astype(float)
    raw[rng.random(raw.shape) < draw(st.sampled_from([0.0, 0.02, 0.1]))] = np.nan
    config = DataConfig(
        path="rows.parquet",
        target=f"c{channels - 1}",
        offset=draw(st.sampled_from([0.0, 10.0])),
        transform=draw(st.sampled_from(["none", "difference", "percent_change", "log_return"])),
        fill=draw(st.sampled_from(["forward", "none"])),
        context_length=draw(st.integers(1, 6)),
        prediction_length=draw(st.integers(1, 3)),
        stride=draw(st.integers(1, 4)),
        embargo=draw(st.integers(0, 2)),
    )
    return raw, config


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cases())
def test_fast_windows_equal_slow_ones(tmp_path, case):
    raw, config = case
    names = [f"c{number}" for number in range(raw.shape[1])]
    pd.DataFrame(raw, columns=names).to_parquet(tmp_path / "rows.parquet")
    borders = (round(len(raw) * 0.7), round(len(raw) * 0.85))
    filled, expected = slow_windows(raw, config, borders)
    if any(not kept for kept, _ in expected.values()):
        with pytest.raises(DataError, match=r"missing value"):
            load_dataset(config, tmp_path)
        return
    found = load_dataset(config, tmp_path)
    mean, std = np.nanmean(filled[: borders[0]], axis=0), np.nanstd(filled[: borders[0]], axis=0)
    train_targets = np.array([targets for _, _, targets, _ in expected["train"][0]])
    for name in SPANS:
        windows, (kept, dropped) = getattr(found, name), expected[name]
        assert windows.ends.tolist() == [end for end, *_ in kept]
        assert found.summary.windows[name] == len(kept)
        assert found.summary.dropped_windows[name] == dropped
        assert found.summary.ties[name] == sum(ties for *_, ties in kept)
        inputs, targets = windows.batch(torch.arange(len(windows)))
        np.testing.assert_allclose(
            inputs, [(context - mean) / std for _, context, *_ in kept], rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(
            targets[..., 0],
            (np.array([t for _, _, t, _ in kept]) - train_targets.mean()) / train_targets.std(),
            rtol=1e-4,
            atol=1e-5,
        )
        assert (windows.moves(torch.arange(len(windows))) == 0).sum() == found.summary.ties[name]
    assert found.summary.filled_cells == np.isnan(raw).sum() - np.isnan(filled).sum()


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(1, 200),
    context=st.integers(1, 30),
    horizon=st.integers(1, 10),
    embargo=st.integers(0, 10),
    stride=st.integers(1, 5),
)
def test_targets_never_cross_spans_and_rows_needed_is_the_border(
    rows, context, horizon, embargo, stride
):
    config = DataConfig(
        context_length=context, prediction_length=horizon, embargo=embargo, stride=stride
    )
    counts = []
    for _, span in split_rows(rows, config).spans():
        ends = window_ends(span, config)
        counts.append(len(ends))
        for end in ends:
            assert end - context + 1 >= 0
            assert {int(end) + 1, int(end) + horizon} <= set(span)
    assert all(counts) or rows < rows_needed(config)

    def enough(number: int) -> bool:
        return all(len(window_ends(s, config)) for _, s in split_rows(number, config).spans())

    needed = rows_needed(config)
    assert enough(needed)
    assert not any(enough(number) for number in range(1, needed))


@pytest.fixture
def walk(tmp_path):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(300, 4)).cumsum(axis=0) + 100, columns=list("abcd"))
    frame.to_parquet(tmp_path / "walk.parquet")
    config = DataConfig(
        path="walk.parquet", target=("b", "d"), context_length=12, prediction_length=3
    )
    return load_dataset(config, tmp_path)


def test_spans_share_one_tensor(walk):
    assert walk.train.inputs.data_ptr() == walk.test.inputs.data_ptr()
    assert walk.train.inputs.is_contiguous()
    assert walk.train.inputs.shape == (300, 4)


def test_targets_by_end_row_are_those_of_the_batches(walk):
    everything = torch.arange(len(walk.validation))
    by_row = walk.validation.targets[walk.validation.ends]
    assert torch.equal(by_row, walk.validation.batch(everything)[1])
    assert walk.validation.targets[-3:].isnan().all()


def test_restored_targets_are_levels(walk):
    index = torch.arange(5)
    restored = walk.test.restore(walk.test.batch(index)[1])
    ends = walk.test.ends[:5]
    expected = torch.stack([walk.test.levels[ends + k] for k in (1, 2, 3)], dim=1)
    torch.testing.assert_close(restored, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("most", [0, 100, 43, 7, 2, 1])
def test_every_spaces_windows_evenly(walk, most):
    chosen = walk.test.every(most)
    assert len(walk.test) == 43
    assert len(chosen) == min(most or 43, 43)
    steps = chosen.ends.diff()
    assert len(steps) == 0 or steps.max() - steps.min() <= 1
