"""Simulated card payments with frauds: own code for a published process. It builds no feature.

Source: Le Borgne, Siblini, Lebichot, Bontempi, Reproducible Machine Learning for Credit Card Fraud Detection
(the Fraud Detection Handbook), 2022, chapter 3, "Transaction data simulator".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from examples.fraud.lab.dataset import Transactions

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

DAY_S = 86_400
SIDE = 100.0  # customers and terminals lie on a square of this side
NOON_S, SPREAD_S = DAY_S / 2, 20_000.0  # mean and deviation of the second of the day
LARGE = 220.0  # scenario 1: every amount above it is a fraud
TERMINAL_DAYS, CARD_DAYS = 28, 14  # how long a terminal or a card stays compromised
CARD_SHARE, CARD_FACTOR = 3, 5  # scenario 3: one payment in three, its amount times five
LABEL_DELAY_DAYS = 7  # a fraud is known to the bank this long after its payment

# The published process compromises 2 of 10,000 terminals and 3 of 5,000 customers a day. We keep the rate and
# not the number: with 2 of 2,000 terminals a day, one payment in thirty would be a fraud, not one in 120.
TERMINALS_PER_DAY, CUSTOMERS_PER_DAY = 2 / 10_000, 3 / 5_000


@dataclass(frozen=True, slots=True)
class Population:
    """Who pays where, and for how long; the published one has 5,000 customers and 10,000 terminals."""

    customers: int = 1_000
    terminals: int = 2_000
    days: int = 63
    radius: float = 5.0
    start: date = date(2018, 4, 1)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("customers", "terminals", "days"):
            if getattr(self, name) < 1:
                raise ValueError(f"Population.{name} is {getattr(self, name)}; give at least 1.")
        if not self.radius > 0:
            raise ValueError(
                f"Population.radius is {self.radius}; give a distance above 0 (the side is {SIDE:g})."
            )


def simulate(population: Population) -> Transactions:
    """Return all payments of a population, sorted by (time, id); ids count from 0 in this order.

    Equal populations give equal payments under one version of numpy.
    """
    # A stream per concern: another number of draws in one leaves the others as they were.
    places, habits, frauds = np.random.default_rng(population.seed).spawn(3)
    near = _near(places, population)
    customer, second, terminal, amount = _payments(habits, population, near)
    day = second // DAY_S
    scenario = np.where(amount > LARGE, 1, 0).astype(np.int8)
    scenario[_terminals_compromised(frauds, population)[terminal, day]] = 2
    stolen = _cards_stolen(frauds, population, customer * population.days + day)
    scenario[stolen > 0] = 3
    amount = np.round(amount * np.power(CARD_FACTOR, stolen), 2)
    order = np.argsort(second, kind="stable")
    return Transactions(
        id=np.arange(len(order), dtype=np.int64),
        time=np.datetime64(population.start, "s") + second[order].astype("timedelta64[s]"),
        customer=customer[order],
        terminal=terminal[order],
        amount=amount[order],
        fraud=scenario[order] > 0,
        scenario=scenario[order],
    )


@dataclass(frozen=True, slots=True)
class _Near:
    """The terminals that each customer uses: those of customer c are `terminal[start[c]:start[c + 1]]`."""

    start: Integers
    terminal: Integers


def _near(draw: np.random.Generator, population: Population) -> _Near:
    customers = draw.uniform(0, SIDE, (population.customers, 2))
    terminals = draw.uniform(0, SIDE, (population.terminals, 2))
    counts, found = [np.zeros(1, np.int64)], []
    for start in range(0, population.customers, 256):  # in blocks: all distances at once would take 400 MB
        apart = customers[start : start + 256, None, :] - terminals[None, :, :]
        inside = np.einsum("ctx,ctx->ct", apart, apart) < population.radius**2
        counts.append(inside.sum(axis=1))
        found.append(np.nonzero(inside)[1])
    return _Near(np.cumsum(np.concatenate(counts)), np.concatenate(found))


def _payments(
    draw: np.random.Generator, population: Population, near: _Near
) -> tuple[Integers, Integers, Integers, Floats]:
    """Return customer, second since the start, terminal and amount per payment, by customer and day."""
    mean = draw.uniform(5, 100, population.customers)
    per_day = draw.uniform(0, 4, population.customers)
    per_day[np.diff(near.start) == 0] = 0  # nowhere to pay
    payments = draw.poisson(per_day[:, None], (population.customers, population.days)).ravel()
    customer, day = np.divmod(np.repeat(np.arange(payments.size), payments), population.days)
    of_day = draw.normal(NOON_S, SPREAD_S, customer.size)
    # A payment drawn outside its day does not happen, as published: some 3 % fewer than the Poisson mean.
    happens = (of_day >= 1) & (of_day < DAY_S)
    customer, day, of_day = customer[happens], day[happens], of_day[happens]
    amount = draw.normal(mean[customer], mean[customer] / 2)
    negative = amount < 0
    amount[negative] = draw.uniform(0, 2 * mean[customer[negative]])
    choice = (draw.random(customer.size) * np.diff(near.start)[customer]).astype(np.int64)
    terminal = near.terminal[near.start[customer] + choice]
    return customer, day * DAY_S + of_day.astype(np.int64), terminal, np.round(amount, 2)


def _drawn(rate: float, population: int, days: int) -> list[int]:
    """Return how many are compromised on each day; over d days they sum to d * rate * population, cut."""
    sums = np.floor(np.arange(days + 1) * rate * population + 1e-9).astype(int)
    return [min(after - before, population) for before, after in pairwise(sums.tolist())]


def _terminals_compromised(draw: np.random.Generator, population: Population) -> npt.NDArray[np.bool_]:
    """Return whether a terminal is compromised on a day, shape (terminals, days)."""
    compromised = np.zeros((population.terminals, population.days), np.bool_)
    for day, count in enumerate(_drawn(TERMINALS_PER_DAY, population.terminals, population.days)):
        chosen = draw.choice(population.terminals, count, replace=False)
        compromised[chosen, day : day + TERMINAL_DAYS] = True
    return compromised


def _cards_stolen(draw: np.random.Generator, population: Population, customer_day: Integers) -> Integers:
    """Return per payment how many thieves of the customer's card made it theirs: 0, and rarely above 1.

    `customer_day` is customer * days + day, ascending: so a customer's fortnight is one slice.
    """
    stolen = np.zeros(len(customer_day), np.int64)
    for day, count in enumerate(_drawn(CUSTOMERS_PER_DAY, population.customers, population.days)):
        first = draw.choice(population.customers, count, replace=False) * population.days
        last = first + min(day + CARD_DAYS, population.days)
        starts, ends = np.searchsorted(customer_day, [first + day, last])
        pool = np.concatenate([np.arange(0), *map(np.arange, starts, ends)])
        stolen[draw.choice(pool, len(pool) // CARD_SHARE, replace=False)] += 1
    return stolen
