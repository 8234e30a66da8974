"""A contract as Python has the same contract again; it is typed; and a hostile one runs nothing."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from allotrope import App, Refused, component, on
from allotrope.kernel import codec
from allotrope.planning.contracts.changes import compared
from allotrope.planning.contracts.contract import Contract, contract_of, sealed
from allotrope.planning.contracts.samples import sample
from allotrope.planning.contracts.stubs import module_of, stub_of
from tests.planning.contracts import library
from tests.planning.refusal import planned

CONTRACT = contract_of(library.app)


def test_a_stub_has_the_contract_that_it_was_made_from() -> None:
    made = module_of(CONTRACT)
    own = type("Models", (), {k: v for k, v in vars(made.Models).items() if k != "__foreign__"})
    again = contract_of(App("library", own))
    gone = {
        "Models: takes Paid no more",
        "Models.kept: is gone",
        "component Spending: is gone",
        "Paid: version",
    }
    left = [
        change for change in compared(CONTRACT, again) if not any(str(change).startswith(g) for g in gone)
    ]
    assert [str(change) for change in left if not change.place.startswith("event")] == []
    assert again.components["Models"].operations == CONTRACT.components["Models"].operations
    assert {name: again.types[name] for name in again.types} == CONTRACT.types


@pytest.mark.parametrize("name", ["Slip", "Sent", "Tree", "Dot", "Paid", "Point"])
def test_its_messages_and_those_of_the_app_have_the_same_bytes(name: str) -> None:
    own, theirs = getattr(library, name), getattr(module_of(CONTRACT), name)
    value = sample(own)
    read = codec.decode(codec.encode(value), theirs)
    assert codec.encode(read) == codec.encode(value)
    assert codec.decode(codec.encode(read), own) == value


def test_its_components_have_faces_and_no_bodies() -> None:
    made = module_of(CONTRACT)
    assert made.Models.__foreign__ == ("library", CONTRACT.components["Models"].hash)
    assert contract_of(App("mine", made.Models)).components == {}  # what is another's is not ours to promise
    with pytest.raises(Refused, match=r"Models\.score runs elsewhere"):
        asyncio.run(made.Models().score(None))
    assert module_of(CONTRACT) is made


def test_a_component_that_knows_only_the_contract_can_be_planned() -> None:
    made = module_of(CONTRACT)

    @component
    class Mine:
        models: made.Models

        @on(made.Paid)
        async def take(self, paid: made.Paid) -> None:
            try:
                await self.models.ask(None, made.Dot(), None)
            except made.NotPaid:
                return

    text = 'durability = "process"\n[unit.models]\ncomponents = ["Models"]\napp = "x"\n'
    plan = planned(Mine, made.Models, text=text + '[edge."*"]\nvia = "rpc"\n[topic."*"]\nvia = "log"\n')
    assert [(reach.component, reach.operation) for reach in plan.calls["Mine.take"]] == [("Models", "ask")]
    assert contract_of(plan.app).components.keys() == {"Mine"}


def test_it_is_typed(tmp_path: Path) -> None:
    (tmp_path / "models_contract.py").write_text(stub_of(CONTRACT), "utf-8")
    (tmp_path / "mine.py").write_text(
        "from allotrope import App, component, query\n"
        "from models_contract import Models, NotPaid, Point\n\n\n"
        "@component\nclass Mine:\n    models: Models\n\n    @query\n    async def ask(self) -> float:\n"
        "        try:\n            return await self.models.many(Point(x=1.0))\n"
        "        except NotPaid as fault:\n            return float(fault.since)\n\n"
        "    @query\n    async def wrong(self) -> str:\n        return await self.models.many(1)\n\n\n"
        "app = App('mine', Mine, Models)\n",
        "utf-8",
    )
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--python-version",
        "3.11",
        "mine.py",
        "models_contract.py",
    ]
    env = {**os.environ, "MYPYPATH": str(Path(__file__).resolve().parents[3] / "src")}
    run = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert [line.partition(" error: ")[0] for line in run.stdout.splitlines()[:-1]] == ["mine.py:18:"] * 2, (
        run.stdout
    )


def edited(**fields: object) -> Contract:
    """Return the contract with a face that says something else."""
    face = msgspec.structs.replace(CONTRACT.components["Models"], **fields)
    return sealed(msgspec.structs.replace(CONTRACT, components={"Models": face}))


OFFER = CONTRACT.components["Models"].operations["settle"]
EVIL = "x'); import os; os.abort() #"


@pytest.mark.parametrize(
    "contract",
    [
        sealed(msgspec.structs.replace(CONTRACT, app='"""\nimport os; os.abort()\n"""')),
        sealed(msgspec.structs.replace(CONTRACT, components={EVIL: CONTRACT.components["Models"]})),
        sealed(msgspec.structs.replace(CONTRACT, components={"Slip": CONTRACT.components["Models"]})),
        sealed(msgspec.structs.replace(CONTRACT, types={**CONTRACT.types, EVIL: CONTRACT.types["Slip"]})),
        edited(operations={EVIL: OFFER}),
        edited(operations={"class": OFFER}),
        edited(operations={"settle": msgspec.structs.replace(OFFER, key=EVIL)}),
        edited(operations={"settle": msgspec.structs.replace(OFFER, faults=(EVIL,))}),
        edited(operations={"settle": msgspec.structs.replace(OFFER, result="__import__('os').abort()")}),
        edited(operations={"settle": msgspec.structs.replace(OFFER, result="Nowhere")}),
        *(
            edited(
                operations={
                    "settle": msgspec.structs.replace(
                        OFFER, parameters=(msgspec.structs.replace(OFFER.parameters[0], **{field: text}),)
                    )
                }
            )
            for field, text in [
                ("name", EVIL), ("type", "print(1)"), ("default", "__import__('os').abort()"), ("name", "__class__"),
            ]
        ),
    ],
)  # fmt: skip
def test_a_hostile_contract_runs_nothing(contract: Contract) -> None:
    with pytest.raises(Refused, match=r"contract|default"):
        stub_of(contract)
