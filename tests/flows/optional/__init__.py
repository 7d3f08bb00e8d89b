"""Tests of how the optional topics are stored."""
