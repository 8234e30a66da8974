"""The process of a sidecar. Its replica starts it and tells it on stdin what to do; it is no verb."""

import os

from allotrope.runtime.telemetry.journal import configure


def main() -> None:
    """Be a sidecar, behind all that has to be done now."""
    os.nice(10)  # before the imports, which are most of its start
    configure("json")
    from allotrope.sidecars import requests

    requests.main()


if __name__ == "__main__":
    main()
