"""What `convbench spectrum` prints: one table a network, at most 80 columns wide."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convbench.network_spectra import NetworkSpectra
    from convbench.spectral.layer_table import LayerSpectrum
    from convbench.spectral.norm import SpectralNorm

_NAME = 24
_LEGEND = (
    "σ: largest singular value of the layer as applied, alone and with its\n"
    "normalization at evaluation; ±: half the width of its certified enclosure.\n"
    "kernel σ: of the reshaped kernel, which papers quote: no bound of the layer.\n"
    "cond.: σ alone over the smallest singular value. stable rank: ‖A‖_F² / σ²."
)


def print_spectra(networks: "Sequence[NetworkSpectra]") -> None:
    """A table a network on stdout, and what its columns mean."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from convbench.network_spectra import short_names

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=80)
    for network in networks:
        names = short_names([row.name for row in network.rows])
        size = "×".join(map(str, network.image_shape))
        table = Table(
            title=f"layers of {network.label}, {size} images",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        table.add_column("layer", no_wrap=True)
        for heading in ("σ alone", "±", "σ with\nnorm", "±", "kernel\nσ", "cond.", "stable\nrank"):
            table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
        for row in network.rows:
            table.add_row(_shortened(names[row.name]), *_cells(row))
        console.print(table)
        for note in _notes(network):
            console.print(f"  {note}", markup=False)
    console.print(_LEGEND, style="dim")


def _cells(row: "LayerSpectrum") -> list[str]:
    return [
        *_with_certificate(row.norm),
        *_with_certificate(row.composed),
        _number(row.kernel_matrix_norm),
        _number(row.condition_number),
        _number(row.stable_rank),
    ]


def _with_certificate(norm: "SpectralNorm | None") -> tuple[str, str]:
    if norm is None:
        return "n/a", ""
    half = (norm.upper - norm.lower) / 2
    if half == float("inf"):
        return _number(norm.value), "inf"
    share = half / norm.value if norm.value else 0.0
    return _number(norm.value), "exact" if share < 1e-9 else f"{share:.1%}" if share >= 5e-4 else f"{share:.0e}"


def _number(value: float | None) -> str:
    if value is None:
        return "n/a"
    if not 1e-3 <= abs(value) < 1e5 and value not in (0, float("inf")):
        return f"{value:.1e}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
    return f"{value:.0f}" if 1000 <= abs(value) < float("inf") else f"{value:.4g}"


def _notes(network: "NetworkSpectra") -> list[str]:
    """The reasons for what is missing, each with the layers that it concerns."""
    layers: dict[str, list[str]] = {}
    for row in network.rows:
        for name in ("norm", "composed"):
            if name in row.missing and not (name == "composed" and not row.unit):
                layers.setdefault(row.missing[name], []).append(row.name)
    return [f"n/a in {len(names)} layer(s), first {names[0]}: {reason}" for reason, names in layers.items()]


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME else "…" + name[1 - _NAME :]
