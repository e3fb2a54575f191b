"""Links between docstrings: Sphinx's roles, which editors know too, turned into MkDocs' links.

A full name of this package that does not exist is a warning, and so ends a strict build.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|meth|data|attr|mod):`(~?)([\w.]+)`")
_LITERAL = re.compile(r"::$", re.MULTILINE)


class CrossReferences(griffe.Extension):
    """Rewrites the docstrings of a package once all of it has been read."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Rewrite the docstrings of a package and of everything in it."""
        _rewrite(pkg)


def _rewrite(obj: griffe.Object) -> None:
    if obj.docstring:
        text = ROLE.sub(partial(_link, obj), obj.docstring.value)
        # reStructuredText's mark of a literal block; Markdown sees it by its indent.
        obj.docstring.value = _LITERAL.sub(":", text)
    for member in obj.members.values():
        if isinstance(member, griffe.Object):
            _rewrite(member)


def _link(obj: griffe.Object, role: re.Match[str]) -> str:
    """Return a link, which stays mere code if no page describes its target."""
    short, target = role.groups()
    shown = target.rpartition(".")[2] if short else target
    path = _full_path(obj, target)
    try:
        found = obj.package.get_member(path.split(".")[1:]) if path else None
    except KeyError:
        griffe.logger.warning("%s: %s names nothing", obj.path, role.group())
        found = None
    if found is None:
        return f"<code>{shown}</code>"
    return f'<autoref optional identifier="{found.canonical_path}"><code>{shown}</code></autoref>'


def _full_path(obj: griffe.Object, target: str) -> str | None:
    """Return the full path of a target, seen from a docstring; None if the package has none."""
    name, _, rest = target.partition(".")
    if name == obj.package.name:
        return target
    try:
        path = f"{obj.resolve(name)}.{rest}".rstrip(".")
    except griffe.NameResolutionError:
        return None
    return path if path.startswith(f"{obj.package.name}.") else None
