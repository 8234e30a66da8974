"""The one place that knows every name: which preset is which file, which store a durability needs, which link an edge.

Everything above (`cli`, `testing`) builds through here. What runs in one process stands here; whoever wants a fleet,
a replica or a gate imports `fleets`, `replicas` or `gates` themselves, and so nobody else pays for them.
"""

from allotrope.compose.apps import DEFAULT, document, hide, load, planned, preset_text, presets
from allotrope.compose.contracts import CONTRACT, contract_at, foreign, keep_contract
from allotrope.compose.hosts import build, fast_loop
from allotrope.compose.state import FOLDER, keeping, sinks, stores

__all__ = [
    "CONTRACT", "DEFAULT", "FOLDER", "build", "contract_at", "document", "fast_loop", "foreign", "hide",
    "keep_contract", "keeping", "load", "planned", "preset_text", "presets", "sinks", "stores",
]  # fmt: skip
