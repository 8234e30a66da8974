"""What a function mentions, read from its bytecode: no source file is needed, so a REPL and a zip work too.

Instructions are told by how their names begin, so that the variants of CPython 3.11 to 3.14 read alike. What
a function calls is not followed here; `facts` follows the methods of a component.
"""

import dis
import sys
from collections import Counter
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR", "LOAD_SUPER_ATTR")
_PADDING = ("CACHE", "EXTENDED_ARG", "NOP")
_NULL_BEHIND = sys.version_info >= (3, 13)  # on which side of a callee the NULL of the call protocol stands

Steps = list[dis.Instruction]


class Unknown:
    """Stands for a value that bytecode alone does not tell."""


class Instance:
    """Stands for the first parameter of a method."""


class Mention(NamedTuple):
    """A name and the attributes behind it, as in `faults.TooLong(...)`; `values` are what they stand for."""

    names: tuple[str, ...]
    values: tuple[Any, ...]
    called: bool  # or raised without a call
    line: int

    @property
    def own(self) -> bool:
        """Return whether it begins at the instance."""
        return self.values[0] is Instance

    @property
    def title(self) -> str:
        """Return the name that the thing has where it is defined, as `datetime.datetime.now`."""
        for index in range(len(self.values) - 1, -1, -1):
            value = self.values[index]
            if isinstance(value, ModuleType) or (isinstance(value, type) and value is not Unknown):
                return ".".join((_title(value), *self.names[index + 1 :]))
        return ".".join((_title(self.values[0]), *self.names[1:]))


def _title(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    holder = getattr(value, "__self__", None)
    if holder is not None and not isinstance(
        holder, (type, ModuleType)
    ):  # as `random.random`, of a hidden generator
        return f"{type(holder).__module__}.{value.__name__}"
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"


def mentions(function: FunctionType, *, bound: bool = True) -> list[Mention]:
    """Return what a function mentions, its nested functions, comprehensions and lambdas included.

    `bound` says that the first parameter is the instance.
    """
    code = function.__code__
    known: dict[str, Any] = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            known[name] = cell.cell_contents
        except ValueError:  # the name is bound later than the function
            known[name] = Unknown
    if bound and code.co_argcount:
        known[code.co_varnames[0]] = Instance
    return list(_scanned(code, function.__globals__, known))


def _scanned(code: CodeType, space: dict[str, Any], known: dict[str, Any]) -> Iterator[Mention]:
    """Yield the mentions of one code object; `known` are the variables whose values can be told."""
    steps = [step for step in dis.get_instructions(code) if step.opname not in _PADDING]
    cells = {*code.co_cellvars, *code.co_freevars}
    _bind(steps, cells, space, known)
    for index, step in enumerate(steps):
        if step.opname in ("IMPORT_NAME", "IMPORT_FROM"):
            yield _imported(steps, index, space)
        elif step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            if step.argval in space:
                yield _chain(steps, index, step.argval, space[step.argval])[0]
        else:
            for name in _loaded(step, cells):
                if name in known:
                    mention, end = _chain(steps, index, name, known[name])
                    if known.get(_stored(steps, end + 1)) != mention:  # an alias is told by its own mentions
                        yield mention
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            seen = {name: value for name, value in known.items() if name in constant.co_freevars}
            yield from _scanned(constant, space, seen)


def _bind(steps: Steps, cells: set[str], space: dict[str, Any], known: dict[str, Any]) -> None:
    """Add to `known` the local names of imports, and the aliases of fields that are bound once."""
    bound = Counter(name for step in steps for name in _targets(step))
    for index, step in enumerate(steps):
        target = _stored(steps, index + 1)
        if step.opname in ("IMPORT_NAME", "IMPORT_FROM") and target:
            known[target] = _imported(steps, index, space).values[-1]
        for name in _loaded(step, cells):
            if known.get(name) is Instance:
                mention, end = _chain(steps, index, name, Instance)
                target = _stored(steps, end + 1)
                if target and bound[target] == 1:
                    known[target] = mention


def _targets(step: dis.Instruction) -> tuple[str, ...]:
    """Return the local variables that an instruction binds."""
    if not step.opname.startswith("STORE_FAST") and step.opname != "STORE_DEREF":
        return ()
    names = (step.argval,) if isinstance(step.argval, str) else tuple(step.argval)
    return names[:1] if step.opname == "STORE_FAST_LOAD_FAST" else names


def _stored(steps: Steps, index: int) -> str:
    """Return the variable that the value on top of the stack goes to; "" when it goes elsewhere."""
    return (_targets(steps[index]) or ("",))[0] if index < len(steps) else ""


def _loaded(step: dis.Instruction, cells: set[str]) -> list[str]:
    """Return the variables whose values an instruction loads; the last one is left on top of the stack."""
    name, argument = step.opname, step.argval
    if name.startswith("LOAD_") and name.endswith("DEREF"):
        return [argument]
    if name == "STORE_FAST_LOAD_FAST":
        names = [argument[1]]
    elif name.startswith("LOAD_FAST") and name != "LOAD_FAST_AND_CLEAR":
        names = [argument] if isinstance(argument, str) else list(argument)
    else:
        return []
    # A cell is loaded this way only to make a closure; its value is loaded by the DEREF instructions.
    return [name for name in names if name not in cells]


def _chain(steps: Steps, index: int, name: str, value: Any) -> tuple[Mention, int]:
    """Return the mention that the instruction at `index` begins, and the index of its last attribute."""
    start = value if isinstance(value, Mention) else Mention((name,), (value,), called=False, line=0)
    names, values, end = [*start.names], [*start.values], index
    pair = steps[index].argval
    below = isinstance(pair, tuple) and name != pair[-1]  # under another value, which takes what follows
    while not below and end + 1 < len(steps) and steps[end + 1].opname in _ATTRIBUTES:
        end += 1
        names.append(steps[end].argval)
        values.append(_attribute(values[-1], names[-1]))
    called = not below and _is_called(steps, index, end)
    return Mention(tuple(names), tuple(values), called, _line(steps[index])), end


def _line(step: dis.Instruction) -> int:
    return (step.positions.lineno if step.positions else None) or 0


def _attribute(holder: Any, name: str) -> Any:
    """Return an attribute without running any code of its owner."""
    if isinstance(holder, ModuleType):
        return vars(holder).get(name, Unknown)
    if isinstance(holder, type) and holder not in (Unknown, Instance):
        return next((vars(parent)[name] for parent in holder.__mro__ if name in vars(parent)), Unknown)
    return Unknown


def _is_called(steps: Steps, first: int, last: int) -> bool:
    chain = steps[first : last + 1]
    marked = any(
        isinstance(step.argval, str) and step.argrepr != step.argval for step in chain
    )  # "NULL + name"
    if marked or steps[last].opname == "LOAD_METHOD":
        return True
    behind = steps[last + 1 : last + 3]
    neighbour = behind[:1] if _NULL_BEHIND else steps[max(first - 1, 0) : first]
    if neighbour and neighbour[0].opname == "PUSH_NULL":
        return True
    # `raise Closed` and `raise Closed from error`
    return any(step.opname == "RAISE_VARARGS" and step.arg == place for place, step in enumerate(behind, 1))


def _imported(steps: Steps, index: int, space: dict[str, Any]) -> Mention:
    """Return the mention of what an import statement inside a function brings; nothing is imported for it."""
    start = next(i for i in range(index, -1, -1) if steps[i].opname == "IMPORT_NAME")
    level, parts, module = int(steps[start - 2].argval), steps[start - 1].argval, str(steps[start].argval)
    if level:
        package = str(space.get("__package__") or "").split(".")
        module = ".".join([*package[: len(package) - level + 1], *filter(None, [module])])
    whole, line = sys.modules.get(module, Unknown), _line(steps[index])
    if steps[index].opname == "IMPORT_NAME":
        bound = whole if parts else sys.modules.get(module.split(".")[0], Unknown)  # `import a.b` binds `a`
        return Mention((module,), (bound,), called=False, line=line)
    if not parts:  # `import a.b as c`
        return Mention((module,), (whole,), called=False, line=line)
    name = str(steps[index].argval)
    value = _attribute(whole, name)
    value = sys.modules.get(f"{module}.{name}", Unknown) if value is Unknown else value
    return Mention((module, name), (whole, value), called=False, line=line)
