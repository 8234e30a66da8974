"""The limits of the house style, asserted over the package and the examples.

The layers are held by import-linter (`make lint`), not here. A limit is argued with in a decision record,
never by raising a figure below; a single case goes into EXCEPTIONS with its reason, and that table may only
shrink.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import grimp
import pytest

# (limit, place) -> reason; the limit is one of LIMITS, the place is spelled as the failure prints it.
EXCEPTIONS: dict[tuple[str, str], str] = {
    (
        "init",
        "examples/fraud/__init__.py",
    ): "`allotrope plan examples.fraud` looks for the App in the package",
    (
        "init",
        "src/allotrope/compose/__init__.py",
    ): "`compose.build` and `compose.load` are what users build with",
}
LIMITS = {"file", "function", "parameters", "folder", "depth", "init", "package", "kernel", "door", "name"}

FILE_LINES = 400
FUNCTION_LINES = 50
FUNCTION_LINES_P90 = 25
PUBLIC_PARAMETERS = 5
FILES_IN_A_FOLDER = 12
DEPTH = 3
KERNEL_LINES = 1200
LINES_PER_SUPPRESSION = 1000
CLASS_WORDS = 3
DOC_SHARE = (0.12, 0.30)  # the house aims at 15-25%

VAGUE = {"manager", "helper", "util", "common", "base", "abstract", "impl", "info", "misc"}
VAGUE_FUNCTIONS = {"process", "handle", "do"}

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "allotrope"
EXAMPLES = ROOT / "examples"

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


@dataclass(frozen=True)
class Source:
    """One Python file, with its syntax tree and its comments."""

    path: Path
    top: Path

    @property
    def place(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def comments(self) -> list[tokenize.TokenInfo]:
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [token for token in tokens if token.type == tokenize.COMMENT]

    def functions(self) -> Iterator[tuple[str, Function]]:
        """Each function with its place, nested ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield f"{self.place}:{node.name}", node

    def doors(self) -> Iterator[tuple[str, Function]]:
        """Each public function: of the module, and of its public classes, with their constructors."""
        holders = [("", self.tree)]
        for prefix, holder in holders:
            for node in holder.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    holders.append((f"{prefix}{node.name}.", node))
                elif isinstance(node, Function) and (node.name == "__init__" or node.name[0] != "_"):
                    yield f"{self.place}:{prefix}{node.name}", node


def sources(top: Path) -> list[Source]:
    return [Source(path, top) for path in sorted(top.rglob("*.py"))]


SOURCES = sources(PACKAGE) + sources(EXAMPLES)


def docstring_lines(node: Documented) -> int:
    """How many lines the docstring takes; 0 without one."""
    first = node.body[0] if node.body else None
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return first.end_lineno - first.lineno + 1
    return 0


def function_lines(node: Function) -> int:
    return node.end_lineno - node.lineno + 1 - docstring_lines(node)


def parameters(node: Function) -> int:
    """How many parameters a caller sees: all of them but `self` and `cls`."""
    spec = node.args
    every = (*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg)
    names = [parameter.arg for parameter in every if parameter]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def words(name: str) -> list[str]:
    """The words of a name, lower case: `OTLPExporter` has two, `in_flight` too."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def singular(word: str) -> str:
    return word if word.endswith("ss") else word.removesuffix("s")


def refuse(limit: str, faults: dict[str, str]) -> None:
    """Fail with every fault that no exception names, all at once, and with every stale exception."""
    excused = {place for kind, place in EXCEPTIONS if kind == limit}
    found = [f"{place}: {fault}" for place, fault in faults.items() if place not in excused]
    stale = [f"{place}: this exception to `{limit}` is no longer needed" for place in excused - faults.keys()]
    assert not found + stale, "\n".join(["", *found, *stale])


def over(limit: int, sizes: dict[str, int], unit: str) -> dict[str, str]:
    """The places whose size exceeds the limit, with what to say of them."""
    return {place: f"{size} {unit}, limit {limit}" for place, size in sizes.items() if size > limit}


def test_there_is_something_to_measure() -> None:
    assert sources(PACKAGE)
    assert sources(EXAMPLES)


def test_each_exception_names_a_limit_and_a_reason() -> None:
    assert {limit for limit, _ in EXCEPTIONS} <= LIMITS
    assert all(len(reason.split()) > 2 for reason in EXCEPTIONS.values())


def test_files_are_short() -> None:
    sizes = {source.place: len(source.lines) for source in SOURCES}
    refuse("file", over(FILE_LINES, sizes, "lines"))


def test_functions_are_short() -> None:
    sizes = {place: function_lines(node) for source in SOURCES for place, node in source.functions()}
    refuse("function", over(FUNCTION_LINES, sizes, "lines without the docstring"))


@pytest.mark.parametrize("top", [PACKAGE, EXAMPLES], ids=lambda top: top.name)
def test_nine_functions_of_ten_are_shorter_still(top: Path, note: Callable[[str], None]) -> None:
    sizes = sorted(function_lines(node) for source in sources(top) for _, node in source.functions())
    p90 = sizes[int(0.9 * len(sizes))] if sizes else 0
    note(f"shape of {top.name}: {len(sizes)} functions, p90 {p90} lines (limit {FUNCTION_LINES_P90})")
    assert p90 <= FUNCTION_LINES_P90


def test_public_functions_take_few_parameters() -> None:
    counts = {place: parameters(node) for source in SOURCES for place, node in source.doors()}
    refuse("parameters", over(PUBLIC_PARAMETERS, counts, "parameters; make one frozen options class"))


def test_folders_hold_few_files() -> None:
    folders = {source.path.parent for source in SOURCES}
    counts = {folder.relative_to(ROOT).as_posix(): len(list(folder.glob("*.py"))) for folder in folders}
    refuse("folder", over(FILES_IN_A_FOLDER, counts, "Python files"))


def test_folders_are_not_deep() -> None:
    """Depth is the number of names below the root, the file's own included."""
    depths = {source.place: len(source.path.relative_to(source.top).parts) for source in SOURCES}
    refuse("depth", over(DEPTH, depths, "names below the root"))


def test_the_kernel_is_small(note: Callable[[str], None]) -> None:
    total = sum(len(source.lines) for source in sources(PACKAGE / "kernel"))
    note(f"shape of kernel: {total} lines (limit {KERNEL_LINES})")
    assert 0 < total <= KERNEL_LINES


DIRECTIVE = re.compile(r"#\s*(type:\s*ignore|noqa|pragma)(:\s*no \w+)?(\[[\w, -]+\])?(:?\s*[A-Z]+\d+,?)*")


def test_suppressions_are_rare_and_say_why() -> None:
    found = {
        f"{source.place}:{comment.start[0]}": comment.string
        for source in SOURCES
        for comment in source.comments
        if DIRECTIVE.search(comment.string)
    }
    reasons = {place: re.findall(r"[A-Za-z]{2,}", DIRECTIVE.sub("", text)) for place, text in found.items()}
    mute = [place for place, reason in reasons.items() if len(reason) < 2]
    assert not mute, f"suppressions without a reason: {mute}"
    total = sum(len(source.lines) for source in SOURCES)
    allowed = max(1, total // LINES_PER_SUPPRESSION)
    assert len(found) <= allowed, f"{len(found)} in {total} lines, {allowed} allowed: {list(found)}"


def test_prose_has_its_share(note: Callable[[str], None]) -> None:
    """Lines of docstrings and lines that hold nothing but a comment, of all lines that are not blank."""
    total = prose = 0
    for source in SOURCES:
        total += sum(1 for line in source.lines if line.strip())
        prose += sum(1 for comment in source.comments if comment.line.strip().startswith("#"))
        prose += sum(docstring_lines(node) for node in ast.walk(source.tree) if isinstance(node, Documented))
    share = prose / total
    note(f"shape of all: {total} lines that are not blank, docstrings and comments {share:.0%}")
    assert DOC_SHARE[0] <= share <= DOC_SHARE[1]


def test_inner_packages_only_say_what_they_are() -> None:
    """An import in an inner `__init__` ties its whole folder into one knot."""
    inner = [s for s in SOURCES if s.path.name == "__init__.py" and s.path.parent != PACKAGE]
    wrong = [s for s in inner if len(s.tree.body) != 1 or not docstring_lines(s.tree)]
    refuse("init", {source.place: "must hold one docstring and nothing else" for source in wrong})


def test_every_folder_is_a_package() -> None:
    """A folder without `__init__` is a namespace: import-linter and the wheel would both pass it by."""
    bare = {source.path.parent for source in SOURCES if not (source.path.parent / "__init__.py").exists()}
    refuse("package", {folder.relative_to(ROOT).as_posix(): "has no `__init__.py`" for folder in bare})


def test_the_root_re_exports_the_kernel_and_doors_of_modules_only() -> None:
    names = [name for _, name in imports(PACKAGE / "__init__.py")]
    door = re.compile(r"allotrope\.modules\.\w+\.api\b")
    assert not [name for name in names if not within(name, "allotrope.kernel") and not door.match(name)]


def test_the_kernel_imports_the_standard_library_and_msgspec_only() -> None:
    allowed = sys.stdlib_module_names | {"msgspec"}
    strange = {
        f"{place} -> {name}": "the kernel is pure"
        for place, name in imports(*(PACKAGE / "kernel").rglob("*.py"))
        if name.split(".")[0] not in allowed and not within(name, "allotrope.kernel")
    }
    refuse("kernel", strange)


def test_modules_import_the_kernel_and_each_others_api_only() -> None:
    strange = {}
    for place, name in imports(*(PACKAGE / "modules").rglob("*.py")):
        own = ".".join(["allotrope", *Path(place).parts[2:4]])
        if within(name, "allotrope") and not (
            within(name, "allotrope.kernel") or within(name, own) or api(name)
        ):
            strange[f"{place} -> {name}"] = "a module imports the kernel and the `api` of other modules"
    refuse("door", strange)


def test_the_console_enters_modules_by_their_api_only() -> None:
    names = imports(*(PACKAGE / "console").rglob("*.py"))
    assert not [
        f"{place} -> {name}" for place, name in names if within(name, "allotrope.modules") and not api(name)
    ]


def api(name: str) -> bool:
    """Whether the name is a module's one door, or comes through it."""
    return re.match(r"allotrope\.modules\.\w+\.api(\.|$)", name) is not None


def imports(*paths: Path) -> Iterator[tuple[str, str]]:
    """Each import of the files as (place, full dotted name of what is imported)."""
    for path in paths:
        source = Source(path, PACKAGE)
        package = ["allotrope", *path.parent.relative_to(PACKAGE).parts]
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import):
                yield from ((source.place, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else []
                stem = ".".join([*above, *filter(None, [node.module])])
                yield from ((source.place, f"{stem}.{alias.name}") for alias in node.names)


def within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def test_names_are_neither_vague_nor_long() -> None:
    faults = {}
    for source in SOURCES:
        if VAGUE & set(map(singular, words(source.path.stem))):
            faults[source.place] = "a file name that says nothing"
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.ClassDef):
                continue
            parts = words(node.name)
            if VAGUE & set(map(singular, parts)):
                faults[f"{source.place}:{node.name}"] = "a class name that says nothing"
            elif len(parts) > CLASS_WORDS or parts[0] == "allotrope":
                faults[f"{source.place}:{node.name}"] = f"over {CLASS_WORDS} words, or named by the product"
        for place, function in source.functions():
            if function.name in VAGUE_FUNCTIONS:
                faults[place] = "a function name that says nothing"
    refuse("name", faults)


def test_no_import_cycle() -> None:
    """The knot: the largest set of modules that all reach each other."""
    graph = grimp.build_graph("allotrope", cache_dir=None)
    reach = {module: graph.find_downstream_modules(module) for module in graph.modules}
    knots = [{other for other in below if module in reach[other]} for module, below in reach.items()]
    knot = max(knots, key=len)
    assert not knot, f"the largest knot: {sorted(knot)}"


CONFIG = {".toml", ".txt", ".lock", ".cfg", ".ini", ".in", ".json", ".yaml", ".yml", ".mk", ""}
ADDRESS = re.compile(
    r"""(?xi)
    ^\s* (-i|-f|--(extra-)?index[-_]url|--find[-_]links) [\s=]
    | (resolved|registry|(index|find|default)[-_](url|links|index)) ["']?
      \s* [=:] \s* ["'\[]* \s* (https?|file):
    """
)


def test_no_file_records_a_download_address() -> None:
    """Pins are versions and hashes: where the packages come from is a setting of the machine."""
    git = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    listed = git.stdout.splitlines()
    pins = [path.relative_to(ROOT).as_posix() for path in (ROOT / "requirements").iterdir()]
    texts = {name: (ROOT / name) for name in {*listed, *pins, "pyproject.toml", "Makefile"}}
    found = [
        f"{name}:{number}"
        for name, path in texts.items()
        if path.suffix in CONFIG and path.is_file()
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1)
        if ADDRESS.search(line) or (name in pins and "://" in line)
    ]
    assert not found


def test_pins_are_exact_and_hashed() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        lines = [
            line for line in path.read_text("utf-8").splitlines() if line.strip(" ")[:1] not in ("", "#")
        ]
        starts = [i for i, line in enumerate(lines) if not line.startswith(" ")]
        for start, end in pairwise([*starts, len(lines)]):
            assert re.match(r"[\w.-]+==\S+ ", lines[start]), f"{path.name}: {lines[start]}"
            assert end > start + 1, f"{path.name}: no hash for {lines[start]}"
            assert all(line.lstrip().startswith("--hash=sha256:") for line in lines[start + 1 : end])
