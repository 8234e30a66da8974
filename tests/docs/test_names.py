"""What `allotrope` exports is there, sorted, documented, and says more than its signature."""

import inspect

import pytest

import allotrope


@pytest.mark.parametrize("name", allotrope.__all__)
def test_every_public_name_has_a_docstring_of_its_own(name: str) -> None:
    thing = getattr(allotrope, name)
    text = inspect.cleandoc((vars(thing)["__doc__"] if isinstance(thing, type) else thing.__doc__) or "")
    assert len(text.split()) > 2, f"{name} does not say what it is"
    assert text.splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize("name", allotrope.__all__)
def test_every_public_method_of_it_has_one(name: str) -> None:
    thing = getattr(allotrope, name)
    if isinstance(thing, type):
        open_ones = [
            member
            for member, held in vars(thing).items()
            if member[0] != "_" and (inspect.isfunction(held) or isinstance(held, (property, classmethod)))
        ]
        assert not [member for member in open_ones if not inspect.getdoc(getattr(thing, member))]


def test_the_names_are_sorted_and_all_there() -> None:
    assert sorted(set(allotrope.__all__)) == allotrope.__all__
    public = {name for name, held in vars(allotrope).items() if name[0] != "_" and not inspect.ismodule(held)}
    assert public == set(allotrope.__all__)
