"""Which envoy speaks to a foreign unit, by its address. What it needs is loaded only where there is such a unit."""

from importlib.util import find_spec

from allotrope.gateway.foreign.envoy import Envoy, Post
from allotrope.gateway.offers import offers_of
from allotrope.kernel.errors import Refused
from allotrope.planning.contracts.contract import FOREIGN
from allotrope.planning.plans import Plan


def envoy_of(plan: Plan, unit: str) -> Envoy | None:
    """Return what asks a unit's components, None where they are ours.

    Refused when its key or a package is not there.
    """
    image = plan.topology.unit[unit]
    if not (image.foreign and plan.units[unit]):
        return None
    post = Post(address=image.foreign, credential=image.credential, app=plan.app.name)
    post.check()
    package, extra = ("aiohttp", "foreign") if image.foreign.startswith("http") else ("grpc", "grpc")
    if find_spec(package) is None:
        raise Refused(f"unit `{unit}` needs {package}: pip install 'allotrope[{extra}]'")
    if package == "aiohttp":
        from allotrope.gateway.foreign.web import WebEnvoy

        return WebEnvoy(post)
    from allotrope.gateway.foreign.rpc import RpcEnvoy

    offers = [
        offer for offer in offers_of(plan).values() if offer.title.partition(".")[0] in plan.units[unit]
    ]
    owner, _ = getattr(plan.app.components[plan.units[unit][0]].kind, FOREIGN, (plan.app.name, ""))
    return RpcEnvoy(post, owner, offers)


def check_envoys(plan: Plan) -> None:
    """Raise Refused when one cannot be had: better now than in each process of its unit."""
    for unit in plan.units:
        envoy_of(plan, unit)
