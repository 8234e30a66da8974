"""`allotrope trace`: what happened to a request, as a tree with times."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

from rich.console import Console
from rich.table import Table
from rich.text import Text

from allotrope import compose
from allotrope.cli import impact
from allotrope.cli.loading import Folder, many, screen
from allotrope.evidence.archive.names import Archive, Found
from allotrope.runtime.tracing import Span

_BAR = (10, 40)  # how wide the widest bar may be, in characters; below that there are none
_LISTED = 20
Row = tuple[str, Span]  # the lines of the tree before a name, and the span


def trace(
    identifier: Annotated[str, impact.NAME] = "",
    /,
    *,
    folder: Folder = compose.FOLDER,
) -> int:
    """Draw what happened to a request, with times; without an ID, list the newest."""
    archive = Archive(folder)
    console = screen()
    if not identifier:
        _list(archive, console)
        return 0
    found = archive.find(identifier)
    if archive.spans is not None and found.traces:
        draw(archive.spans.trace(found.traces[0]), found, console)
        if others := found.traces[1:]:
            console.print(
                f"{many(len(others), 'older trace')} of it: {', '.join(other[:8] for other in others)}"
            )
        if (lost := archive.spans.kept().overflowed) > 0:
            console.print(
                f"some spans may be missing: {lost:,} were lost, since the host made more than it could keep"
            )
        impact.show_beside(archive, found, console)
    else:
        console.print(
            "this trace was not sampled; from the decision records, without times:\n", style="yellow"
        )
        impact.show(archive, found, console)
    archive.close()
    return 0


def _list(archive: Archive, console: Console) -> None:
    traces = [archive.spans.trace(trace) for trace in archive.spans.newest(_LISTED)] if archive.spans else []
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("trace", "UTC", "what", "origin", "request", "took", "spans", ""):
        table.add_column(
            title, justify="right" if title in ("origin", "took", "spans") else "left", overflow="fold"
        )
    for spans in traces:
        first, failed = spans[0], sorted({span.status for span in spans} - {"ok"})
        table.add_row(
            f"{first.trace_id:032x}"[:8], _at(first.start_ns)[11:19], Text(first.name, style="bold"),
            str(first.origin or ""), Text(first.request),
            _span(max(s.end_ns for s in spans) - first.start_ns), str(len(spans)),
            Text(", ".join(failed), style="red"),
        )  # fmt: skip
    if traces:
        console.print(table)
    console.print(f"kept in {archive.folder}: {archive.kept()}", style="dim", highlight=False)


def _at(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def draw(spans: list[Span], found: Found, console: Console) -> None:
    """Print one trace; what `found` points at is marked."""
    start, end = min(span.start_ns for span in spans), max(span.end_ns for span in spans)
    first = spans[0]
    failed = sum(span.status != "ok" for span in spans)
    head = Text(f"{first.name}", style="bold")
    facts = [f"origin {first.origin}"] if first.origin else []
    facts += [f"request {first.request}"] if first.request else []
    head.append(f"  {'  '.join([*facts, f'trace {first.trace_id:032x}'])}", style="dim")
    console.print(head)
    state = f"{failed} of {len(spans)} spans failed" if failed else f"{len(spans)} spans, all ok"
    console.print(f"{_at(start)} UTC, {_span(end - start)}, {state}\n", highlight=False)
    console.print(_timed(list(_tree(spans)), found, console.width))


def _timed(rows: list[Row], found: Found, width: int) -> Table:
    """Return the tree as a table; the bars take what width is left."""
    start, end = min(span.start_ns for _, span in rows), max(span.end_ns for _, span in rows)
    names = max(len(lines + span.name) for lines, span in rows)
    notes = max(0 if span.status == "ok" else len(span.status) for _, span in rows)
    places = max(len(span.place) for _, span in rows)
    widest = min(width - names - notes - 30 - (places + 2 if places else 0), _BAR[1])
    titles = ["", *(["at"] if places else []), "after", "took", *([""] if widest >= _BAR[0] else []), ""]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in titles:
        right = title in ("after", "took")
        table.add_column(title, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for lines, span in rows:
        good = span.status == "ok"
        name = Text(lines, style="dim").append(span.name, style="not dim" if good else "not dim bold red")
        marked = bool(found.path or found.operation) and _is_meant(span, found)
        note = Text("" if good else span.status, style="red").append(
            " <" if marked else "", style="bold yellow"
        )
        bar = Text(_bar(span, start, end, max(widest, 1)), style="cyan" if good else "red")
        bars = (bar,) if widest >= _BAR[0] else ()  # on a narrow screen the figures have to do
        where = (Text(span.place or "host", style="dim"),) if places else ()
        after, took = _span(span.start_ns - start), _span(span.end_ns - span.start_ns)
        table.add_row(name, *where, after, took, *bars, note)
    return table


def _is_meant(span: Span, found: Found) -> bool:
    return span.path == found.path and "." in span.name and found.operation in ("", span.name)


def _tree(spans: list[Span]) -> Iterator[Row]:
    """Yield the spans as a tree, each below its parent; one whose parent is missing stands at the top."""
    known = {span.span_id for span in spans}
    below: dict[int, list[Span]] = {}
    for span in spans:
        below.setdefault(span.parent_id if span.parent_id in known else 0, []).append(span)

    def grow(parent: int, before: str) -> Iterator[Row]:
        children = below.get(parent, [])
        for child in children:
            last = child is children[-1]
            yield before + ("└─ " if last else "├─ "), child
            yield from grow(child.span_id, before + ("   " if last else "│  "))

    for top in below.get(0, []):
        yield "", top
        yield from grow(top.span_id, "")


def _bar(span: Span, start: int, end: int, widest: int) -> str:
    scale = widest / max(end - start, 1)
    before = min(int((span.start_ns - start) * scale), widest - 1)
    width = min(max(round((span.end_ns - span.start_ns) * scale), 1), widest - before)
    return " " * before + "━" * width


def _span(nanoseconds: int) -> str:
    for size, unit in ((1e9, "s"), (1e6, "ms")):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.2f} {unit}"
    return f"{nanoseconds / 1e3:.0f} us"
