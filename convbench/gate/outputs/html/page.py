"""The page: everything in one file that asks nothing of the network and whose own script is the only one to run."""

import base64
import hashlib
from importlib.resources import files

from convbench.gate.outputs.html.background import measurement, notes, reading
from convbench.gate.outputs.html.banner import banner
from convbench.gate.outputs.html.heat_map import heat_map
from convbench.gate.outputs.html.markup import Markup, element, joined
from convbench.gate.outputs.html.severity_curves import severity_curves
from convbench.gate.outputs.html.spectra import spectra
from convbench.gate.outputs.html.tables import condition_table, gate_table, layer_table, worst_conditions
from convbench.gate.outputs.sentences import headline
from convbench.gate.report import Report


def text(report: Report) -> str:
    """The report as one HTML file.

    It opens without a network and reads without scripts; with them, tables sort and filter. A content security policy
    admits the page's own style and script by their hashes and nothing else.
    """
    style, script = (_resource(name) for name in ("style.css", "script.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    word = "passed" if report.passed else "failed"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name_="color-scheme", content="light dark"),
        element("meta", name_="description", content=headline(report)),
        element("link", rel="icon", href="data:,"),
        element("title", f"convbench: gate {word}, {report.verdict.value}"),
        element("style", Markup(style)),
    )
    sections = {
        ("gate", "Gate"): gate_table(report),
        ("notes", "Notes"): notes(report),
        ("worst", "Worst conditions"): worst_conditions(report),
        ("severity", "Severity curves"): severity_curves(report),
        ("map", "Heat map"): heat_map(report),
        ("spectra", "Layer by layer"): spectra(report),
        ("all-conditions", "All conditions"): condition_table(report),
        ("all-layers", "All layers"): layer_table(report),
        ("measurement", "Conditions and rules"): measurement(report),
        ("reading", "How to read it"): reading(),
    }
    shown = {key: content for key, content in sections.items() if content}
    links = (element("li", element("a", title, href=f"#{name}")) for name, title in shown)
    nav = element("nav", element("ul", *links), aria_label="sections")
    main = element("main", *(element("section", content, id=name) for (name, _), content in shown.items()))
    foot = element("footer", f"Made by convbench {report.version}".rstrip(), ", from one report and without a network.")
    body = element("body", banner(report), nav, main, foot, element("script", Markup(script)))
    return joined([Markup("<!doctype html>\n"), element("html", head, body, lang="en"), Markup("\n")])


def _resource(name: str) -> str:
    return (files("convbench.gate.outputs.html") / name).read_text(encoding="utf-8").strip()


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
