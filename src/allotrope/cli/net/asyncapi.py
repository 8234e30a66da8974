"""`allotrope asyncapi`: the AsyncAPI document of an app under a topology."""

from typing import Annotated

import msgspec
from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.loading import AppName, Folder, Output, TopologyName, give, planned
from allotrope.compose.gates import admission
from allotrope.gateway.pages.asyncapi import asyncapi as document
from allotrope.gateway.values import to_json

Host = Annotated[str, Parameter(help="Where its gateway is reached, as HOST:PORT.")]


def asyncapi(
    app: AppName,
    /,
    *,
    topology: TopologyName = compose.DEFAULT,
    folder: Folder = compose.FOLDER,
    host: Host = "",
    output: Output = None,
) -> int:
    """Write its events, who sends and takes them, and over which servers, as AsyncAPI 3.1."""
    plan = planned(app, topology)
    found = document(plan, closed=admission(plan, folder).closed, host=host)
    return give(msgspec.json.format(to_json(found), indent=2).decode() + "\n", output)
