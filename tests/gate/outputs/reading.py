"""What a reader's tool makes of an output: of Markdown, OpenMetrics, workflow commands and JSON."""

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from markdown_it import MarkdownIt


@dataclass
class Page(HTMLParser):
    """Rendered Markdown: its headings, its tables as rows of cells, and every tag that occurs."""

    headings: list[str] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    text: str = ""
    codes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag.startswith("h") and tag[1:].isdigit():
            self.headings.append("")
        elif tag == "code":
            self.codes.append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data
        if "code" in self._open:
            self.codes[-1] += data
        if any(re.fullmatch("h[1-6]", tag) for tag in self._open):
            self.headings[-1] += data


def page(markdown: str) -> Page:
    """As GitHub shows it: CommonMark with tables and strikethrough; HTML passes, so that an unescaped name is seen."""
    result = Page()
    result.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))
    result.close()
    assert not result._open, f"left open: {result._open}"
    return result


def samples(metrics: str) -> dict[str, float]:
    """OpenMetrics text by its grammar: name and labels -> value."""
    *lines, end, rest = metrics.split("\n")
    assert (end, rest) == ("# EOF", "")
    found: dict[str, float] = {}
    families = []
    for line in lines:
        if match := re.fullmatch(r"# TYPE ([a-z_]+) gauge", line):
            families.append(match[1])
            continue
        if re.fullmatch(r"# HELP [a-z_]+ .+", line):
            continue
        label = r'[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
        match = re.fullmatch(rf"([a-z_]+)(\{{{label}(?:,{label})*\}})? (\S+)", line)
        assert match, line
        assert match[1] == families[-1], "samples of a family stand together, under its type"
        key = match[1] + (match[2] or "")
        assert key not in found, f"twice: {key}"
        found[key] = float(match[3])
    assert len(set(families)) == len(families)
    return found


def annotation_lines(commands: str) -> list[tuple[str, str, str]]:
    """(command, title, message) of each line, as a runner reads it."""
    found = []
    for line in commands.split("\n")[:-1]:
        match = re.fullmatch(r"::(error|warning) title=([^\r\n:,]*)::([^\r\n]*)", line)
        assert match, line
        for words in match.groups():
            assert not re.search("%(?!25|0A|0D|3A|2C)", words), f"a stray percent sign: {words}"
        found.append(match.groups())
    return found


def strict_json(text: str):
    """JSON without the words NaN and Infinity, which only Python reads."""

    def refuse(word):
        raise AssertionError(f"not JSON: {word}")

    return json.loads(text, parse_constant=refuse)
