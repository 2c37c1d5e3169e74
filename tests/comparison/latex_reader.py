"""A small reader of LaTeX tables for tests: what pdfLaTeX would stumble over, and the cells; pdfLaTeX where it is."""

import re
import shutil
import subprocess
from pathlib import Path

PDFLATEX = shutil.which("pdflatex")
_TABLE = re.compile(r"\\begin\{table\}.*?\\end\{table\}\n", re.DOTALL)
_ROW = re.compile(r"^ {4}(?!\\(?:top|mid|bottom)rule)(.*) \\\\$", re.MULTILINE)
# Everything that may follow a backslash: an escape, or a command that a plain article with two packages knows.
_COMMAND = re.compile(
    r"\\(?:[{}$&%#_\\]|text(?:backslash|asciitilde|asciicircum|less|greater|bar)\{\}|ldots\{\}"
    r"|(?:textbf|mathbf|mathrm|times|pm|geq|leq|rightarrow|sigma|Sigma|Delta|infty|ldots|multicolumn|ref)(?![a-zA-Z]))"
)


def tables(text: str) -> list[tuple[str, list[list[str]]]]:
    """The caption and the rows (heading first) of each table in `text`, all of it checked."""
    found = []
    rest = _TABLE.sub("", text)
    assert all(line.startswith("%") for line in rest.splitlines()), rest
    for table in _TABLE.findall(text):
        check_groups(table)
        (about,) = re.findall(r"\\caption\{(.*)\}$", table, re.MULTILINE)
        (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", table)
        rows = []
        for row in _ROW.findall(table):
            check_words(row)
            if row.startswith(r"\multicolumn"):
                assert row.startswith(rf"\multicolumn{{{len(columns)}}}{{l}}")
                continue
            cells = re.split(r"(?<!\\)&", row)
            assert len(cells) == len(columns), row
            rows.append([cell.strip() for cell in cells])
        check_words(about)
        found.append((about, rows))
    return found


def check_groups(text: str) -> None:
    """Braces and environments are closed in the order in which they were opened."""
    depth, environments = 0, []
    for token in re.findall(r"\\begin\{(\w+)\}|\\end\{(\w+)\}|(\\.|[{}])", text, re.DOTALL):
        begin, end, brace = token
        if begin:
            environments.append(begin)
        elif end:
            assert environments.pop() == end
        depth += {"{": 1, "}": -1}.get(brace, 0)
        assert depth >= 0
    assert depth == 0
    assert not environments


def check_words(text: str) -> None:
    """Only known commands; dollars in pairs; powers only between them; nothing else that LaTeX gives a meaning."""
    check_groups(text)
    plain = _COMMAND.sub("", text.replace(r"~\ref", r"\ref"))  # the one wanted tie
    assert "\\" not in plain, plain
    *pairs, last = plain.split("$")
    assert len(pairs) % 2 == 0, text
    outside = [*pairs[::2], last]
    assert not any(re.search(r"[_^%#~<>|\x00-\x1f]", words) for words in outside), outside
    assert not any(re.search("[%#~]", words) for words in pairs[1::2])
    assert all(ord(letter) <= 0x17F for letter in plain)


def compile_latex(text: str, folder: Path) -> str:
    """The log of pdfLaTeX over a small article with `text`; an error fails."""
    assert PDFLATEX is not None
    start = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    (folder / "made.tex").write_text(f"{start}\n{text}\\end{{document}}\n", encoding="utf-8")
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "made.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-3000:]
    return log
