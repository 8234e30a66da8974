"""A secret reaches neither files nor callers, whatever its type and wherever an error is written down."""

from pathlib import Path
from uuid import UUID

import pytest

from allotrope import App, Event, Failed, Message, Refused, Table, command, component, on, query
from allotrope.compose import build, planned, preset_text
from allotrope.planning.documents import document_of
from allotrope.runtime.options import Input
from allotrope.runtime.telemetry.secrets import mask, secrets_in


class Asked(Event, key="id"):
    id: str


@component
class Vault:
    token: int = 31415926
    password: bytes = b"open-sesame"

    @query
    async def look(self, id: str) -> str:
        if id == "refused":
            raise Refused(f"wrong: {self.token}")
        raise ValueError(f"{self.password!r} and {self.token}")


@component
class Clerk:
    vault: Vault
    told: Table[str]

    @on(Asked)
    async def hear(self, asked: Asked) -> None:
        try:
            await self.vault.look(asked.id)
        except (Failed, Refused) as error:
            await self.told.put(asked.id, type(error).__name__)

    @command(key="id")
    async def open(self, id: str) -> str:
        return await self.vault.look(id)


APP = App("bank", Vault, Clerk)
SECRETS = ("31415926", "open-sesame")


def contents(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


@pytest.mark.parametrize("id", ["failed", "refused"])
async def test_an_error_is_written_down_without_secrets(tmp_path: Path, id: str) -> None:
    host = build(APP, "modular-monolith", tmp_path)
    await host.start()
    await host.publish(Asked(id))
    said = set()
    for _ in range(2):  # the answer, and what is kept of it
        with pytest.raises((Failed, Refused)) as caught:
            await host.tell("Clerk.open", (id,), Input(request="r"))
        said.add(str(caught.value))
    await host.settled()
    (text,) = said
    assert "***" in text
    await host.drain()
    kept = contents(tmp_path)
    assert b"Vault" in kept
    assert not [secret for secret in SECRETS if secret.encode() in kept or secret in text]


class Sealed(Message):
    password: str
    length: int


def test_a_secret_need_not_be_text() -> None:
    plain = {"max_tokens": 1024, "key_size": 2048, "token": True, "key": 3, "password": None}
    number = UUID(int=7)
    odd = {"token": 271828, "key": b"by\xffes", "secret": number, "keys": {"one": "k1", "two": ("k2",)}}
    assert secrets_in(plain) == set()
    found = {"271828", "by\ufffdes", "by\\xffes", str(number), number.hex, "k1", "k2"}
    assert secrets_in(odd) == found
    assert secrets_in({"access": Sealed("sealed", 6)}) == {"sealed"}


def test_a_process_that_is_given_a_plan_learns_all_its_secrets() -> None:
    text = 'base = "monolith"\n[unit.all]\nenvironment = { BANK_TOKEN = "of-the-unit" }\n'
    planned(APP, document_of(text, "bank.toml", preset_text))
    assert mask("the unit says of-the-unit") == "the unit says ***"
