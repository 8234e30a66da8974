"""The bounds of a link: what may be large, many or slow. Nothing in this folder grows past them."""

from dataclasses import dataclass

from allotrope.kernel.errors import Refused

LEAST_BYTES = 512  # of the longest frame: an error has to fit in


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for one side; each side keeps its own, and tells the other how large a frame may be."""

    frame_bytes: int = 64 << 20  # one frame, arrays that travel inside it included
    buffers: int = 64  # raw buffers of one call; at most 254
    write_bytes: int = 4 << 20  # waiting to be written, before writers have to wait
    window_bytes: int = 1 << 20  # of a stream: sent, and not yet read by who listens
    arena_bytes: int = 64 << 20  # shared memory for each direction; 0 sends everything inline
    shared_from_bytes: int = 64 << 10  # a smaller buffer or payload costs less inline
    calls_per_link: int = 1024  # running at once
    calls_in_all: int = 4096
    held_bytes: int = 256 << 20  # arguments of the running calls of one link
    links: int = 1024  # connections at once; beyond them new ones wait to be let in
    greetings: int = 64  # connections that have not yet proved who they are
    greeting_s: float = 5.0  # to prove it
    ping_s: float = 10.0  # of silence before a ping; as long again without an answer ends the link
    stall_s: float = 10.0  # a reader that has let `write_bytes` wait for so long is dropped
    close_s: float = 1.0  # to write what is left when a link is closed

    def __post_init__(self) -> None:
        """Refuse bounds under which nothing can work."""
        if self.frame_bytes < LEAST_BYTES or not 0 <= self.buffers <= 254:
            raise Refused(
                f"frame_bytes={self.frame_bytes}, buffers={self.buffers}: a frame needs at least {LEAST_BYTES} bytes, "
                "and carries 0 to 254 buffers"
            )
