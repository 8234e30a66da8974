"""`python -m examples.fraud`: the whole story on one screen, from data to decisions under every preset."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from allotrope import Failed, Lost, Refused
from examples.fraud.lab.dataset import DataRefused
from examples.fraud.lab.show import Options, Show

OFFERED = Options()


def _options() -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m examples.fraud",
        description="Card fraud from data to decisions: makes data, trains, serves, compares every preset.",
    )
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="Parquet in the Handbook's columns, in place of simulated data",
    )
    add(
        "--folder",
        type=Path,
        default=OFFERED.folder,
        metavar="DIR",
        help="where the app keeps its files (%(default)s)",
    )
    add("--keep", action="store_true", help="keep what an earlier run left, beside the folder")
    add(
        "--customers",
        type=int,
        default=OFFERED.customers,
        metavar="N",
        help="of the simulation (%(default)s)",
    )
    add(
        "--days",
        type=int,
        default=OFFERED.days,
        metavar="N",
        help="on which payments are decided (%(default)s)",
    )
    add("--seed", type=int, default=OFFERED.seed, metavar="N", help="of the simulation (%(default)s)")
    add(
        "--metrics",
        type=int,
        metavar="PORT",
        help="for Prometheus, on the loopback address; 0 takes a free one",
    )
    return Options(**vars(parser.parse_args()))


async def _run(options: Options) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await Show(options).run()


def main() -> int:
    """Return the exit code: 0, 1 when answers differ, 2 when something was refused, 130 for Ctrl-C."""
    try:
        return asyncio.run(_run(_options()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has had enough
        with contextlib.suppress(OSError):
            sys.stdout = None
        return 0
    except (Refused, Failed, Lost, DataRefused, OSError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
