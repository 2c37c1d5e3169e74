"""Figures of a comparison, drawn without a display and without matplotlib's global state."""

from pathlib import Path

from convbench.comparison import Comparison
from convbench.plots.severity import corruption_figure, severity_figure
from convbench.plots.spectrum import spectrum_figure
from convbench.plots.style import save_figure

__all__ = ["corruption_figure", "save_figure", "severity_figure", "spectrum_figure", "write_plots"]


def write_plots(comparison: Comparison, folder: Path | str, *, suffix: str = ".png") -> list[Path]:
    """Write every figure that `comparison` has numbers for into `folder`, and return their paths.

    severity (accuracy against severity), corruptions (the same per corruption, where there are several) and spectrum
    (largest singular value per layer).

    Args:
        suffix: .png (150 dpi) or .svg.

    Raises:
        ConvbenchError: the folder cannot be written.
    """
    figures = {
        "severity": severity_figure(comparison),
        "corruptions": corruption_figure(comparison),
        "spectrum": spectrum_figure(comparison),
    }
    written = []
    for name, figure in figures.items():
        if figure is not None:
            path = Path(folder) / f"{name}{suffix}"
            save_figure(figure, path)
            written.append(path)
    return written
