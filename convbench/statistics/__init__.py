"""Intervals and tests of proportions and of paired differences, the bootstrap, and corrections for many tests."""
