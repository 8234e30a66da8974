"""`python -m examples.fraud`: the whole story on one screen, from data to decisions under every preset."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from allotrope import Failed, Lost, Refused
from examples.fraud.lab.dataset import DataRefused
from examples.fraud.lab.show import Options, Show

OFFERED = Options()


def _between(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}")
        return int(text)

    return number


# name -> (type, how its value is called, what it says)
OFFERS: dict[str, tuple[Callable[[str], object], str, str]] = {
    "data": (Path, "DIR", "Parquet in the Handbook's columns, in place of simulated data"),
    "folder": (Path, "DIR", "where the app keeps its files (%(default)s)"),
    "customers": (_between(1, 100_000), "N", "of the simulation (%(default)s)"),
    "days": (_between(1, 365), "N", "on which payments are decided (%(default)s)"),
    "seed": (_between(0, 2**63), "N", "of the simulation (%(default)s)"),
    "metrics": (_between(0, 65_535), "PORT", "for Prometheus, on the loopback address; 0 takes a free one"),
}


def _options() -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m examples.fraud",
        description="Card fraud from data to decisions: makes data, trains, serves, compares every preset.",
    )
    for name, (kind, word, says) in OFFERS.items():
        parser.add_argument(f"--{name}", type=kind, default=getattr(OFFERED, name), metavar=word, help=says)
    parser.add_argument(
        "--keep", action="store_true", help="keep what an earlier run left, beside the folder"
    )
    return Options(**vars(parser.parse_args()))


async def _run(options: Options) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await Show(options).run()


def main() -> int:
    """Return the exit code: 0, 1 when answers differ, 2 when something was refused, 130 for Ctrl-C."""
    options = _options()
    try:
        return asyncio.run(_run(options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\nstopped", file=sys.stderr)
        return 130
    except (Refused, Failed, Lost, DataRefused) as error:
        message = f"{type(error).__name__}: {error}"
    except OSError as error:
        where = error.filename or options.folder
        message = f"{where}: {error.strerror or error}; mend that, or name another --folder"
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
