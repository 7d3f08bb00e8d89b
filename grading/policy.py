"""The grades as data; they stand in `shop.policy`, because history is made with the same ones."""

from __future__ import annotations

from shop.policy import POLICY, Grade, Policy, months_before

__all__ = ["POLICY", "Grade", "Policy", "months_before"]
