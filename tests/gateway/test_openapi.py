"""The OpenAPI document: valid, complete, and true: what it allows is taken, what it forbids is refused."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from allotrope import App
from tests.gateway.bakery import app
from tests.gateway.doors import opened
from tests.gateway.forms import app as forms

FACADE = (
    '[gateway.facade]\ncounter = ["Shelf.loaf", "Shelf.sell"]\n[gateway.alias]\n"/bread" = "Shelf.loaf"\n'
)


async def test_it_is_valid_and_names_all_that_is_offered(tmp_path: Path) -> None:
    async with opened(tmp_path, FACADE, keys={"ann": ("*",)}) as door:
        found = (await door.get("/openapi.json")).json()
        OpenAPIV31SpecValidator(found).validate()
        operations = [operation for c in app.components.values() for operation in c.operations]
        offered = {operation.title for operation in operations if operation.kind != "on"}
        named = {method["operationId"] for path in found["paths"].values() for method in path.values()}
        assert offered | {"events.Baked", "facade.counter", "bundle", "Shelf.loaf:bread"} <= named
        assert len(named) == sum(map(len, found["paths"].values()))
        assert found["security"]
        sell = found["paths"]["/Shelf/sell"]["post"]
        assert {"409", "404", "401", "429", "504"} <= sell["responses"].keys()
        assert sell["responses"]["404"]["description"] == "Unknown: Nobody has heard of it."
        assert found["paths"]["/Shelf/loaf"]["get"]["parameters"][-1] == {
            "name": "id", "in": "query", "required": True, "schema": {"type": "string"},
        }  # fmt: skip


async def test_every_type_that_a_message_may_have_has_a_schema(tmp_path: Path) -> None:
    async with opened(tmp_path, what=forms) as door:
        found = (await door.get("/openapi.json")).json()
        OpenAPIV31SpecValidator(found).validate()


async def test_the_page_is_made_of_its_own_files(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        page = await door.get("/docs")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        for path in ("/docs", "/docs.js", "/docs.css"):
            answer = await door.get(path)
            assert answer.status_code == 200
            assert "://" not in answer.text


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", [app, forms], ids=lambda what: what.name)
async def test_schemathesis_finds_nothing(tmp_path: Path, what: App) -> None:
    """The oven waits and explodes on purpose; a deadline that passes is a 504 and no mistake."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG, "utf-8")
    (tmp_path / "hooks.py").write_text(HOOKS, "utf-8")
    async with opened(tmp_path, FACADE if what is app else "", what=what) as door:
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config), "run",
            f"http://127.0.0.1:{door.port}/openapi.json", "--checks", "all", "--max-examples", "60", "--seed", "1",
            "--phases", "examples,coverage,fuzzing",
            "--exclude-operation-id-regex", "^(Oven|live)[.]",  # what waits, and what never ends
        ]  # fmt: skip
        running = asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        process = await running
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()[-8000:]
        assert b"Test cases:" in said


HOOKS = """
import uuid
import schemathesis

@schemathesis.hook
def before_call(context, case, kwargs):
    key = str((case.headers or {}).get("Idempotency-Key", ""))
    if key and key.isprintable():  # each request is one of its own
        case.headers = {**(case.headers or {}), "Idempotency-Key": uuid.uuid4().hex}
    for event in case.body if isinstance(case.body, list) else [case.body]:
        known = isinstance(event, dict) and event.get("specversion") == "1.0"
        if known and isinstance(event.get("id"), str) and event["id"]:
            event["id"] = uuid.uuid4().hex  # it is such a key as well
"""
CONFIG = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503", "504"]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "408", "409", "429", "5xx"]
"""
