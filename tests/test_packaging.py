"""What the project promises to whoever installs it: versions, names, and a light import."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import kit
from kit.cli.app import app

ROOT = Path(__file__).parent.parent
FROM_CONDA = {"asyncpg", "jupyterlab", "pandas"}
FROM_PIP = {"pgqueuer", "testcontainers"}


@pytest.fixture(scope="module")
def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def environment() -> Any:
    return yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))


def conda_lines(environment: dict[str, Any]) -> list[str]:
    return [line for line in environment["dependencies"] if isinstance(line, str)]


def pip_lines(environment: dict[str, Any]) -> list[str]:
    return [line for part in environment["dependencies"] if isinstance(part, dict) for line in part["pip"]]


def versions(lines: list[str]) -> dict[str, SpecifierSet]:
    return {(need := Requirement(line)).name: need.specifier for line in lines}


def test_environment_yml_asks_for_the_versions_that_pyproject_asks_for(project, environment):
    ours = versions(project["dependencies"])
    conda = versions([line for line in conda_lines(environment) if not line.startswith(("python=", "pip"))])
    pip = versions([line for line in pip_lines(environment) if not line.startswith("-")])
    assert conda == {name: ours[name] for name in FROM_CONDA}
    assert pip == {name: ours[name] for name in FROM_PIP}


def test_environment_yml_installs_pip_and_the_kit_itself_from_conda_forge(environment):
    assert environment["channels"] == ["conda-forge"]
    assert "pip" in conda_lines(environment)
    assert pip_lines(environment)[-1] == "-e ."


def test_environment_yml_pins_a_python_that_the_kit_runs_on(project, environment):
    (line,) = (line for line in conda_lines(environment) if line.startswith("python="))
    assert re.fullmatch(r"python=\d+\.\d+", line), "Binder reads a version only in this form"
    assert SpecifierSet(project["requires-python"]).contains(line.removeprefix("python=") + ".0")


def test_ci_runs_the_oldest_and_the_newest_python_on_three_operating_systems(project):
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]
    supported = SpecifierSet(project["requires-python"])
    minors = [f"3.{minor}" for minor in range(100) if supported.contains(f"3.{minor}.0")]
    assert matrix["python"] == [minors[0], minors[-1]]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; import json; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(answer.stdout.splitlines()[-1]))


HEAVY = {
    "pandas",
    "numpy",
    "testcontainers",
    "docker",
    "matplotlib",
    "anywidget",
    "asyncpg",
    "pgqueuer",
    "IPython",
}


@pytest.mark.parametrize("statement", ["import kit", "import kit.cli.app", "import kit; dir(kit)"])
def test_importing_the_kit_imports_nothing_heavy(statement):
    assert not HEAVY & modules_after(statement)


@pytest.mark.parametrize("name", kit.__all__)
def test_every_public_name_exists_and_says_what_it_is_for(name):
    assert (getattr(kit, name).__doc__ or "").strip()


def test_an_unknown_name_says_which_names_there_are():
    with pytest.raises(AttributeError, match=r"no attribute 'job'.*jobs"):
        _ = kit.job


def test_type_checkers_are_told_that_the_kit_has_types():
    assert files("kit").joinpath("py.typed").is_file()


def commands() -> Iterator[str]:
    for command in app.registered_commands:
        assert command.callback is not None
        yield command.name or command.callback.__name__


@pytest.mark.parametrize("command", sorted(commands()))
def test_the_readme_names_every_command(command):
    assert f"kit {command}" in (ROOT / "README.md").read_text("utf-8")
