"""What `convbench evaluate` prints: the numbers of one run, at most 80 columns wide."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from convbench.results import Results
    from convbench.rows import Row

_OF_THE_NETWORK = (
    "certified_accuracy",
    "lipschitz_",
    "local_",
    "clever",
)  # metrics with one number for the whole network


def print_results(results: "Results") -> None:
    """Two tables on stdout, accuracy per condition and the network's norms, and the path of the CSV."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=80)
    if not results.rows:  # a shard with nothing to do
        print(results.path)
        return
    first = results.rows[0]
    conditions: dict[tuple[str, int], dict[str, Row]] = {}
    for row in results.rows:
        if not row.layer and row.metric in ("accuracy", "accuracy_lower", "accuracy_upper", "nll", "ece"):
            conditions.setdefault((row.corruption, row.severity), {})[row.metric] = row
    table = Table(
        title=f"{first.model}, {first.norm}, {first.dataset} ({first.split}, n = {first.n})", title_style="bold"
    )
    table.add_column("condition")
    for name in ("accuracy", "95 % interval", "NLL", "ECE"):
        table.add_column(name, justify="right")
    for (corruption, severity), found in conditions.items():
        name = "clean" if severity == 0 else f"{corruption} {severity}"
        interval = ""
        if "accuracy_lower" in found and "accuracy_upper" in found:
            interval = f"{found['accuracy_lower'].value:.2%} – {found['accuracy_upper'].value:.2%}"
        table.add_row(
            name, _text(found, "accuracy", ".2%"), interval, _text(found, "nll", ".3f"), _text(found, "ece", ".3f")
        )
    if conditions:
        console.print(table)
    network = _network_table(results.rows)
    if network is not None:
        console.print(network)
    print(results.path)


def _text(found: "dict[str, Row]", metric: str, form: str) -> str:
    return format(found[metric].value, form) if metric in found else ""


def _network_table(rows: "list[Row]") -> "Table | None":
    from rich.table import Table

    layers = [row for row in rows if row.layer]
    whole = {row.metric: row for row in rows if row.metric.startswith(_OF_THE_NETWORK)}
    if not layers and not whole:
        return None
    images = (*layers, *whole.values())[0].n  # fewer than those of the accuracies
    table = Table(
        title=f"Spectral norms and Lipschitz bounds (L2, eval mode, {images} images)",
        title_style="bold",
    )
    table.add_column("layer")
    table.add_column("alone", justify="right")
    table.add_column("with its norm", justify="right")
    # A convolution and the unit it forms with its normalization share a line: "stem.conv" is the "alone" of "stem".
    alone = {_unit(row.layer): row.value for row in layers if row.metric == "spectral_norm"}
    composed = {_unit(row.layer): row.value for row in layers if row.metric == "spectral_norm_composed"}
    for layer in dict.fromkeys([*alone, *composed]):
        table.add_row(layer, _norm(alone.get(layer)), _norm(composed.get(layer)))
    table.add_section()
    for metric, row in whole.items():
        table.add_row(metric, "", f"{row.value:.4g}")
    return table


def _norm(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _unit(layer: str) -> str:
    return layer.removeprefix("network.").removesuffix(".conv")
