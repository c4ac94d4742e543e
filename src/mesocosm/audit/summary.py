"""An audit in a few numbers for each product and part of a model, and in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

BY_CHANCE = 0.023
"""Share of a normal distribution more than two standard deviations above its mean."""


def summary(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per part and product.

    Columns: part, product; `products`, their number; medians of ratio, rank95_sum and stable with their nulls, and of the largest possible `rank`; `low` and
    `high`, the range of the ratio; `above` and `below`, the number of products more than two standard deviations above and below null 2.
    """
    away = (pl.col("ratio") - pl.col("null2")) / pl.col("null2_sd")
    return rows.group_by("part", "product", maintain_order=True).agg(
        pl.len().alias("products"),
        pl.col("ratio", "null1", "null2", "rank95_sum", "rank95_sum_null1", "stable", "stable_null1").median(),
        pl.min_horizontal("d_h", "d_model").median().alias("rank"),
        pl.col("ratio").min().alias("low"),
        pl.col("ratio").max().alias("high"),
        (away > 2).sum().alias("above"),
        (away < -2).sum().alias("below"),
    )


def sentence(row: Mapping[str, Any]) -> str:
    """A row of the summary in words."""
    number = row["products"]
    return (
        f"{row['product']} of {row['part']}: the median ratio is {row['ratio']:.3f} ({row['low']:.3f} to {row['high']:.3f}), at random {row['null1']:.3f}, "
        f"randomly rotated {row['null2']:.3f}; of {number} products, {row['above']} lie above and {row['below']} below the rotated by more than two standard "
        f"deviations ({number * BY_CHANCE:.2g} each by chance); {row['rank95_sum']:.3g} of {row['rank']:.3g} dimensions make up 95 % (at random "
        f"{row['rank95_sum_null1']:.3g})."
    )
