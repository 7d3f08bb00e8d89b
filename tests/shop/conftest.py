"""Lets these tests import what all tests share."""
