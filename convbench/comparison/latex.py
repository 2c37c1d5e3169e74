"""A comparison as a LaTeX table (booktabs): mean ± sd, and bold what the evidence allows to be the best."""

import re
from collections.abc import Sequence

from convbench.comparison import caption
from convbench.comparison.columns import (
    MISSING,
    Column,
    accuracy_columns,
    aggregate_columns,
    mean_percent,
    network_columns,
    plain,
)
from convbench.comparison.comparison import Comparison, Group
from convbench.comparison.leaderboard import leaderboard
from convbench.comparison.standings import rank_text, ranked_by, standings

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "×": r"$\times$", "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$",
    "−": "$-$", "–": "--", "→": r"$\rightarrow$", "…": r"\ldots{}", "σ": r"$\sigma$", "Σ": r"$\Sigma$",
    "Δ": r"$\Delta$",
}  # fmt: skip
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_LAST_LETTER = "\u017f"  # Latin Extended-A ends here
_SCIENTIFIC = re.compile(r"(\d)e(-?)(\d+)")
_NOT_A_NUMBER = re.compile("nan", re.IGNORECASE)
Block = Sequence[Sequence[str]]  # rows of cells that are LaTeX already


def latex_text(comparison: Comparison) -> str:
    r"""The groups as `table` environments: accuracies in percent with rank and runs, network numbers, aggregates.

    Bold in a column are the groups whose rank there begins at 1: none is certainly better. Where that holds for all of
    them, or nothing is known of the variance, none is bold. What the columns mean is in comments at the end. The
    document needs the packages booktabs and graphicx.
    """
    first = " ".join([caption.conditions(comparison), *_explanations(comparison)])
    as_before = r" Conditions and marks as in Table~\ref{tab:convbench}."
    parts = [table(escape(first), "tab:convbench", *_content(comparison, accuracy_columns(comparison), ranked=True))]
    network = "The networks themselves: largest singular values and Lipschitz bounds."
    for name, about, columns in (
        ("network", network, network_columns(comparison)),
        ("aggregates", "Means over conditions.", aggregate_columns(comparison)),
    ):
        if columns:
            parts.append(table(about + as_before, f"tab:convbench-{name}", *_content(comparison, columns)))
    parts += [f"% {one_line(line)}\n" for line in caption.definitions(comparison)]
    return "".join(parts)


def _content(
    comparison: Comparison, columns: Sequence[Column], *, ranked: bool = False
) -> tuple[list[str], list[Block], int]:
    """Headings, blocks of rows, and how many of the first columns are text."""
    names = [comparison.by, *comparison.settings]
    headings = [*(name.replace("_", " ") for name in names), *["rank"] * ranked, "runs", *map(_heading, columns)]
    blocks = [_rows(comparison, groups, columns, ranked) for groups in comparison.blocks().values()]
    return [escape(heading) for heading in headings], blocks, len(names)


def _heading(column: Column) -> str:
    return f"{column.heading} (%)" if column.percent else column.heading


def _rows(comparison: Comparison, groups: Sequence[Group], columns: Sequence[Column], ranked: bool) -> Block:
    best = [_best(comparison, groups, column) for column in columns]
    ranks = {s.group.name: s.rank for s in standings(comparison, groups, ranked_by(comparison))}
    return [
        [
            escape(group.name),
            *map(escape, group.settings),
            *[rank_text(ranks.get(group.name)).replace("-", "--")] * ranked,
            str(len(group.runs)),
            *(_cell(group, column, group.name in names) for column, names in zip(columns, best, strict=True)),
        ]
        for group in groups
    ]


def _best(comparison: Comparison, groups: Sequence[Group], column: Column) -> set[str]:
    found = standings(comparison, groups, column.quantity)
    names = {standing.group.name for standing in found if standing.may_be_best}
    return names if len(names) < len(found) else set()


def _cell(group: Group, column: Column, bold: bool) -> str:
    estimate = group.get(column.quantity)
    if estimate is None:
        return MISSING
    if estimate.runs < len(group.runs):
        return f"{number(column.mean(estimate))} ({estimate.runs}/{len(group.runs)})"
    if estimate.sd is None:
        return number(column.mean(estimate), bold=bold)
    spread = mean_percent(estimate, estimate.sd) if column.percent else plain(estimate).partition("±")[2]
    return number(column.mean(estimate), spread, bold=bold)


def _explanations(comparison: Comparison) -> list[str]:
    lines = ["Mean ± sample standard deviation over runs."] if any(len(g.runs) > 1 for g in comparison.groups) else []
    ranked = ranked_by(comparison)
    if any(s.rank for groups in comparison.blocks().values() for s in standings(comparison, groups, ranked)):
        what = "corrupted" if comparison.conditions else "clean"
        lines.append("Bold: no other is certainly better (every pair tested, Holm, 95 %).")
        lines.append(f"Rank: the places that these tests leave open by {what} accuracy.")
    board = leaderboard(comparison)
    lines += [board.caveat] if board and board.caveat else []
    return lines


def escape(text: str) -> str:
    """`text` so that LaTeX prints it as it is; what pdfLaTeX cannot set is a question mark."""
    shown = (letter if letter in _SPECIAL or letter <= _LAST_LETTER else "?" for letter in one_line(text))
    return "".join(_SPECIAL.get(letter, letter) for letter in shown).replace("--", "-{}-")


def one_line(text: str) -> str:
    """`text` without line ends and other control characters, each run of them a space."""
    return _UNPRINTABLE.sub(" ", text)


def number(mean: str, spread: str = "", *, bold: bool = False) -> str:
    """A number, perhaps ± another, as mathematics; bold is the mean alone."""
    mean, spread = mathematics(mean), mathematics(spread)
    shown = rf"\mathbf{{{mean}}}" if bold else mean
    return rf"${shown} \pm {spread}$" if spread else f"${shown}$"


def mathematics(text: str) -> str:
    """Numbers as they stand between two `$`: "3.20e6" is 3.20 times a power, "inf" a symbol, "nan" and "..." words."""
    text = _SCIENTIFIC.sub(r"\1 \\times 10^{\2\3}", text.replace("−", "-").replace("...", r"\ldots"))
    return _NOT_A_NUMBER.sub(r"\\mathrm{NaN}", text.replace("inf", r"\infty"))


def table(
    about: str,
    label: str,
    headings: Sequence[str],
    blocks: Sequence[Block],
    texts: int,
    titles: Sequence[str] = (),
) -> str:
    """A `table` environment with its caption above, no wider than the text; a thin rule between blocks.

    Args:
        about, headings, blocks: LaTeX already.
        texts: so many first columns are left-aligned, the others right-aligned.
        titles: of the blocks, each a row of its own.
    """
    width = len(headings)
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage{graphicx}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{about}}}",
        rf"  \label{{{label}}}",
        r"  \medskip",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"  \begin{{tabular}}{{{'l' * texts}{'r' * (width - texts)}}}",
        r"    \toprule",
        f"    {' & '.join(headings)} \\\\",
    ]
    for place, block in enumerate(blocks):
        lines.append(r"    \midrule")
        if titles:
            lines.append(rf"    \multicolumn{{{width}}}{{l}}{{{titles[place]}}} \\")
        lines += [f"    {' & '.join(row)} \\\\" for row in block]
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}}", r"\end{table}", ""])
