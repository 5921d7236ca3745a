"""A new app as a copy of another one, with every name changed and a starter of its own.

Changed are module paths, class names (``TemplateEdge``), constants (``TEMPLATE_...``), event types, table
names, routes, file names and the title. Names of other packages (``common.…``) stay.
"""

from __future__ import annotations

import keyword
import re
import shutil
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import invalidate_caches
from importlib.metadata import PackageNotFoundError, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from common.app.spec import AppSpec, find_app, installed_apps
from common.errors import ConfigError
from common.training.starter import adopt_starter, make_starter

TEMPLATE = "apps.template.app:SPEC"
NAME_LIMIT = 40
TEXT_SUFFIXES = frozenset({".py", ".md", ".json", ".css", ".js", ".toml"})
LEFT_OUT = shutil.ignore_patterns("__pycache__", "starter", "tests", "README.md")
RESERVED = frozenset({"edgeloop", "template", "tests", "apps"})
_FOREIGN = re.compile(r"(?:common|hardware|cloud_backend|neurokit2|wfdb)(?:\.\w+)+|docs/img/[\w.-]+")

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{distribution}"
version = "0.1.0"
description = "{title}: an app on edgeloop"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["edgeloop[{extras}]"]

[project.optional-dependencies]
dev = ["edgeloop[demo]", "pytest>=8.3"]

[project.entry-points."edgeloop.apps"]
{name} = "{name}.app:SPEC"

[tool.setuptools.packages.find]
include = ["{name}*"]

[tool.setuptools.package-data]
"*" = ["*.onnx", "*.npz", "manifest.json", "*.css", "*.js", "*.md"]

[tool.pytest.ini_options]
testpaths = ["tests"]
addopts = "--import-mode=importlib"
"""


@dataclass(frozen=True, slots=True)
class Renaming:
    """Names of an app and what they become. ``package`` is its dotted package."""

    old: str
    old_package: str
    new: str
    new_package: str

    def text(self, text: str) -> str:
        """``text`` with the new names."""
        kept = [match.group() for match in _FOREIGN.finditer(text)]
        parts = [self._plain(part) for part in _FOREIGN.split(text)]
        return "".join(part + foreign for part, foreign in zip(parts, [*kept, ""], strict=True))

    def path(self, path: Path) -> Path:
        """A path below the package with the new names."""
        return Path(*(self._word(part) for part in path.parts))

    def _plain(self, text: str) -> str:
        text = text.replace(self.old_package + ".", self.new_package + ".")
        text = re.sub(rf"{re.escape(self.old_package)}\b", self.new_package, text)
        old_folder, new_folder = (p.replace(".", "/") for p in (self.old_package, self.new_package))
        text = re.sub(rf"(?<![\w/]){re.escape(old_folder)}\b", new_folder, text)
        return self._word(text)

    def _word(self, text: str) -> str:
        """Lower-case words and parts of identifiers, class names and constants."""
        text = re.sub(rf"(?<![A-Za-z0-9]){self.old}(?![a-z0-9])", self.new, text)
        text = re.sub(rf"(?<![A-Za-z]){camel(self.old)}(?![a-z])", camel(self.new), text)
        return re.sub(rf"(?<![A-Za-z]){self.old.upper()}_", f"{self.new.upper()}_", text)


def camel(name: str) -> str:
    """``pump_room`` as ``PumpRoom``."""
    return "".join(part.capitalize() for part in name.split("_"))


def check_name(name: str) -> None:
    """Raises `ConfigError` for a name that no new app can have."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or len(name) > NAME_LIMIT:
        raise ConfigError(
            f"{name!r} cannot name an app: a name has lower-case letters, digits and _, begins with a "
            f"letter, is no keyword of Python, and has at most {NAME_LIMIT} characters"
        )
    for other in installed_apps():
        if f"{name}_".startswith(f"{other}_") or f"{other}_".startswith(f"{name}_"):
            taken = (
                "is the name of an installed app" if name == other else f"has the table prefix of {other!r}"
            )
            raise ConfigError(f"{name!r} {taken}: choose another name")
    if name in RESERVED or find_spec(name) is not None:
        raise ConfigError(f"{name!r} is the name of a module that is there already: choose another name")


def new_app(
    name: str,
    *,
    like: str = "template",
    out: Path | None = None,
    title: str = "",
    data_path: Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    progress: Callable[[float, str], None] = lambda _fraction, _message: None,
) -> Path:
    """Make the app ``name`` as a copy of the app ``like``; its project folder.

    The project goes into the new folder ``out`` (``./NAME``), or, where ``out`` is the folder ``apps`` of a
    checkout of edgeloop, into ``apps/NAME``. The starter is made by the new app's own training, from the data
    set in ``data_path`` or from virtual data. Without ``data_path``, an app that learns from data sets only
    begins with the starter of ``like``. Raises `ConfigError` for a name or folder that is taken, and what the
    training raises; nothing is left then.
    """
    check_name(name)
    spec = find_app(TEMPLATE if like == "template" else like)
    origin = spec.starter.parent
    apps = origin.parent if out is not None and _is_checkout(out.resolve()) else None
    project = (apps / name if apps else out or Path(name)).resolve()
    if project.exists():
        raise ConfigError(f"{project} exists already: name another folder with --out")
    renaming = Renaming(spec.name, _package_of(spec), name, f"apps.{name}" if apps else name)
    title = title or name.replace("_", " ").capitalize()
    folder = project if apps else project / name
    try:
        _copy(origin, folder, renaming)
        app = folder / "app.py"
        app.write_text(re.sub(r'(\n    title=)"[^"]*"', rf'\1"{title}"', app.read_text("utf-8")), "utf-8")
        _write_readme(origin, project, renaming, title)
        _write_tests(origin, project, renaming)
        if not apps:
            names = {"distribution": name.replace("_", "-"), "name": name, "title": title}
            extras = ",".join(["edge", *({spec.name} & _extras())])
            (project / "pyproject.toml").write_text(_PYPROJECT.format(**names, extras=extras), "utf-8")
        with _importable(apps.parent if apps else project, renaming.new_package):
            made = find_app(f"{renaming.new_package}.app:SPEC")
            if data_path is None and getattr(made.load_train(), "starter_needs_data", False):
                adopt_starter(spec, folder / "starter", name)
            else:
                make_starter(
                    made, folder / "starter", data_path=data_path, parameters=parameters, progress=progress
                )
    except BaseException:
        shutil.rmtree(project, ignore_errors=True)
        raise
    if apps:
        _register(apps.parent / "pyproject.toml", name)
    return project


def _package_of(spec: AppSpec) -> str:
    """The dotted package of an app: that of its modules which its folder is named after."""
    parts = spec.edge.partition(":")[0].split(".")
    folder = spec.starter.parent.name
    if folder not in parts:
        raise ConfigError(
            f"{spec.name} is not in a package of its own that holds its starter: it cannot be copied"
        )
    return ".".join(parts[: parts.index(folder) + 1])


def _is_checkout(apps: Path) -> bool:
    """Whether ``apps`` is the folder of that name in the checkout of edgeloop that runs."""
    return apps == find_app(TEMPLATE).starter.parents[1] and (apps.parent / "pyproject.toml").is_file()


def _extras() -> set[str]:
    """Extras of the installed edgeloop."""
    try:
        return set(metadata("edgeloop").get_all("Provides-Extra") or ())
    except PackageNotFoundError:
        return set()


def _copy(origin: Path, folder: Path, renaming: Renaming) -> None:
    """Copy the package, files and their names renamed."""
    shutil.copytree(origin, folder, ignore=LEFT_OUT)
    for path in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)):
        if path.suffix in TEXT_SUFFIXES:
            path.write_text(renaming.text(path.read_text("utf-8")), "utf-8")
        renamed = renaming.path(Path(path.name)).name
        if renamed != path.name:
            path.rename(path.with_name(renamed))


def _write_readme(origin: Path, project: Path, renaming: Renaming, title: str) -> None:
    """The README without the paragraph on `edgeloop new-app`, and without links out of the app's folder."""
    text = (origin / "README.md").read_text("utf-8")
    text = "\n\n".join(part for part in text.split("\n\n") if "edgeloop new-app" not in part)
    text = re.sub(r"!\[[^\]]*\]\(\.\./[^)]*\)\n?", "", text)
    text = re.sub(r"\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", text)
    text = renaming.text(text).replace(f"{renaming.new_package}.app:SPEC", renaming.new)
    (project / "README.md").write_text(re.sub(r"\A# .*", f"# {title}", text), "utf-8")


def _write_tests(origin: Path, project: Path, renaming: Renaming) -> None:
    """The template's test of the contract, which holds for every app, and the tests of the app's own."""
    template = find_app(TEMPLATE)
    shared = Renaming(template.name, _package_of(template), renaming.new, renaming.new_package)
    contract = template.starter.parent / "tests" / "test_contract.py"
    sources = {contract.name: (contract, shared)}
    sources |= {path.name: (path, renaming) for path in (origin / "tests").glob("*.py")}
    (project / "tests").mkdir()
    for name, (path, names) in sources.items():
        (project / "tests" / name).write_text(names.text(path.read_text("utf-8")), "utf-8")


def _register(pyproject: Path, name: str) -> None:
    """Add the entry point of an app to the checkout's own."""
    group = '[project.entry-points."edgeloop.apps"]\n'
    text = pyproject.read_text("utf-8")
    pyproject.write_text(text.replace(group, f'{group}{name} = "apps.{name}.app:SPEC"\n'), "utf-8")


@contextmanager
def _importable(folder: Path, package: str) -> Generator[None]:
    """``package`` in ``folder`` can be imported; afterwards its modules are forgotten."""
    sys.path.insert(0, str(folder))
    invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for module in [each for each in sys.modules if f"{each}.".startswith(f"{package}.")]:
            del sys.modules[module]
