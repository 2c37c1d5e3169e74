"""Metrics of predictions, and the registry of the metrics of a network (registered beside their mathematics)."""

from convbench.metrics.contract import NETWORK_METRICS, PREDICTION_METRICS

__all__ = ["NETWORK_METRICS", "PREDICTION_METRICS"]
