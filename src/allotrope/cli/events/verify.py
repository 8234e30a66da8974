"""`allotrope events verify`: is all that an app keeps what it has written, while it serves or not?"""

import sys

from allotrope import compose
from allotrope.cli.events.bars import bar
from allotrope.cli.loading import Folder, many
from allotrope.evidence.backups.cuts import cut, elsewhere
from allotrope.evidence.backups.verdicts import Verdict
from allotrope.evidence.backups.verify import verified


def verify(*, folder: Folder = compose.FOLDER) -> int:
    """Read every entry of the log and of each ledger; list what is damaged, with its place and what to do."""
    with bar() as told, cut(folder) as files:
        verdict = verified(files, told)
        names = ", ".join([*files.files, *files.faults])
    print(f"{names} in {folder}")
    for line in (*report(verdict), *(f"not read: {where}" for where in elsewhere(folder))):
        print(line)
    if verdict.sound:
        return 0
    print(f"{many(len(verdict.damages) + verdict.more, 'damage')} found", file=sys.stderr)
    return 1


def report(verdict: Verdict) -> list[str]:
    """Return a verdict as lines."""
    counted = ", ".join(f"{number:,} {what}" for what, number in verdict.counts.items())
    lines = [f"checked: {counted}", *verdict.notes]
    lines += [f"DAMAGED {each.where}: {each.what}; {each.remedy}" for each in verdict.damages]
    if verdict.more:
        lines.append(f"and {verdict.more:,} more")
    return [*lines, "sound"] if verdict.sound else lines
