"""GPUs: which this machine has, and who may see which. A whole one is for one replica alone; parts share one.

A part is a promise among the replicas of one fleet. Nothing here holds a process to its part of a GPU's memory.
"""

import math
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from allotrope.kernel.errors import Overloaded
from allotrope.planning.topology import Unit

PROC = Path("/proc/driver/nvidia/gpus")
VISIBLE, SHARE = "CUDA_VISIBLE_DEVICES", "ALLOTROPE_GPU_SHARE"
_CLOSE = 1e-9  # three thirds are a whole
_UUID = re.compile(r"\(?UUID: *((?:GPU|MIG)-[\w/-]+)\)?")


def devices(proc: Path = PROC, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the names of the GPUs that may be used here: all, or those that the environment names."""
    found = _listed() or tuple(_known(proc))
    named = (os.environ if environment is None else environment).get(VISIBLE)
    if named is None:
        return found
    words = [word.strip() for word in named.split(",") if word.strip()]
    numbered = {str(number): name for number, name in enumerate(found)}
    return tuple(
        dict.fromkeys(numbered.get(word, word) for word in words if word in numbered or word in found)
    )


def _listed() -> tuple[str, ...]:
    """Return what `nvidia-smi` lists; of a GPU that is cut into slices, the slices."""
    try:
        ended = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    whole: list[list[str]] = []
    for line in ended.stdout.splitlines():
        if (name := _UUID.search(line)) is not None:
            if line.startswith("GPU"):
                whole.append([name[1]])
            elif whole:
                whole[-1].append(name[1])
    return tuple(name for gpu in whole for name in (gpu[1:] or gpu))


def _known(proc: Path) -> Iterator[str]:
    """Yield what the driver tells, where its tool is not there."""
    for path in sorted(proc.glob("*/information")):
        try:
            found = re.search(r"GPU UUID:\s*(GPU-[\w-]+)", path.read_text("utf-8", "replace"))
        except OSError:
            continue
        if found is not None:
            yield found[1]


def shortages(units: Mapping[str, Unit], there: int, least: int = 1) -> Iterator[str]:
    """Yield a fault when the replicas that must run want more GPUs than there are."""
    wants = {unit: (image.gpu, max(least, image.replicas[0])) for unit, image in units.items() if image.gpu}
    needed = _needed(gpu for gpu, count in wants.values() for _ in range(count))
    if needed > there:
        told = ", ".join(f"`{unit}` {count} x {gpu:g}" for unit, (gpu, count) in wants.items())
        have = f"{there} GPU{'s' * (there != 1)}" if there else "no GPU"
        yield f"the units want {needed} GPUs ({told}), but this machine has {have} to give; lower `gpu` or `replicas`"


def _needed(wants: Iterable[float]) -> int:
    """Return how many GPUs hold all wants, parts put together first fit, the largest first."""
    whole, parts = 0, list[float]()
    for want in sorted(wants, reverse=True):
        if want >= 1:
            whole += math.ceil(want - _CLOSE)
            continue
        place = next((i for i, free in enumerate(parts) if free + _CLOSE >= want), -1)
        if place < 0:
            parts.append(1.0 - want)
        else:
            parts[place] -= want
    return whole + len(parts)


class Devices:
    """The GPUs of a fleet: lends them to replicas and takes them back."""

    def __init__(self, names: Iterable[str]) -> None:
        """Have all of them free."""
        self.free = dict.fromkeys(names, 1.0)

    def fits(self, gpu: float) -> bool:
        """Return whether so much could be lent now."""
        return bool(self._chosen(gpu)) or not gpu

    def take(self, gpu: float) -> tuple[str, ...]:
        """Return the names of what is lent. Overloaded when there is not so much left."""
        names = self._chosen(gpu)
        if gpu and not names:
            raise Overloaded(
                f"it wants {gpu:g} of a GPU, and of {len(self.free)} there is not so much left", 1.0
            )
        for name in names:
            self.free[name] = 0.0 if gpu >= 1 else self.free[name] - gpu
        return names

    def _chosen(self, gpu: float) -> tuple[str, ...]:
        if not gpu:
            return ()
        if gpu >= 1:
            unused = [name for name, free in self.free.items() if free + _CLOSE >= 1]
            count = math.ceil(gpu - _CLOSE)
            return tuple(unused[:count]) if len(unused) >= count else ()
        # The fullest that has room, so that whole ones stay whole.
        able = [name for name, free in self.free.items() if free + _CLOSE >= gpu]
        return tuple(sorted(able, key=self.free.__getitem__)[:1])

    def give(self, names: Iterable[str], gpu: float) -> None:
        """Take back what was lent."""
        for name in names:
            self.free[name] = 1.0 if gpu >= 1 else min(self.free[name] + gpu, 1.0)


def environment(names: tuple[str, ...], gpu: float) -> dict[str, str]:
    """Return what lets a process see these GPUs and no others."""
    return {VISIBLE: ",".join(names), SHARE: f"{min(gpu, 1.0):g}"}
