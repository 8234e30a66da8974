"""Allotrope: write an AI system once, as components; choose its architecture with a small file."""

from allotrope.kernel.aggregates import Aggregate
from allotrope.kernel.components import App, Chance, Clock, Latest, component
from allotrope.kernel.errors import Expired, Failed, Lost, Overloaded, PlanRefused, Refused
from allotrope.kernel.messages import Event, Fault, Message, Tick
from allotrope.kernel.operations import command, every, on, query
from allotrope.kernel.tables import Table
from allotrope.kernel.views import View, days
from allotrope.modules.features.api import Count, Last, Max, Mean, Min, Sum
from allotrope.modules.processes.api import Process, Step

__all__ = [
    "Aggregate", "App", "Chance", "Clock", "Count", "Event", "Expired", "Failed", "Fault", "Last", "Latest",
    "Lost", "Max", "Mean", "Message", "Min", "Overloaded", "PlanRefused", "Process", "Refused", "Step", "Sum", "Table",
    "Tick", "View", "command", "component", "days", "every", "on", "query",
]  # fmt: skip
