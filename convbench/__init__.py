"""Does this normalization make my ConvNet more robust, and can I prove it in CI?

    import convbench

    checkpoint = convbench.train(convbench.TrainConfig(norm="mixture:components=3"))
    rows = list(convbench.evaluate(checkpoint, convbench.EvalConfig(corruptions=("gaussian_noise",))))
    convbench.write_rows("results.csv", rows)

Names are loaded when they are first used, so that `import convbench` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convbench.checkpoint import Checkpoint, load_checkpoint
    from convbench.comparison import compare
    from convbench.config import EvalConfig, TrainConfig
    from convbench.datasets import DATASETS, load_dataset
    from convbench.errors import ConvbenchError
    from convbench.evaluation import evaluate
    from convbench.metrics import NETWORK_METRICS, PREDICTION_METRICS
    from convbench.models import MODELS, build_model
    from convbench.norms import NORMS
    from convbench.norms.surgery.conversion import Conversion, convert
    from convbench.rows import Row, read_rows, write_rows
    from convbench.training import train

_HOMES = {
    "Checkpoint": "convbench.checkpoint",
    "Conversion": "convbench.norms.surgery.conversion",
    "ConvbenchError": "convbench.errors",
    "DATASETS": "convbench.datasets",
    "EvalConfig": "convbench.config",
    "MODELS": "convbench.models",
    "NETWORK_METRICS": "convbench.metrics",
    "NORMS": "convbench.norms",
    "PREDICTION_METRICS": "convbench.metrics",
    "Row": "convbench.rows",
    "TrainConfig": "convbench.config",
    "build_model": "convbench.models",
    "compare": "convbench.comparison",
    "convert": "convbench.norms.surgery.conversion",
    "evaluate": "convbench.evaluation",
    "load_checkpoint": "convbench.checkpoint",
    "load_dataset": "convbench.datasets",
    "read_rows": "convbench.rows",
    "train": "convbench.training",
    "write_rows": "convbench.rows",
}

__all__ = [
    "DATASETS",
    "MODELS",
    "NETWORK_METRICS",
    "NORMS",
    "PREDICTION_METRICS",
    "Checkpoint",
    "ConvbenchError",
    "Conversion",
    "EvalConfig",
    "Row",
    "TrainConfig",
    "build_model",
    "compare",
    "convert",
    "evaluate",
    "load_checkpoint",
    "load_dataset",
    "read_rows",
    "train",
    "write_rows",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
