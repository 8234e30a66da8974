"""States: how far each subscription has come in the log, in a file for each; written by whoever delivers."""

from pathlib import Path

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.storage.folders import own, replace

FOLDER = "webhooks"  # in the folder of an app
KEPT = 100  # newest dead letters of one subscription that are shown


class Dead(msgspec.Struct, frozen=True):
    """An event that was given up; it is still in the log, at its position."""

    position: int
    kind: str
    name: str
    at: float
    reason: str


class State(msgspec.Struct):
    """Where one subscription is. Moments are seconds since 1970."""

    made: str  # when the subscription was
    position: int  # of the log, from which on there is anything to send
    sent: int = 0
    failures: int = 0  # in a row, of the event at hand
    since: float = 0.0  # from when on nothing has got through
    next: float = 0.0
    reason: str = ""
    disabled: str = ""
    buried: int = 0
    dead: tuple[Dead, ...] = ()

    def bury(self, dead: Dead) -> None:
        """Keep a dead letter."""
        self.buried += 1
        self.dead = (*self.dead[1 - KEPT :], dead)


def kept(folder: Path, name: str) -> State | None:
    """Return the state of one subscription, None where it has none yet. Refused when it cannot be read."""
    path = _place(folder, name)
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise Refused(
            f"{path}: cannot be read: {error}; delete it, and the webhook begins anew, from now on"
        ) from None


def keep(folder: Path, name: str, state: State) -> None:
    """Write the state of one subscription. Raises OSError."""
    own(folder / FOLDER)
    replace(_place(folder, name), msgspec.json.encode(state))


def forget(folder: Path, name: str) -> None:
    """Remove it."""
    _place(folder, name).unlink(missing_ok=True)


def _place(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}.json"
