"""Two teams and an operator, each with a package, a repository and an environment of its own, made without a network.

Orders needs `tariff` 1.x, Shipping 2.x. Each knows the other by its contract file only, and the operator knows both so.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUIET = {
    **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    "PYTHONDONTWRITEBYTECODE": "1",
    "COLUMNS": "160",
}

TARIFF_1 = """
version = "1.4"
def cents(grams): return 10 * grams
"""
TARIFF_2 = """
version = "2.0"
def quote(*, grams, fast): return {"days": 1 if fast else 2 + grams // 1000}
"""
FIRST_ORDERS = """
import tariff
from allotrope import App, Event, Table, component, on, query

class Placed(Event, key="id"):
    id: str
    grams: int

class Ordered(Event, key="id"):
    id: str
    grams: int
    cents: int

@component
class Orders:
    kept: Table[int]

    @on(Placed)
    async def take(self, placed: Placed) -> Ordered:
        cents = tariff.cents(placed.grams)
        await self.kept.put(placed.id, cents)
        return Ordered(placed.id, placed.grams, cents)

    @query
    async def cost(self, id: str) -> int:
        return await self.kept.get(id) or 0

app = App("orders", Orders)
"""
REST = """    @on(Shipped)
    async def note(self, shipped: Shipped) -> None:
        await self.days.put(shipped.id, shipped.days)

    @query
    async def due(self, id: str) -> int:
        return await self.days.get(id) or 0

    @query
    async def promise(self, grams: int) -> str:
        return f"{tariff.version}: {await self.shipping.days(grams)} days, {tariff.cents(grams)} cents"

    @command(key="id")
    async def waive(self, id: str) -> int:
        was = await self.kept.get(id) or 0
        await self.kept.put(id, 0)
        return was

app = App("orders", Orders, Shipping)
"""
ORDERS = (
    FIRST_ORDERS.replace("component, on, query", "command, component, on, query")
    .replace("class Placed", "from orders.shipping_contract import Shipped, Shipping\n\nclass Placed")
    .replace("    cents: int\n\n@component", '    cents: int\n    currency: str = "eur"\n\n@component')
    .replace("    kept: Table[int]\n", "    shipping: Shipping\n    kept: Table[int]\n    days: Table[int]\n")
    .replace('app = App("orders", Orders)', REST)
)
SHIPPING = """
import tariff
from allotrope import App, Event, Table, component, command, on, query
from shipping.orders_contract import Ordered

class Shipped(Event, key="id"):
    id: str
    days: int

@component
class Shipping:
    fast: bool = False
    sent: Table[str]

    @on(Ordered)
    async def ship(self, ordered: Ordered) -> Shipped:
        days = tariff.quote(grams=ordered.grams, fast=self.fast)["days"]
        await self.sent.put(ordered.id, f"{tariff.version} {ordered.cents}")
        return Shipped(ordered.id, days)

    @query
    async def days(self, grams: int) -> int:
        return tariff.quote(grams=grams, fast=self.fast)["days"]

    @query
    async def slip(self, id: str) -> str:
        return await self.sent.get(id) or ""

    @command(key="id")
    async def hold(self, id: str) -> str:
        await self.sent.put(id, "held")
        return id

app = App("shipping", Shipping)
"""
DAYS = """    async def days(self, grams: int) -> int:
        return tariff"""
BETTER = SHIPPING.replace(
    DAYS,
    """    async def state(self) -> str:
        return tariff.version

    @query
    async def days(self, grams: int, insured: bool = False) -> int:
        return 5 + tariff""",
)
WORSE = SHIPPING.replace("async def days(self, grams: int)", "async def days(self, grams: str)")
ORDERS_TEST = """
import asyncio
from orders import Orders, Placed
from orders.shipping_contract import Shipping
from allotrope import Table

class Two:  # an object of the team's own, where the runtime puts a proxy
    async def days(self, grams: int) -> int:
        return 2

def test_a_promise_has_days_and_cents() -> None:
    orders = Orders(shipping=Two(), kept=None, days=None)
    assert asyncio.run(orders.promise(3)) == "1.4: 2 days, 30 cents"
"""
SHIPPING_TEST = """
import asyncio
from shipping import Shipping
import tariff

def test_heavy_things_take_longer() -> None:
    assert tariff.version.startswith("2.")
    assert asyncio.run(Shipping(sent=None).days(3000)) == 5
"""
OPERATOR = """
from allotrope import App
from known import Orders, Shipping

app = App("shop", Orders, Shipping)
"""
TOPOLOGY = """
durability = "process"

[unit.orders]
components = ["Orders"]
python = "{orders}"
app = "orders"

[unit.shipping]
components = ["Shipping"]
python = "{shipping}"
app = "shipping"

[edge."*"]
via = "rpc"

[topic."*"]
via = "log"

[setting]
"Shipping.fast" = false
"""


class Team:
    """A repository with one package and its test, and an environment that has one version of `tariff`."""

    def __init__(self, place: Path, name: str, tariff: str) -> None:
        """Make both; the environment sees the libraries of this one, and its own before them."""
        self.name, self.repository = name, place / name
        self.package = self.repository / "src" / name
        self.package.mkdir(parents=True)
        venv.create(self.repository / "env", with_pip=False)
        self.python = self.repository / "env" / "bin" / "python"
        own = Path(sysconfig.get_path("purelib", vars={"base": str(self.repository / "env")}))
        (own / "tariff.py").write_text(tariff)
        shared = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(ROOT / "src")]
        (own / "shared.pth").write_text("\n".join([str(self.package.parent), *shared]) + "\n")

    def write(self, app: str, test: str = "") -> None:
        """Release a version."""
        (self.package / "__init__.py").write_text(app)
        if test:
            (self.repository / f"test_{self.name}.py").write_text(test)

    def run(self, *arguments: str, code: int = 0) -> str:
        """Return what a module run in the environment says."""
        return ran(self.python, self.repository, arguments, code)

    def publish(self, folder: Path) -> Path:
        """Leave the contract where other teams find it."""
        path = folder / f"{self.name}.contract.json"
        self.run("allotrope", "contract", self.name, "-o", str(path))
        return path

    def learn(self, contract: Path, name: str) -> None:
        """Make Python of another team's contract: all that this one ever sees of it."""
        self.run("allotrope", "contract", "stub", str(contract), "-o", str(self.package / name))


def ran(python: Path | str, place: Path, arguments: tuple[str, ...], code: int = 0) -> str:
    found = subprocess.run(
        [str(python), "-m", *arguments],
        cwd=place,
        env=QUIET,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == code, found.stdout + found.stderr
    return found.stdout + found.stderr


class Served:
    """What the operator serves."""

    def __init__(self, place: Path, units: Mapping[str, Path]) -> None:
        """Know the teams by the contracts that lie in the operator's folder."""
        self.place, self.base = place, ""
        (place / "shop.py").write_text(OPERATOR)
        (place / "tariff.py").write_text('raise ImportError("a unit sees what the operator has")')
        (place / "shop.toml").write_text(TOPOLOGY.format(**units))

    def run(self, *arguments: str, code: int = 0) -> str:
        """Return what a command of the operator says."""
        return ran(sys.executable, self.place, ("allotrope", *arguments), code)

    def learn(self, *contracts: str) -> None:
        """Make Python of contracts, with the handlers of those who run here."""
        self.run("contract", "stub", *contracts, "--runs", "-o", "known.py")

    async def start(self) -> None:
        """Serve, and wait until it does."""
        arguments = ("serve", "shop", "-t", "shop.toml", "--folder", "kept", "--port", "0")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "allotrope",
            *arguments,
            cwd=self.place,
            stderr=asyncio.subprocess.PIPE,
            env={**QUIET, "PYTHONPATH": str(self.place)},
        )
        assert self.process.stderr is not None
        said = ""
        async for line in self.process.stderr:
            said += line.decode()
            if found := re.search(r"serves +(http://\S+?),", said):
                self.base = found[1]
                self._draining = asyncio.create_task(self.process.stderr.read())
                return
        raise AssertionError(said)

    async def stop(self) -> None:
        """End it as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        await self.process.wait()

    def pids(self) -> dict[str, int]:
        """Return the process of each replica by its name."""
        lines = [line.split() for line in self.run("ps", "--folder", "kept").splitlines()]
        return {words[1]: int(words[3]) for words in lines if len(words) > 3 and "-" in words[1]}
