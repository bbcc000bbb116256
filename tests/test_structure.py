"""The package's floors and wings, read off its imports."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "zim_async"
# Each floor may import those before it, and its neighbours on the same one.
FLOORS = (
    {"errors", "_text", "_timeouts", "_round_trip"},
    {"actions", "events", "_codes", "_encoding"},
    {"_protocol", "_endpoints", "retry", "limits"},
    {"session", "_server_clock", "_pages", "_environment"},
    {"_call_record", "_call"},
    {"client"},
    {"bulk"},
    {"erase", "_erase_reports"},
    {"sandbox"},
    {"pytest_plugin", "telemetry", "recipes"},
    {"cli", "__main__"},
)
SANDBOX_SEES = {"actions", "_codes", "_text", "errors", "sandbox"}


def imports_of(path: Path) -> list[tuple[str, ...]]:
    """Return the modules of the package that a file imports, each as its parts, the package left out."""
    here = path.relative_to(PACKAGE).with_suffix("").parts
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level]
            module = (*base, *(node.module.split(".") if node.module else ()))
            found += [module] if node.module else [(*module, alias.name) for alias in node.names]
    return found


FILES = sorted(PACKAGE.rglob("*.py"))
INSIDE = [path for path in FILES if path.parent != PACKAGE or path.stem != "__init__"]


def room(parts: tuple[str, ...]) -> str:
    return parts[0]


def test_imports_point_down() -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    for path in INSIDE:
        here = room(path.relative_to(PACKAGE).with_suffix("").parts)
        for module in imports_of(path):
            if module[:1] != ("__version__",):
                assert floor[room(module)] <= floor[here], f"{here} imports {module}"


def test_every_room_has_a_floor() -> None:
    rooms = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in INSIDE}
    assert rooms == set().union(*FLOORS)


def test_the_sandbox_and_the_client_check_each_other() -> None:
    for path in (PACKAGE / "sandbox").rglob("*.py"):
        assert {room(module) for module in imports_of(path)} <= SANDBOX_SEES


def test_files_with_an_underscore_are_imported_only_inside_their_package() -> None:
    for path in FILES:
        package = path.parent.relative_to(PACKAGE).parts
        for module in imports_of(path):
            for depth, name in enumerate(module):
                if name.startswith("_") and not name.startswith("__"):
                    assert package[:depth] == module[:depth], f"{path.name} imports {'.'.join(module)}"
