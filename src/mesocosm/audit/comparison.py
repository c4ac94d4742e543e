"""Comparison of two audits, product by product."""

from __future__ import annotations

import polars as pl

from mesocosm.audit.checkpoint_audit import Audit

KEY = ("part", "layer", "block", "product", "head")
COMPARED = ("ratio", "null1", "null1_sd", "null2", "null2_sd", "score", "rank95_sum", "stable", "relD", "applies")
DIFFERENCES = ("ratio", "score", "rank95_sum", "stable", "relD")


def compare(before: Audit, after: Audit) -> pl.DataFrame:
    """Return one row per product in either checkpoint.

    Columns: part, layer, block, product, head; `x_a` and `x_b` for each compared number, including nulls and their standard deviations; `x_change`, which is
    b - a; and `found_in`, "both", "a" or "b".
    """
    left, right = (audit.audited.select(*KEY, pl.col(COMPARED).name.suffix(f"_{side}")) for audit, side in ((before, "a"), (after, "b")))
    joined = left.join(right, on=KEY, how="full", coalesce=True)
    changes = [(pl.col(f"{name}_b") - pl.col(f"{name}_a")).alias(f"{name}_change") for name in DIFFERENCES]
    where = pl.when(pl.col("ratio_b").is_null()).then(pl.lit("a")).when(pl.col("ratio_a").is_null()).then(pl.lit("b")).otherwise(pl.lit("both"))
    return joined.with_columns(*changes, found_in=where).sort(KEY, maintain_order=True)
