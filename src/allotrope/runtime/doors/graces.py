"""Graces: how long what is told to end may take to finish what it has begun. Seconds.

Whoever ends another waits for longer than that one may take: nothing is killed in the middle of an orderly end.
"""

WORK_S = 10.0  # for requests and calls that run; and once more for what they have set off
SIDECAR_S = 5.0  # for what a sidecar has yet to write
STATES_S = 5.0  # for the states of the views to be kept
_SPARE_S = 1.0  # to let go of files and sockets
REPLICA_S = WORK_S + SIDECAR_S + _SPARE_S  # its calls, then its sidecars
GATEWAY_S = 3 * WORK_S + STATES_S + _SPARE_S  # HTTP, then gRPC, then inputs, then states
FLEET_S = REPLICA_S + _SPARE_S  # all replicas at once, after the gateway
