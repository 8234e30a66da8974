"""What a contract may say is read, and everything else is not run."""

import pytest

from allotrope import Refused
from allotrope.planning.contracts.grammar import check_default, parsed


@pytest.mark.parametrize(
    "text",
    [
        "int", "None", "Slip", "array", "array[float32]", "tuple[int, ...]", "tuple[int, str]", "tuple[()]",
        "int | None", "tuple[Slip | None, ...] | str", "Literal['a', -1, True]",
        "Annotated[int, Meta(ge=0, le=-1.5)]", "Annotated[str, Meta(pattern='^a.*$')]",
    ],
)  # fmt: skip
def test_types_are_read(text: str) -> None:
    assert {*parsed(text).names()} <= {"Slip"}


@pytest.mark.parametrize(
    "text",
    [
        "list[int]", "os.system", "f(1)", "tuple[f()]", "Literal[f()]", "Annotated[int, f()]", "int if 1 else str",
        "Annotated[int, Meta(extra=1)]", "Annotated[int, Meta(ge=f())]", "array['x']", "array[a.b]", "(x := 1)",
        "[].append", "lambda: 0", "1", "int, str", "", "int\nimport os", "tuple[int, ...][0]", "a" * 5 + "(",
    ],
)  # fmt: skip
def test_other_text_is_no_type(text: str) -> None:
    with pytest.raises(Refused):
        parsed(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "...", "1", "-1", "-0.5", "'a'", "None", "True", "()", "(1, 'a')", "b'x'", "Decimal('1')",
        "datetime.fromisoformat('2026-01-01')", "timedelta(microseconds=1)", "Slip(id='a', at=(Slip(id='b'),))",
    ],
)  # fmt: skip
def test_defaults_are_read(text: str) -> None:
    check_default(text, {"Slip"})


@pytest.mark.parametrize(
    "text",
    [
        "print(1)", "__import__('os')", "Slip", "Other()", "Slip(f())", "Slip(*x)", "Slip(**x)", "x.y()",
        "datetime.now()", "date.x('a')", "[1]", "{}", "1 + 1", "'a'.join('b')", "f'{x}'", "(yield)", "Slip(...)",
        "datetime.fromisoformat(open('x'))", "lambda: 0", "1; 2", "not 1",
    ],
)  # fmt: skip
def test_other_text_is_no_default(text: str) -> None:
    with pytest.raises(Refused):
        check_default(text, {"Slip"})
