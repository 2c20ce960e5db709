"""Attention whose patterns lose single entries, without a pattern ever held whole.

The scores are gone through in blocks that fit a cache. What is kept for the backward pass grows
linearly with the tokens: queries, keys, values, output and the seed of the mask; the backward
pass computes each block of the pattern and draws its mask again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsdiag.models.dropout import LEVELS, dropped_levels, kept_entries

# Three such blocks in float32 fit a cache of 1 MiB; half is 7 % slower, twice about the same.
BLOCK_ENTRIES = 1 << 16


def dropped_attention(
    query: Float[Tensor, "batch head query dim"],
    key: Float[Tensor, "batch head key dim"],
    value: Float[Tensor, "batch head key features"],
    rate: float,
    scale: float,
) -> Float[Tensor, "batch head query features"]:
    """Return dropout(softmax(scale q k^T)) v; the mask takes one draw of the default generator."""
    seed = int(torch.randint(torch.iinfo(torch.int64).max, ()))
    apply: Callable[..., Tensor] = DroppedAttention.apply
    return apply(query, key, value, rate, scale, seed)


class DroppedAttention(torch.autograd.Function):
    """The same as a function of its seed."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, rate: float, scale: float, seed: int
    ) -> Tensor:
        """Gather block by block."""
        dropped = dropped_levels(rate)
        queries, keys, values = (part.flatten(0, 1) for part in (query * scale, key, value))
        gathered = values.new_empty(*queries.shape[:2], values.shape[2])
        for heads, rows, pattern, kept in _blocks(queries, keys, dropped, seed):
            torch.bmm(pattern.mul_(kept), values[heads], out=gathered[heads, rows])
        # By the share that the levels really keep, so that the expectation is exact.
        gathered = gathered.mul_(LEVELS / (LEVELS - dropped)).view(*query.shape[:3], -1)
        ctx.save_for_backward(query, key, value, gathered)
        ctx.dropped, ctx.scale, ctx.seed = dropped, scale, seed
        return gathered

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Go through the same blocks again; the formulas are those of Dao et al. 2022, B.4."""
        query, key, value, gathered = ctx.saved_tensors
        # What the softmax subtracts, sum_j p_ij dL/dp_ij, needs no row of the pattern.
        common = (gathered * gradient).sum(dim=-1, keepdim=True).flatten(0, 1)
        queries, keys, values = (part.flatten(0, 1) for part in (query * ctx.scale, key, value))
        upstream = (gradient * (LEVELS / (LEVELS - ctx.dropped))).flatten(0, 1)
        of_query = torch.empty_like(queries)
        of_key, of_value = torch.zeros_like(keys), torch.zeros_like(values)
        with torch.autocast("cpu", enabled=False):  # if the whole backward pass runs inside one
            for heads, rows, pattern, kept in _blocks(queries, keys, ctx.dropped, ctx.seed):
                arriving = upstream[heads, rows]
                of_scores = torch.bmm(arriving, values[heads].mT).mul_(kept)
                of_scores.sub_(common[heads, rows]).mul_(pattern)
                of_value[heads].baddbmm_(kept.mul_(pattern).mT, arriving)
                of_key[heads].baddbmm_(of_scores.mT, queries[heads, rows])
                torch.bmm(of_scores, keys[heads], out=of_query[heads, rows])
        of_query.mul_(ctx.scale)
        found = (of_query.view_as(query), of_key.view_as(key), of_value.view_as(value))
        return *found, None, None, None


def _blocks(
    queries: Float[Tensor, "maps query dim"],
    keys: Float[Tensor, "maps key dim"],
    dropped: int,
    seed: int,
) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Yield which maps and rows a block holds, its patterns, and 1 where an entry is kept."""
    generator = torch.Generator().manual_seed(seed)
    for heads, rows in _places(len(queries), queries.shape[1], keys.shape[1]):
        pattern = torch.bmm(queries[heads, rows], keys[heads].mT).softmax(dim=-1)
        yield heads, rows, pattern, kept_entries(pattern.shape, dropped, pattern.dtype, generator)


def _places(maps: int, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Yield even blocks: several whole maps where they fit, else rows of one map."""
    fitting = max(1, BLOCK_ENTRIES // columns)
    several = max(1, fitting // rows)
    height = ceil(rows / ceil(rows / fitting))
    for first in range(0, maps, several):
        for top in range(0, rows, height):
            yield slice(first, first + several), slice(top, top + height)
