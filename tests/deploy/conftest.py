"""Makes the helper modules beside it importable."""

from __future__ import annotations
