"""`allotrope proto`: the gRPC contract of an app, as the text of a `.proto` file."""

from allotrope import compose
from allotrope.cli.loading import AppName, TopologyName, planned
from allotrope.compose.gates import needs_grpc
from allotrope.gateway.offers import offers_of


def proto(app: AppName, /, *, topology: TopologyName = compose.DEFAULT) -> int:
    """Print the services and messages of an app."""
    with needs_grpc():
        from allotrope.gateway.rpc.contract import Contract

    plan = planned(app, topology)
    print(Contract(plan.app.name, offers_of(plan).values()).text(), end="")
    return 0
