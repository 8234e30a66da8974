"""Text to values and places, bases merged, one clear error for text that is no TOML."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Place
from allotrope.planning.documents import document_of
from tests.planning.refusal import preset

TEXT = '''# a layout
base = "under"
durability = "process"

[unit.hot]
components = [
  "Scorer",   # not a table: [unit.cold]
  "Desk",
]
note = """
[unit.text]
cpu = 3
"""

[unit."two words".sub]
a.b = { c = [1, 2], d = "q" }

[setting]
Scorer.threshold = 0.5
"Desk.limit" = 4
'''
UNDER = 'window = 8\n[unit.hot]\ncpu = 2.0\ncomponents = ["*"]\n[unit.rest]\ncomponents = []\n'


def test_a_base_is_merged_entry_by_entry() -> None:
    made = document_of(TEXT, "shop.toml", lambda name: UNDER)
    assert "base" not in made.values
    assert made.values["window"] == 8
    assert made.values["durability"] == "process"
    assert made.values["unit"]["hot"]["cpu"] == 2.0
    assert made.values["unit"]["hot"]["components"] == ["Scorer", "Desk"]
    assert made.values["unit"]["rest"] == {"components": []}


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        (("durability",), "shop.toml:3"),
        (("unit", "hot"), "shop.toml:5"),
        (("unit", "hot", "components"), "shop.toml:6"),
        (("unit", "hot", "components", "Desk"), "shop.toml:8"),
        (("unit", "hot", "components", "Other"), "shop.toml:6"),
        (("unit", "hot", "note"), "shop.toml:10"),
        (("unit", "hot", "cpu"), "under.toml:3"),
        (("unit", "two words", "sub", "a", "b"), "shop.toml:16"),
        (("setting", "Scorer", "threshold"), "shop.toml:19"),
        (("setting", "Desk", "limit"), "shop.toml:20"),
        (("unit", "text"), "shop.toml:5"),
        (("nothing",), "shop.toml:1"),
    ],
)
def test_every_key_has_its_place(keys: tuple[str, ...], place: str) -> None:
    file, _, line = place.partition(":")
    assert document_of(TEXT, "shop.toml", lambda name: UNDER).place(*keys) == Place(file, int(line))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nb = \n", "shop.toml:2  this is no TOML: Invalid value"),
        ("a = 1\na = 2\n", "shop.toml:2  this is no TOML: Cannot overwrite a value"),
        ("\n\n[unit", "shop.toml:3  this is no TOML: Expected ']' at the end of a table declaration"),
        ("\nbase = 3", "shop.toml:2  `base` is 3; give the name of a preset in quotes"),
        (
            'base = "monolit"',
            "shop.toml:1  `base` is 'monolit': no preset is called `monolit`. Nearest: `monolith`.",
        ),
    ],
)
def test_a_text_that_cannot_be_read_is_one_refusal(text: str, message: str) -> None:
    with pytest.raises(Refused) as caught:
        document_of(text, "shop.toml", preset)
    assert str(caught.value) == message


def test_bases_may_not_go_round() -> None:
    texts = {"one": 'base = "two"', "two": 'base = "one"'}
    with pytest.raises(Refused) as caught:
        document_of('base = "one"', "shop.toml", texts.__getitem__)
    assert str(caught.value) == "two.toml:1  the bases go round: one -> two -> one; drop one"


PIECES = (
    "\n", "# a = 1\n", "a = 1\n", 'b."c d".e = "x = [ # \\" "\n', "f = [\n [1],\n 'x', # ]\n]\n", "[g]\n",
    '[g."h i"]\n', "j = \'\'\'\n[k]\nl = 1\'\'\'\n", 'm = """a\\"""" \n', "n = { o = [1, 2], p = '}' }\n",
    "[[q]]\n", "r = 1\r\n", "'s' = 1\n",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), unique=True).map("".join))
def test_every_table_and_key_of_a_sound_text_is_found(text: str) -> None:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    made = document_of(text, "shop.toml", preset)
    lines = text.splitlines()
    for key in values:
        line = lines[made.place(key).line - 1]
        assert line.lstrip(" [\"'").startswith(key)
    assert not {"k", "l", "k.l", "x"} & made.places.keys()
