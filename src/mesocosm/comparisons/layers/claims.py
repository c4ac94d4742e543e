"""The comparison claims nothing: which layer is better is for its table to say."""

from __future__ import annotations

from mesocosm.claims.claim import Claim

CLAIMS: list[Claim] = []
