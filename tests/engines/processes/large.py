"""An app whose handler holds its loop up, publishes too much, and reads a view of large events."""

import time

from allotrope import App, Count, Event, Table, View, component, on, query


class Doc(Event, key="id"):
    id: str
    text: str


class Out(Event, key="id"):
    id: str
    text: str


class Seen(View[Doc]):
    seen = Count()


@component
class Reader:
    seen: Seen
    sizes: Table[int]

    @on(Doc)
    async def read(self, doc: Doc) -> Out | None:
        if doc.text == "sleep":
            time.sleep(2.5)  # noqa: ASYNC251 - to hold the loop up is the point
        await self.seen.of(doc.id)
        await self.sizes.put(doc.id, len(doc.text))
        return Out(doc.id, "x" * (40 << 20)) if doc.text == "large" else None

    @query
    async def size(self, id: str) -> int | None:
        return await self.sizes.get(id)


app = App("big", Seen, Reader)
