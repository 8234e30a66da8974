"""Direct: the very same function, and with it the very same values."""

from allotrope import App, Message, component, query
from allotrope.transports.direct import direct


class Price(Message):
    cents: int


@component
class Shop:
    @query
    async def echo(self, price: Price) -> Price:
        return price


async def test_nothing_is_copied() -> None:
    ask, price = Shop().echo, Price(1)
    face = direct(App("shop", Shop).operation("Shop.echo"), ask)
    assert face is ask
    assert await face(price) is price
