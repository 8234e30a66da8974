"""Whether this machine has the GPUs that a plan wants."""

from allotrope.engines.devices import devices, shortages
from allotrope.kernel.errors import PlanRefused
from allotrope.planning.plans import Plan


def check_devices(plan: Plan, least: int = 1) -> tuple[str, ...]:
    """Return the GPUs of this machine, for a plan that wants some. PlanRefused when they are too few."""
    if not (plan.apart and any(unit.gpu for unit in plan.topology.unit.values())):
        return ()
    found = devices()
    if faults := tuple(shortages(plan.topology.unit, len(found), least)):
        raise PlanRefused(plan.name, faults)
    return found
