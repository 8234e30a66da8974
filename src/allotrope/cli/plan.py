"""`allotrope plan`: what a topology makes of an app."""

from allotrope import compose
from allotrope.cli.loading import AppName, TopologyName, planned
from allotrope.runtime.telemetry.secrets import mask


def plan(app: AppName, /, *, topology: TopologyName = compose.DEFAULT) -> int:
    """Show what runs where, or every reason why it cannot."""
    from allotrope.planning.text import expansion

    print(mask(expansion(planned(app, topology))).rstrip())
    return 0
