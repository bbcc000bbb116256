"""The suite from the built wheel, on every Python at hand, with the newest and the lowest dependencies.

Run it by ``nox -f .ci/noxfile.py``, or one session of it by ``nox -f .ci/noxfile.py -s "tests-3.12(newest)"``. With
pyenv, ``PYENV_VERSION=3.11.7:3.12.1:3.13.0`` before it says which versions are at hand.
"""

import tomllib
from pathlib import Path

import nox

REPOSITORY = Path(__file__).parents[1]
nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "venv"


def lowest_dependencies() -> list[str]:
    """Return the base dependencies and those of the extras for users, at the lowest versions that are promised."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["cli"], *extras["otel"], *extras["redis"]]
    return [requirement.replace(">=", "==") for requirement in wanted]


@nox.session(python=["3.11", "3.12", "3.13"])
@nox.parametrize("dependencies", [nox.param("newest", id="newest"), nox.param("lowest", id="lowest")])
def tests(session: nox.Session, dependencies: str) -> None:
    """Run the suite."""
    session.install("build")
    folder = Path(session.create_tmp())
    session.run("python", "-m", "build", "--quiet", "--wheel", "--outdir", str(folder), str(REPOSITORY))
    (wheel,) = folder.glob("*.whl")
    session.install(f"{wheel}[dev]", *(lowest_dependencies() if dependencies == "lowest" else ()))
    session.chdir(REPOSITORY)
    session.run("pytest", "-q", "--import-mode=append", *session.posargs)  # the installed package comes first
