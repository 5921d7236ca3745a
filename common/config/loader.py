"""One typed, frozen settings tree, from TOML and the environment, passed in and never read at import.

`load` merges, later over earlier: defaults, the TOML file, ``EDGELOOP_*`` variables (two underscores
between levels: ``EDGELOOP_OUTBOX__BUDGET_BYTES=1000000``; a list's items stand between commas), and
overrides of the command line. A wrong key is an error that names the nearest right one. Paths are relative
to the working directory of the process.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import tomllib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_origin

import msgspec

from common.errors import ConfigError

S = TypeVar("S", bound=msgspec.Struct)
ENVIRONMENT_PREFIX = "EDGELOOP_"
RESERVED_VARIABLES = frozenset({"EDGELOOP_DATA", "EDGELOOP_TOKEN", "EDGELOOP_CLOUD", "EDGELOOP_SEED"})
"""Variables that mean something else: the data folder, the bearer token, the cloud to talk to, a seed."""
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Origin = Annotated[str, msgspec.Meta(pattern=r"^https?://[A-Za-z0-9.\-\[\]:]+$")]


def load(
    kind: type[S],
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> S:
    """Settings of ``kind``. Raises `ConfigError` with the wrong key, its origin and the reason."""
    tree: dict[str, Any] = {}
    if file is not None:
        try:
            parsed = tomllib.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"there is no settings file {file}") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{file}: {error}") from error
        _check_keys(kind, parsed, str(file))
        _merge(tree, parsed)
    variables = _from_environment(kind, environment or {})
    _merge(tree, variables)
    _merge(tree, {k: v for k, v in (overrides or {}).items() if v is not None})
    return convert(kind, tree, str(file) if file else "settings")


def convert(kind: type[S], tree: Mapping[str, Any], where: str) -> S:
    """``tree`` as settings of ``kind``. Raises `ConfigError`."""
    _check_keys(kind, tree, where)
    try:
        return msgspec.convert(tree, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from error


class Setting(msgspec.Struct, frozen=True):
    """One setting as it is shown to people."""

    name: str
    default: Any
    help: str


def explain(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[Setting]:
    """Every setting of ``kind`` with its default and the line of help that stands below it in the code."""
    helps = field_docs(kind)
    for field in msgspec.structs.fields(kind):
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from explain(inner, f"{prefix}{field.name}.")
        else:
            made = field.default_factory
            default = field.default if made is msgspec.NODEFAULT else made()
            yield Setting(f"{prefix}{field.name}", default, helps.get(field.name, ""))


def field_docs(kind: type[msgspec.Struct]) -> dict[str, str]:
    """The string below each field, by field, as documentation tools read it."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in pairwise(body.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            found[field.target.id] = inspect.cleandoc(text.value.value)
    return found


def _check_keys(kind: type[msgspec.Struct], tree: Mapping[str, Any], where: str, prefix: str = "") -> None:
    fields = {f.encode_name: f.type for f in msgspec.structs.fields(kind)}
    for key, value in tree.items():
        if key not in fields:
            nearest = difflib.get_close_matches(key, fields, n=1)
            hint = (
                f"; did you mean {prefix}{nearest[0]}?"
                if nearest
                else f"; known: {', '.join(sorted(fields))}"
            )
            raise ConfigError(f"{where}: there is no setting {prefix}{key}{hint}")
        inner = fields[key]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct) and isinstance(value, Mapping):
            _check_keys(inner, cast("Mapping[str, Any]", value), where, f"{prefix}{key}.")


def _from_environment(kind: type[msgspec.Struct], environment: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in RESERVED_VARIABLES:
            continue
        path = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        branch: Any = value
        if get_origin(_type_at(kind, path)) is list:
            branch = [item.strip() for item in value.split(",") if item.strip()]
        for key in reversed(path):
            branch = {key: branch}
        _check_keys(kind, branch, variable)
        _merge(tree, branch)
    return tree


def _type_at(kind: Any, path: list[str]) -> Any:
    """The type of the setting at ``path``; None where there is none."""
    for key in path:
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return None
        kind = {f.encode_name: f.type for f in msgspec.structs.fields(kind)}.get(key)
    return kind


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        if not isinstance(value, Mapping):
            into[key] = value
            continue
        branch = cast("Mapping[str, Any]", value)
        if isinstance(into.get(key), dict):
            _merge(into[key], branch)
        else:
            into[key] = dict(branch)
