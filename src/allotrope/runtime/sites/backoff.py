"""How soon a process that has ended is started again. Not here: starting it (`engines`, `sidecars`)."""

YOUNG_S, FIRST_S, MOST_S = 10.0, 0.1, 10.0  # one that ends young is started again later and later


class Backoff:
    """The pauses before the starts at one place: longer with each short life in a row."""

    def __init__(self) -> None:
        """Begin without a failure."""
        self.failures = 0

    def pause(self, lived_s: float) -> float:
        """Return for how many seconds to wait after a life: 0 unless it was a short one."""
        self.failures = self.failures + 1 if lived_s < YOUNG_S else 0
        return min(FIRST_S * 2 ** (self.failures - 1), MOST_S) if self.failures else 0.0
