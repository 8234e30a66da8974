"""The door of processes: how one is declared, and what it says of itself."""

from allotrope.modules.processes.component import Process, course_of
from allotrope.modules.processes.course import Course, Instance, Progress, Standing, Status, TimedOut
from allotrope.modules.processes.drawing import drawn, mermaid
from allotrope.modules.processes.steps import Step

__all__ = [
    "Course", "Instance", "Process", "Progress", "Standing", "Status", "Step", "TimedOut", "course_of",
    "drawn", "mermaid",
]  # fmt: skip
