"""Checkpoints of the views, held against themselves and against the log that they were drawn from."""

import apsw

from allotrope.evidence.backups.cuts import rows
from allotrope.evidence.backups.entries import gone_from
from allotrope.evidence.backups.verdicts import BACKUP, Verdict
from allotrope.kernel import codec
from allotrope.logs.sqlite import entry_of
from allotrope.runtime.keeping.checkpoints import entry_seal
from allotrope.storage.checkpoints import Kept, row_seal

_CACHE = "stop the app and delete the file: the next start makes it anew from the log"


def compared(name: str, file: apsw.Connection, log: apsw.Connection | None, verdict: Verdict) -> None:
    """Take note of what is wrong with one checkpoint. Where entries have left the log, nothing can make it anew."""
    remedy = _CACHE if log is not None and not gone_from(log) else BACKUP
    count = digest = 0
    for view, key, state, seal in file.execute("SELECT view,key,state,seal FROM rows"):
        verdict.count("view states")
        count, digest = count + 1, digest + seal
        if row_seal(view, key, state) != seal:
            verdict.damage(name, f"{view}[{key!r}]", "its checksum is wrong", remedy)
    found = rows(file, "SELECT body FROM kept")
    if not found:  # its host was killed while it was written for the first time
        return
    kept: Kept = codec.decode(found[0][0], Kept)
    if (count, digest) != (kept.rows, kept.digest):
        verdict.damage(name, "", f"it holds {count:,} states, and not the {kept.rows:,} that it says", remedy)
    if log is not None and kept.position > 1 and kept.seal:
        entry = log.execute("SELECT * FROM entries WHERE position=?", (kept.position - 1,)).fetchall()
        if not entry or entry_seal(entry_of(entry[0])) != kept.seal:
            what = f"the log does not have the entry {kept.position - 1} that it was drawn from"
            verdict.damage(name, "", what, remedy)
