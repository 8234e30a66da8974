"""A declaration as text and as a diagram."""

from allotrope.modules.processes.api import course_of, drawn, mermaid
from examples.orders import Order, Store

TEXT = """\
Order: begins with Placed, by order, turns back after 0:30:00
  step     asks     done      failed      undo     undone
  reserve  Reserve  Reserved  OutOfStock  Release  Released
  charge   Charge   Charged   Declined    Refund   Refunded
  ship     Ship     Shipped   -           -        -
  ends with Confirmed or, taken back, with Cancelled"""

DIAGRAM = """\
stateDiagram-v2
    [*] --> reserve: Placed
    reserve --> charge: Reserved
    reserve --> compensated: OutOfStock
    reserve --> compensated: time-out
    undo_reserve --> compensated: Released
    charge --> ship: Charged
    charge --> undo_reserve: Declined
    charge --> undo_reserve: time-out
    undo_charge --> undo_reserve: Refunded
    ship --> completed: Shipped
    completed --> [*]
    compensated --> [*]"""


def test_a_process_as_text_and_as_a_diagram() -> None:
    course = course_of(Order)
    assert course is not None
    assert drawn(course) == TEXT
    assert mermaid(course) == DIAGRAM
    assert course_of(Store) is None
