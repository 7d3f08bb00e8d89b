"""Tests of the cache worker."""
