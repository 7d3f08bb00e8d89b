"""Tests of what publishes the optional topics."""
