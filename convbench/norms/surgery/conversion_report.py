"""What a conversion did to each convolution, as one table."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_COLUMNS = ("convolution", "normalization", "order", "done")


@dataclass(frozen=True)
class ConvertedLayer:
    """One line: a convolution, its normalization, or both.

    Args:
        convolution, normalization: their names in the network; empty where there is none.
        order: "post" (the normalization follows), "pre" (it precedes), or empty for what has no partner.
        converted: whether something was exchanged.
        note: what was done, or why nothing was.
    """

    convolution: str
    normalization: str
    order: str
    converted: bool
    note: str

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The line as text."""
        return self.convolution, self.normalization, self.order, self.note if self.converted else f"left: {self.note}"


@dataclass(frozen=True)
class ConversionReport:
    """The lines of a conversion to `norm`: pairs in the order of the forward pass, then what has no partner."""

    norm: str
    layers: tuple[ConvertedLayer, ...]

    @property
    def converted(self) -> tuple[ConvertedLayer, ...]:
        """The lines in which something was exchanged."""
        return tuple(layer for layer in self.layers if layer.converted)

    @property
    def left(self) -> tuple[ConvertedLayer, ...]:
        """The lines in which nothing was."""
        return tuple(layer for layer in self.layers if not layer.converted)

    @property
    def summary(self) -> str:
        """How much was converted, in one line."""
        convs = sum(bool(layer.convolution) for layer in self.layers)
        done = sum(bool(layer.convolution) for layer in self.converted)
        return f"{done} of {convs} convolutions converted to {self.norm}"

    def markdown(self) -> str:
        """The table in GitHub-flavoured Markdown, under its summary."""
        rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(layer.cells for layer in self.layers)]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        return "\n".join([f"{self.summary}.", "", *lines]) + "\n"

    def __str__(self) -> str:
        rows = [_COLUMNS, *(layer.cells for layer in self.layers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(line.rstrip() for line in [self.summary, *lines])

    def __rich__(self) -> "Table":
        from rich.table import Table

        table = Table(*_COLUMNS, title=self.summary, title_style="bold")
        for layer in self.layers:
            table.add_row(*layer.cells)
        return table
