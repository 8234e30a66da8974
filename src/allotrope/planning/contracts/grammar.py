"""The two small languages of a contract, read: types, and the expressions of defaults. Nothing else gets through.

So a contract of a stranger can be compared, and become Python, without running a word that it could choose.
"""

import ast
from collections.abc import Iterator
from typing import NamedTuple

from allotrope.kernel.errors import Refused
from allotrope.planning.contracts.shapes import LIMITS, PLAIN, UNKNOWN

_MAKERS = {"Decimal", "UUID", "timedelta"}
_READERS = {"datetime", "date", "time"}  # by `fromisoformat`


class Node(NamedTuple):
    """A type: what kind of one, its own text, and the types that it is made of."""

    word: str  # name, tuple, many, union, literal, limited, array
    text: str
    parts: tuple["Node", ...] = ()

    def names(self) -> Iterator[str]:
        """Yield the names in it that no Python knows: those of shapes."""
        if self.word == "name" and self.text not in PLAIN and self.text not in ("None", "Any", "array"):
            yield self.text
        for part in self.parts:
            yield from part.names()


def parsed(text: str) -> Node:
    """Return what a spelled type says. Refused when it is not of this language."""
    return _node(_tree(text), text)


def _tree(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Refused(f"`{text:.80}` in a contract cannot be read: {error}") from None


def _node(tree: ast.expr, text: str) -> Node:
    own = ast.unparse(tree)
    if isinstance(tree, ast.Constant) and tree.value is None:
        return Node("name", "None")
    if isinstance(tree, ast.Name):
        return Node("name", tree.id)
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitOr):
        sides = [_node(side, text) for side in (tree.left, tree.right)]
        parts = [part for side in sides for part in (side.parts if side.word == "union" else (side,))]
        return Node("union", own, tuple(parts))
    if isinstance(tree, ast.Subscript) and isinstance(tree.value, ast.Name):
        inside = [*tree.slice.elts] if isinstance(tree.slice, ast.Tuple) else [tree.slice]
        if (found := _subscript(tree.value.id, inside, own, text)) is not None:
            return found
    raise Refused(f"`{own:.80}` in `{text:.80}` is no type of a contract")


def _subscript(name: str, inside: list[ast.expr], own: str, text: str) -> Node | None:
    if name == "tuple":
        if len(inside) == 2 and isinstance(inside[1], ast.Constant) and inside[1].value is ...:
            return Node("many", own, (_node(inside[0], text),))
        return Node("tuple", own, tuple(_node(part, text) for part in inside))
    if name == "Literal" and all(map(_plain, inside)):
        return Node("literal", own)
    if name == "array" and len(inside) == 1 and isinstance(inside[0], ast.Name):
        return Node("array", inside[0].id)
    if name == "Annotated" and len(inside) == 2 and _limited(inside[1]):
        return Node("limited", ast.unparse(inside[1]), (_node(inside[0], text),))
    return None


def _limited(tree: ast.expr) -> bool:
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "Meta"):
        return False
    return not tree.args and all(word.arg in LIMITS and _plain(word.value) for word in tree.keywords)


def _plain(tree: ast.expr) -> bool:
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        tree = tree.operand
    return isinstance(tree, ast.Constant) and tree.value is not ...


def check_default(text: str, shapes: set[str]) -> None:
    """Refuse an expression that does more than make a value: of a plain type, or of one of `shapes`."""
    if text not in ("", UNKNOWN) and not _makes(_tree(text), shapes):
        raise Refused(f"`{text:.80}` is no default of a contract; write the contract again")


def _makes(tree: ast.expr, shapes: set[str]) -> bool:
    if isinstance(tree, ast.Tuple):
        return all(_makes(part, shapes) for part in tree.elts)
    if not isinstance(tree, ast.Call):
        return _plain(tree)
    called, given = tree.func, [*tree.args, *(word.value for word in tree.keywords)]
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
        allowed = called.value.id in _READERS and called.attr == "fromisoformat"
    else:
        allowed = isinstance(called, ast.Name) and called.id in (_MAKERS | shapes)
    return allowed and all(word.arg for word in tree.keywords) and all(_makes(part, shapes) for part in given)
