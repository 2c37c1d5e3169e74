"""The report as one HTML file: no network, readable on a phone, in the dark, on paper and without scripts."""

from convbench.gate.outputs.html.page import text

__all__ = ["text"]
