"""The regression gate: a candidate against a baseline, with evidence, a margin and one verdict for every output."""
