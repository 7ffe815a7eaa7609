"""Generated physics questions that a model made from scratch can work out: one formula, whole numbers.

The answer is 1 to 5 of the unit, and the options are these five in their order. The working writes the formula.
"""

from __future__ import annotations

import random

from collm.domains.choice.questions import Family, Item, listed_item

_LARGEST = 5  # of the five options
_DIVISORS = (2, 3, 4, 5, 6)
_CARTS = ("cart", "ball", "boat", "train")
_PARTS = ("lamp", "coil", "diode", "heater")
_MACHINES = ("motor", "pump", "lift", "crane")
_BODIES = ("stone", "block", "ring", "coin")


def _item(question: str, unit: str, answer: int, why: str) -> Item:
    options = [f"{value} {unit}" for value in range(1, _LARGEST + 1)]
    return listed_item(question, options, f"{answer} {unit}", f"{why}={answer}.")


def _quotient(rng: random.Random) -> tuple[int, int, int]:
    """a, b and a / b, which is an answer."""
    b, answer = rng.choice(_DIVISORS), rng.randint(1, _LARGEST)
    return answer * b, b, answer


def _difference(rng: random.Random) -> tuple[int, int, int]:
    """a, b and a - b, which is an answer."""
    b, answer = rng.randint(1, 6), rng.randint(1, _LARGEST)
    return answer + b, b, answer


def speed(rng: random.Random) -> Item:
    """v = s / t."""
    a, b, answer = _quotient(rng)
    return _item(f"A {rng.choice(_CARTS)} goes {a} m in {b} s. What is its speed?", "m/s", answer, f"v={a}/{b}")


def acceleration(rng: random.Random) -> Item:
    """a = F / m."""
    a, b, answer = _quotient(rng)
    return _item(
        f"A {rng.choice(_CARTS)} of {b} kg feels {a} N. What is its acceleration?", "m/s^2", answer, f"a={a}/{b}"
    )


def current(rng: random.Random) -> Item:
    """I = U / R."""
    a, b, answer = _quotient(rng)
    return _item(f"A {rng.choice(_PARTS)} of {b} ohm is at {a} V. What is its current?", "A", answer, f"I={a}/{b}")


def power(rng: random.Random) -> Item:
    """P = W / t."""
    a, b, answer = _quotient(rng)
    return _item(f"A {rng.choice(_MACHINES)} does {a} J in {b} s. What is its power?", "W", answer, f"P={a}/{b}")


def density(rng: random.Random) -> Item:
    """rho = m / V."""
    a, b, answer = _quotient(rng)
    return _item(
        f"A {rng.choice(_BODIES)} has {a} g and {b} cm^3. What is its density?", "g/cm^3", answer, f"d={a}/{b}"
    )


def pressure(rng: random.Random) -> Item:
    """p = F / A."""
    a, b, answer = _quotient(rng)
    return _item(f"A {rng.choice(_BODIES)} of {a} N lies on {b} m^2. What is its pressure?", "Pa", answer, f"p={a}/{b}")


def net_force(rng: random.Random) -> Item:
    """F = F1 - F2 of forces against each other."""
    a, b, answer = _difference(rng)
    return _item(
        f"A {rng.choice(_BODIES)} is pulled by {a} N left, {b} N right. What is the net force?",
        "N",
        answer,
        f"F={a}-{b}",
    )


def braking(rng: random.Random) -> Item:
    """v = v0 - v1."""
    a, b, answer = _difference(rng)
    question = f"A {rng.choice(_CARTS)} at {a} m/s loses {b} m/s. What is its speed then?"
    return _item(question, "m/s", answer, f"v={a}-{b}")


def voltage(rng: random.Random) -> Item:
    """U2 = U - U1 of two parts in series."""
    a, b, answer = _difference(rng)
    question = f"A {rng.choice(_PARTS)} and a wire share {a} V, the wire takes {b} V. What is the voltage of the other?"
    return _item(question, "V", answer, f"U={a}-{b}")


FAMILIES: tuple[Family, ...] = (
    speed,
    net_force,
    acceleration,
    braking,
    current,
    voltage,
    power,
    density,
    pressure,
)
