"""Makes the helper modules next to it importable."""

from __future__ import annotations
