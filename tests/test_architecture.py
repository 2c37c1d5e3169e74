"""The rules of the house, checked: who may import whom, how long a file is, what a file may be called."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("convbench/**/*.py"), *ROOT.glob("corruptions/**/*.py")])

# A module may import its own layer and those below. Longest prefix wins.
LAYERS = {
    "convbench.errors": 0,
    "convbench.registry": 1, "convbench.files": 1, "convbench.config": 1, "convbench.rows": 1,
    "convbench.runtime": 1, "convbench.names": 1, "convbench.processors": 1,
    "convbench.generated_images": 2, "convbench.network_spectra": 5,
    "convbench.norms": 2, "convbench.datasets": 2, "convbench.batches": 2, "convbench.history": 2,
    "convbench.models": 3, "convbench.spectral": 3, "convbench.optimization": 3,
    "convbench.lipschitz": 4, "convbench.metrics": 4,
    "convbench.checkpoint": 5, "convbench.label_noise": 5, "convbench.training_data": 5,
    "convbench.training": 6, "convbench.subject": 6, "convbench.image_sources": 6, "convbench.comparison": 6,
    "convbench.plots": 6, "convbench.statistics": 1, "convbench.gate": 7,
    "convbench.evaluation": 7, "convbench.results": 8, "convbench.sweep": 9, "convbench.shards": 9,
    "convbench.corrupted_sets": 9,
    "convbench.cli": 10, "convbench": 11, "convbench.__main__": 11,
}  # fmt: skip


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(module: str) -> int:
    known = [name for name in LAYERS if module == name or (module.startswith(name + ".") and name != "convbench")]
    assert known, f"{module} has no layer: add it to LAYERS where it belongs"
    return LAYERS[max(known, key=len)]


def imports(source: str) -> list[str]:
    """What runs when the module is imported: module-level imports, not those in functions or for type checkers."""
    found: list[str] = []

    def visit(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.extend(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.append(node.module or "")
            elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
                visit(node.body + node.orelse)
            elif isinstance(node, ast.Try):
                visit(node.body + [s for handler in node.handlers for s in handler.body] + node.orelse)

    visit(ast.parse(source).body)
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_go_down(path):
    module = module_name(path)
    for imported in imports(path.read_text()):
        if module.startswith("corruptions"):
            assert not imported.startswith("convbench"), f"{module} stands alone, but imports {imported}"
        elif imported.startswith("convbench"):
            assert layer(imported) <= layer(module), f"{module} imports {imported}, which lies above it"


def test_the_import_reader_can_see_a_breach():
    source = "if True:\n    from convbench.cli import app\n\ndef later():\n    import convbench.sweep\n"
    assert imports(source) == ["convbench.cli"]
    assert layer("convbench.cli.app") > layer("convbench.norms.batch")


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_are_short_and_named_after_what_they_are_about(path):
    assert len(path.read_text().splitlines()) <= 300
    assert path.stem not in {"utils", "util", "helpers", "common", "misc", "core", "base", "manager", "engine"}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_every_public_name_is_documented(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node in tree.body and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module_name(path)}.{node.name} has no docstring"
    assert path.stem == "__init__" or ast.get_docstring(tree), f"{path} has no docstring"


def test_the_wheel_holds_both_packages_and_nothing_names_a_registry():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["convbench", "corruptions"]
