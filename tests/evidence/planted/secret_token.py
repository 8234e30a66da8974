"""A command answers with a token from the module secrets."""

import secrets

from allotrope import App, command, component
from tests.evidence.shop import told

PLACES = {"Till.pay"}


@component
class Till:
    @command(key="customer")
    async def pay(self, customer: str, amount: float) -> str:
        return f"{customer}-{secrets.token_hex(4)}"


app = App("secret-token", Till, sample=lambda seed: told("Till.pay", seed=seed))
