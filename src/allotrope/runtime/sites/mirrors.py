"""Mirrors: the views of a station. A host feeds them, from its checkpoint and its log, and asks for their states.

Not here: when it does so (`feeds`, `checkpoints`).
"""

from collections.abc import Mapping
from typing import Any

from allotrope.kernel import codec
from allotrope.kernel.errors import Overloaded, Refused
from allotrope.kernel.views import View
from allotrope.runtime.keeping.states import Watch, owed, page
from allotrope.runtime.routes import Routes
from allotrope.runtime.sites.wire import Fed, Letter, States, Wanted


class Mirrors:
    """All views of one process of a unit."""

    def __init__(self, unit: str, views: Mapping[str, View[Any]], routes: Routes) -> None:
        """Start with nothing; the views may be asked once they have been fed."""
        self.unit, self.views, self.routes = unit, views, routes
        self.floor = 0
        self.loaded = not views  # whether they hold all that they should
        self.watches = {name: Watch(view) for name, view in views.items()}
        self._since: dict[str, int] = {}  # view -> origin below which everything came from the checkpoint
        self._wanted = (-1, list[tuple[str, str]]())  # what a checkpoint at an origin still has to get
        for view in views.values():
            view.floor = lambda: self.floor

    def level(self) -> None:
        """Refuse what may read a view that has yet to get its events."""
        if not self.loaded:
            raise Overloaded(f"unit `{self.unit}`: the events of its views are being read; ask again", 0.1)

    async def feed(self, letter: Letter, left_s: float | None) -> None:
        """Take events, and states before them."""
        fed = codec.decode(letter.body, Fed)
        self.floor = fed.floor
        if fed.first:
            self.loaded, self._since = False, fed.since
            for name, view in self.views.items():
                View.__init__(view)  # its components hold this object: it must stay the same one
                view.floor = lambda: self.floor
                self.watches[name].touched.clear()
        for name in {row[0] for row in fed.states}:
            self.watches[name].restore([row for row in fed.states if row[0] == name])
        for envelope in fed.envelopes:
            views, _ = self.routes.to(envelope)
            if views:
                event = codec.decode(envelope.body, self.routes.kinds[envelope.kind])
                for view in views:
                    if envelope.origin >= self._since.get(type(view).__name__, 0):
                        view.add(event, envelope.origin, envelope.path)
        self.loaded = self.loaded or fed.last

    async def defined(self, letter: Letter, left_s: float | None) -> dict[str, str]:
        """Return the views and their definitions, as hashes."""
        return {name: watch.print for name, watch in self.watches.items()}

    async def states(self, letter: Letter, left_s: float | None) -> States:
        """Return a page of the states that a checkpoint lacks; the next letter gets the next page."""
        wanted = codec.decode(letter.body, Wanted)
        self.level()
        if wanted.first:
            self._wanted = wanted.origin, owed(self.watches, wanted.since, wanted.known)
        origin, left = self._wanted
        if origin != wanted.origin:
            raise Refused(f"unit `{self.unit}`: this checkpoint was not begun here; begin again")
        rows = page(self.watches, left, origin)
        return States(tuple(rows), bool(left))
