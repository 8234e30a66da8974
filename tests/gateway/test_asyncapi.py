"""The AsyncAPI document: valid for others, the same operations everywhere, the addresses of the deployment."""

import asyncio
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from allotrope import App, compose
from allotrope.cli.main import cli
from allotrope.connectors.cloudevents.mapping import outgoing
from allotrope.gateway.pages.asyncapi import asyncapi
from allotrope.gateway.values import to_json
from allotrope.kernel import codec
from allotrope.planning.documents import document_of
from allotrope.planning.plans import plan
from allotrope.storage.ports import Envelope
from examples.fraud import app as fraud
from tests import node
from tests.gateway.bakery import Baked
from tests.gateway.bakery import app as bakery
from tests.gateway.doors import opened
from tests.gateway.forms import app as forms

EDGES = """
[log]
kind = "nats"
url = "nats://bob:hunter2-log@nats.example:4222"
[source.till]
kind = "rabbitmq"
url = "amqps://ann:hunter2-till@rabbit.example:5671/shop"
address = "payments"
event = "Payment"
[sink.out]
kind = "mqtt"
url = "mqtt://mqtt.example"
address = "shop/decided"
events = ["Decided", "Reviewed"]
"""


def described(app: App, preset: str, text: str = "") -> Any:
    layout = document_of(f'base = "{preset}"\n{text}', "layout.toml", compose.preset_text)
    return json.loads(to_json(asyncapi(plan(app, layout), closed=True)))


@pytest.mark.service
def test_others_find_nothing_wrong_with_it() -> None:
    """Read by @asyncapi/parser: no error, and not so much as a hint."""
    documents = {app.name: described(app, "monolith") for app in (fraud, bakery, forms)}
    documents["with edges"] = described(fraud, "event-driven", EDGES)
    script = """
    const {Parser} = require("@asyncapi/parser");
    (async () => {
      const found = {};
      for (const [name, text] of Object.entries(given)) {
        const {document, diagnostics} = await new Parser().parse(JSON.stringify(text));
        found[name] = [document ? document.operations().length : -1, diagnostics.map((one) => one.message)];
      }
      answer(found);
    })();
    """
    for name, (operations, said) in node.run(script, documents).items():
        assert said == [], name
        assert operations == len(documents[name]["operations"])


def test_operations_are_those_of_the_app_whatever_the_architecture() -> None:
    found = [described(fraud, preset) for preset in compose.presets()]
    assert len(found) > 3
    for one in found:
        assert one["operations"] == found[0]["operations"]
        assert one["components"]["messages"] == found[0]["components"]["messages"]
    names = found[0]["operations"].keys()
    assert {"events.Submitted", "Intake.accept.receives.Submitted", "Intake.accept.sends.Payment"} <= names
    assert "Spending.receives.Payment" in names
    assert not [name for name in names if "Tick" in name]


def test_addresses_are_those_of_the_deployment() -> None:
    found = described(fraud, "event-driven", EDGES)
    assert "hunter2" not in json.dumps(found)
    assert found["servers"]["log"]["host"] == "nats.example:4222"
    assert found["channels"]["Scored"]["address"] == "allotrope.fraud"
    assert found["servers"]["source.till"] == {
        "host": "rabbit.example:5671", "protocol": "amqps", "pathname": "/shop",
        "description": "Where source.till takes events in.",
        "security": [{"$ref": "#/components/securitySchemes/login"}],
    }  # fmt: skip
    assert found["channels"]["source.till"]["address"] == "payments"
    assert [*found["channels"]["source.till"]["messages"]] == ["Payment.amqp"]
    assert [*found["channels"]["sink.out"]["messages"]] == ["Decided.mqtt", "Reviewed.mqtt"]
    assert (found["operations"]["source.till"]["action"], found["operations"]["sink.out"]["action"]) == (
        "receive",
        "send",
    )
    plain = described(fraud, "event-driven")
    assert plain["channels"]["Scored"]["address"] is None  # in a file, where nobody else reads
    assert plain["operations"].items() <= found["operations"].items()


def test_a_header_is_named_as_its_protocol_has_it() -> None:
    traits = described(fraud, "event-driven", EDGES)["components"]["messageTraits"]
    needed = {name: trait["headers"]["required"] for name, trait in traits.items()}
    assert needed["cloudevent.http"] == ["ce-specversion", "ce-id", "ce-source", "ce-type"]
    assert needed["cloudevent.mqtt"] == ["specversion", "id", "source", "type"]
    assert needed["cloudevent.amqp"][1] == "cloudEvents_id"


def test_what_is_sent_fits_its_schema() -> None:
    found = described(bakery, "monolith")["components"]
    body = codec.encode(Baked("1", "rye", 500))
    data = outgoing(Envelope("Baked", "1", body, 1, 1), Baked, "bakery").data
    assert data is not None
    schema = {"$ref": found["messages"]["Baked.http"]["payload"]["$ref"], "components": found}
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.Draft7Validator(schema).validate(json.loads(data))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate({**json.loads(data), "kind": "cake"})


def test_tuples_of_forms_are_those_of_draft_7() -> None:
    schemas = described(forms, "monolith")["components"]["schemas"]
    assert "prefixItems" not in json.dumps(schemas)
    for schema in schemas.values():
        jsonschema.Draft7Validator.check_schema(schema)


def test_the_gateway_shows_it_to_who_may_see_it(tmp_path: Path) -> None:
    async def asked() -> None:
        async with opened(tmp_path, keys={"ann": ("*",)}) as door:
            found = (await door.get("/asyncapi.json")).json()
            assert found["info"]["title"] == bakery.name
            assert found["servers"]["gateway"]["security"]
            assert (await door.client.get("/asyncapi.json", headers={"x-api-key": ""})).status_code == 401

    asyncio.run(asked())


def test_the_verb_writes_it(tmp_path: Path) -> None:
    layout, output = tmp_path / "layout.toml", tmp_path / "asyncapi.json"
    layout.write_text('base = "event-driven"\n' + EDGES, "utf-8")
    given = [
        "asyncapi",
        "examples.fraud",
        "-t",
        str(layout),
        "-d",
        str(tmp_path / "f"),
        "--host",
        "shop.example",
        "-o",
    ]
    assert cli([*given, str(output)], exit_on_error=False) == 0
    found = json.loads(output.read_text("utf-8"))
    assert found["servers"]["gateway"]["host"] == "shop.example"
    assert found["operations"] == described(fraud, "event-driven", EDGES)["operations"]
