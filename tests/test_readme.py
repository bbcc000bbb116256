"""The README: its code is what the suite runs, its table is the code's, its links work anywhere."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from zim_async._codes import RULES

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.py"))
REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
MOST_LINES = 350


def code_shown() -> list[str]:
    """Return the code that the README and the docstrings of modules show."""
    modules = sorted((REPOSITORY / "zim_async").rglob("*.py"))
    texts = [README, *(ast.get_docstring(ast.parse(path.read_text()), clean=False) or "" for path in modules)]
    return [code for text in texts for code in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)]


def test_what_is_shown_is_what_is_tested() -> None:
    assert sorted(code_shown()) == sorted(path.read_text() for path in EXAMPLES)


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="they are for bash, with curl")
def test_its_shell_commands_run(tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> None:
    sections = README.split("\n## ")
    blocks = [
        block
        for section in sections
        if not section.startswith(("Run it", "Test it"))
        for block in re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    ]
    script = "trap 'kill $(jobs -p); wait' EXIT\n" + "\n".join(blocks)
    for port in ("8123", "8000"):
        script = script.replace(port, str(unused_tcp_port_factory()))
    for path in EXAMPLES:
        (tmp_path / path.name.replace("own_tests", "test_own")).write_text(path.read_text())
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": commands, "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout


def test_its_table_of_codes_is_that_of_the_code() -> None:
    codes = defaultdict(list)
    for code, rule in RULES.items():
        codes[rule.error.__name__].append(code)
    shown = {
        name: [int(code) for code in re.findall(r"\d+", listed)]
        for name, listed in re.findall(r"^\| `(\w+)` \|.*\| ([\d, ]+) \|$", README, re.MULTILINE)
    }
    assert shown == codes


def test_its_links_work_on_the_package_index() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    assert all(link.startswith(("https://", "#")) for link in links)


def test_its_links_within_lead_to_headings() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading).replace(" ", "-").lower()
        for heading in re.findall(r"^##+ (.+)$", README, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings


def test_it_is_no_longer_than_a_reader_bears() -> None:
    assert len(README.splitlines()) <= MOST_LINES
