"""Addresses: what is written is what is meant, and a slip is named with the forms that exist."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allotrope import Refused
from allotrope.transports.frames.addresses import Tcp, Unix, parsed


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("unix:/run/a b.sock", Unix("/run/a b.sock")),
        ("tcp://127.0.0.1:7400", Tcp("127.0.0.1", 7400)),
        ("tcp://[::1]:0", Tcp("::1", 0)),
        ("tcp://models.internal:65535", Tcp("models.internal", 65535)),
    ],
)
def test_a_written_address_comes_back(text: str, meant: Unix | Tcp) -> None:
    assert parsed(text) == meant
    assert str(meant) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7400",
        "unix:",
        "unix:relative",
        "unix:/a/",
        "unix:/a\0b",
        "tcp://",
        "tcp://host",
        "tcp://:1",
        "tcp://h:",
        "tcp://h:65536",
        "tcp://h:-1",
        "tcp://h:1a",
        "tcp://::1:80",
        "http://h:80",
        "tcp://u@h:1",
        "tcp://h:٣",
    ],
)
def test_a_slip_is_named_with_the_remedy(text: str) -> None:
    with pytest.raises(Refused, match="unix:/path/of/socket") as refused:
        parsed(text)
    assert f"`{text}`" in str(refused.value)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for start in ("", "unix:", "tcp://"):
        try:
            assert str(parsed(start + text))
        except Refused:
            continue


def test_what_only_this_machine_can_reach() -> None:
    assert [Tcp(host, 1).local for host in ("127.0.0.9", "::1", "localhost", "10.0.0.1", "0.0.0.0", "a.b")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
