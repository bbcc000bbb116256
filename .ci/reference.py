"""Build the API reference: ``python .ci/reference.py FOLDER``. A name in a docstring that leads nowhere fails it."""

import ast
import asyncio
import builtins
import importlib
import re
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pdoc
import pdoc.docstrings
import pdoc.render

import zim_async.bulk
import zim_async.limits.redis

CLIENT = SimpleNamespace(zim=zim_async.ZimClient)  # as it is called throughout
PACKAGE = Path(zim_async.__file__).parent
# In double backticks: what is capitalised or dotted, but no file.
NAME = re.compile(r"``(?!\w+\.py)([A-Z]\w*[a-z]\w*(?:\.\w+)*|[a-z]\w*(?:\.[A-Za-z_]\w*)+)")
VENDORS = {
    "FromUserId",
    "UserId",
    "Next",
    "List",
    "TotalCount",
    "ErrorList",
    "ErrList",
    "ErrorUsers",
    "FailList",
    "Fails",
}
EXAMPLE = re.compile(r"^Example:\n((?:\n|[ ]+.+(?:\n|$))+)", re.MULTILINE)


def fence_examples(docstring: str) -> str:
    """Show what stands under "Example:" as code."""
    return EXAMPLE.sub(
        lambda match: f"###### Example:\n```python\n{textwrap.dedent(match[1]).strip()}\n```\n", docstring
    )


def docstrings(tree: ast.AST, places: tuple[object, ...]) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Yield the docstrings below a node, each with the objects in which its names are looked up."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = getattr(places[0], node.name, None)
            yield ast.get_docstring(node) or "", (found, *places)
            yield from docstrings(node, (found, *places))


def resolves(name: str, places: tuple[object, ...]) -> bool:
    """Tell whether a dotted name leads somewhere from one of the places, or by import."""
    for place in places:
        found: object = place
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return True
    module, _, member = name.rpartition(".")
    try:
        return hasattr(importlib.import_module(module or name), member) or not module
    except ImportError:
        return False


def lost_names() -> set[str]:
    """Return the names in docstrings that lead nowhere, each with its file."""
    lost = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        places = (
            importlib.import_module(module_of(path)),
            zim_async,
            zim_async.bulk,
            zim_async.limits,
            zim_async.limits.redis,
            CLIENT,
            asyncio,
            builtins,
        )
        for text, around in [(ast.get_docstring(tree) or "", places), *docstrings(tree, places)]:
            lost |= {f"{path.name}: {name}" for name in {*NAME.findall(text)} - VENDORS if not resolves(name, around)}

    return lost


def module_of(path: Path) -> str:
    """Return the name of the module that a file holds."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def public_modules() -> list[str]:
    """Return the modules that users import."""
    names = [module_of(path) for path in sorted(PACKAGE.rglob("*.py"))]
    return [name for name in names if "._" not in name and name.split(".")[1:2] != ["cli"]]


def build(folder: Path) -> None:
    """Write the pages."""
    for name in zim_async.__all__:
        vars(zim_async)[name] = getattr(zim_async, name)  # some are imported on first use
    google = pdoc.docstrings.google
    pdoc.docstrings.google = lambda text: google(fence_examples(text))
    pdoc.render.configure(docformat="google")
    pdoc.pdoc(*public_modules(), output_directory=folder)


if __name__ == "__main__":
    warnings.simplefilter("error")  # pdoc warns of annotations and exports that lead nowhere
    # The constructor that NamedTuple makes has lost the module in which its annotations have a meaning.
    warnings.filterwarnings("ignore", message=r".* for zim_async\.Response\.__init__")
    build(Path(sys.argv[1]))
    if lost := lost_names():
        sys.exit("names in docstrings that lead nowhere:\n" + "\n".join(sorted(lost)))
