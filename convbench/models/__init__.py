"""Models: one file per family; `MODELS` finds them by name, `build_model` builds one."""

from convbench.models.contract import MODELS
from convbench.models.loading import build_model, check_model
from convbench.models.standardize import Classifier, Standardize
from convbench.models.weights import apply_state_dict, load_weights, read_state_dict

__all__ = [
    "MODELS",
    "Classifier",
    "Standardize",
    "apply_state_dict",
    "build_model",
    "check_model",
    "load_weights",
    "read_state_dict",
]
