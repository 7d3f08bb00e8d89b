"""Tests of what the live processes need."""
