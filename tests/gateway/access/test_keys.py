"""API keys: what is kept of them, and how soon one that is revoked is worth nothing."""

import stat
from pathlib import Path

import pytest

from allotrope import Refused
from allotrope.gateway.access.keys import MARK, Keys, made, read, revoked


def test_a_key_is_kept_as_a_hash_only(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "callers.json"
    key = made(path, "ann", "shop", ("Desk.*",))
    assert key.startswith(MARK)
    secret = key.removeprefix(MARK).partition("_")[2]
    assert secret not in path.read_text("utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["callers.json"]
    caller = Keys(path).caller(key)
    assert caller is not None
    assert (caller.name, caller.tenant, caller.scopes) == ("ann", "shop", ("Desk.*",))


def test_anything_else_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "callers.json"
    key = made(path, "ann", "", ("*",))
    keys = Keys(path)
    for wrong in (
        "",
        MARK,
        key[:-1],
        key + "x",
        key.replace(MARK, ""),
        key.upper(),
        f"{key[:16]}_",
        "\udcff",
    ):
        assert keys.caller(wrong) is None or wrong == key.replace(MARK, "")


def test_a_revoked_key_is_gone_at_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "callers.json"
    one, other = made(path, "ann", "", ("*",)), made(path, "bob", "", ("*",))
    keys = Keys(path)
    kept = keys.caller(other)
    assert revoked(path, "ann").name == "ann"
    keys.refresh()
    assert keys.caller(one) is None
    assert keys.caller(other) is kept  # and keeps the limits that it is under
    with pytest.raises(Refused, match="no key `bod`"):
        revoked(path, "bod")
    with pytest.raises(Refused, match="has a key called `bob`"):
        made(path, "bob", "", ())


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "callers.json"
    path.write_text("{}}", "utf-8")
    with pytest.raises(Refused, match="no file of keys"):
        Keys(path)
    assert read(tmp_path / "none.json").keys == ()
