"""Generated physics questions: answers from formulas, distractors from the usual mistakes with the same numbers.

A family draws its numbers from the generator it is given. Numbers are shown with three significant digits.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from fractions import Fraction
from math import pi, sqrt

from collm.domains.choice.questions import Family, Item

GRAVITY = 10.0  # m/s^2, stated in every question that needs it
PHOTON = 1240.0  # h c in eV nm
RYDBERG = 13.6  # eV
_NEAR = (2.0, 0.5, 4.0, 0.25, 1.5, 3.0)


def number(value: float) -> str:
    """Three significant digits without an exponent, for values from 0.0001 to below 1,000,000."""
    return f"{float(f'{value:.3g}'):g}"


def _item(question: str, answer: float, unit: str, wrong: Iterable[float], formula: str) -> Item:
    """A question whose answer is a quantity; `wrong` is filled up with multiples of the answer.

    Distractors within 5 % of the answer are left out: roundings on the way must not lead to them.
    """
    candidates = (*wrong, *(answer * factor for factor in _NEAR))
    apart = (value for value in candidates if 1e-4 <= value < 1e6 and abs(value - answer) > 0.05 * answer)
    text = f"{number(answer)} {unit}"
    return Item(question, text, tuple(f"{number(value)} {unit}" for value in apart), f"{formula} = {text}.")


def kinetic_energy(rng: random.Random) -> Item:
    """E = m v^2 / 2."""
    m, v = rng.randint(2, 40), rng.randint(2, 30)
    return _item(
        f"What is the kinetic energy of a body of mass {m} kg that moves at {v} m/s?",
        m * v * v / 2,
        "J",
        (m * v * v, m * v, m * v / 2),
        f"E = {m} * {v}^2 / 2",
    )


def fall_time(rng: random.Random) -> Item:
    """t = sqrt(2 h / g)."""
    h = rng.randint(5, 200)
    return _item(
        f"A stone is dropped from rest at a height of {h} m. With g = 10 m/s^2 and no air, after what time does it "
        "hit the ground?",
        sqrt(2 * h / GRAVITY),
        "s",
        (sqrt(h / GRAVITY), h / GRAVITY, 2 * h / GRAVITY),
        f"t = sqrt(2 * {h} / 10)",
    )


def throw_height(rng: random.Random) -> Item:
    """h = v^2 / (2 g)."""
    v = rng.randint(4, 60)
    return _item(
        f"A ball is thrown straight up at {v} m/s. With g = 10 m/s^2 and no air, how high does it rise?",
        v * v / 20,
        "m",
        (v * v / 10, v / 20, v / 10),
        f"h = {v}^2 / (2 * 10)",
    )


def centripetal(rng: random.Random) -> Item:
    """a = v^2 / r."""
    v, r = rng.randint(2, 30), rng.randint(2, 40)
    return _item(
        f"A car goes round a circle of radius {r} m at a constant {v} m/s. What is its acceleration?",
        v * v / r,
        "m/s^2",
        (v / r, v * v * r, v * v / (2 * r)),
        f"a = {v}^2 / {r}",
    )


def collision(rng: random.Random) -> Item:
    """Perfectly inelastic: v' = m1 v / (m1 + m2)."""
    first, second, v = rng.randint(1, 9), rng.randint(1, 9), rng.randint(2, 24)
    return _item(
        f"A cart of {first} kg at {v} m/s hits a cart of {second} kg at rest, and both stick together. What is their "
        "common speed?",
        first * v / (first + second),
        "m/s",
        (v / 2, first * v / second, second * v / (first + second)),
        f"v = {first} * {v} / ({first} + {second})",
    )


def spring_energy(rng: random.Random) -> Item:
    """E = k x^2 / 2."""
    k, x = rng.randrange(50, 900, 10), rng.randint(2, 20) / 20
    return _item(
        f"How much energy is stored in a spring of stiffness {k} N/m stretched by {x:g} m?",
        k * x * x / 2,
        "J",
        (k * x * x, k * x, k * x / 2),
        f"E = {k} * {x:g}^2 / 2",
    )


def spring_period(rng: random.Random) -> Item:
    """T = 2 pi sqrt(m / k)."""
    m, k = rng.randint(1, 20), rng.randrange(20, 500, 10)
    period = 2 * pi * sqrt(m / k)
    return _item(
        f"A mass of {m} kg swings without friction on a spring of stiffness {k} N/m. What is the period?",
        period,
        "s",
        (period / (2 * pi), 2 * pi * sqrt(k / m), 2 * pi * m / k),
        f"T = 2 pi sqrt({m} / {k})",
    )


def lifting_power(rng: random.Random) -> Item:
    """P = m g h / t."""
    m, h, t = rng.randint(5, 90), rng.randint(2, 30), rng.randint(2, 40)
    return _item(
        f"A motor lifts {m} kg by {h} m in {t} s at constant speed. With g = 10 m/s^2, what is its power?",
        m * GRAVITY * h / t,
        "W",
        (m * h / t, m * GRAVITY * h, m * GRAVITY * t / h),
        f"P = {m} * 10 * {h} / {t}",
    )


def resistors(rng: random.Random) -> Item:
    """Two resistors in parallel."""
    a, b = rng.randint(2, 60), rng.randint(2, 60)
    return _item(
        f"Resistors of {a} ohm and {b} ohm are connected in parallel. What is their total resistance?",
        a * b / (a + b),
        "ohm",
        (a + b, (a + b) / 2, 1 / a + 1 / b),
        f"R = {a} * {b} / ({a} + {b})",
    )


def heating_power(rng: random.Random) -> Item:
    """P = U^2 / R."""
    u, r = rng.randint(3, 120), rng.randint(2, 80)
    return _item(
        f"What power does a resistor of {r} ohm take from a source of {u} V?",
        u * u / r,
        "W",
        (u / r, u * r, u * r * r),
        f"P = {u}^2 / {r}",
    )


def capacitor(rng: random.Random) -> Item:
    """E = C U^2 / 2."""
    c, u = rng.randint(2, 80), rng.randint(2, 40)
    return _item(
        f"What is the energy stored in a capacitor of {c} uF charged to {u} V?",
        c * u * u / 2,
        "uJ",
        (c * u * u, c * u, c * u / 2),
        f"E = {c} * {u}^2 / 2",
    )


def coulomb(rng: random.Random) -> Item:
    """F is proportional to q1 q2 / r^2."""
    charge, distance = rng.randint(2, 12), rng.randint(2, 12)
    factor = Fraction(charge, distance**2)
    wrong = (
        Fraction(charge, distance),
        Fraction(charge**2, distance**2),
        Fraction(charge * distance),
        Fraction(1, 2),
        Fraction(distance**2, charge),
        factor / 2,
    )
    return Item(
        f"Two point charges repel each other with force F. One charge is multiplied by {charge} and the distance by "
        f"{distance}. What is the new force?",
        f"{factor} F",
        tuple(f"{value} F" for value in wrong),
        f"F * {charge} / {distance}^2 = {factor} F.",
    )


def gas(rng: random.Random) -> Item:
    """Fixed amount of an ideal gas: p2 = p1 (V1 / V2) (T2 / T1)."""
    p, first, second = rng.randint(1, 9), rng.randint(2, 30), rng.randint(2, 30)
    cold, hot = 300, rng.randrange(330, 1200, 30)
    return _item(
        f"An ideal gas at {p} bar, {first} L and {cold} K is brought to {second} L and {hot} K. What is its pressure?",
        p * first * hot / (second * cold),
        "bar",
        (p * second * hot / (first * cold), p * first * cold / (second * hot), p * first / second),
        f"p = {p} * {first} / {second} * {hot} / {cold}",
    )


def carnot(rng: random.Random) -> Item:
    """Efficiency 1 - T_cold / T_hot."""
    cold = rng.randrange(250, 420, 10)
    hot = cold + rng.randrange(20, 600, 10)
    efficiency = 1 - cold / hot
    return _item(
        f"What is the greatest possible efficiency of a heat engine between {hot} K and {cold} K?",
        100 * efficiency,
        "%",
        (100 * cold / hot, 100 * (hot - cold) / cold, 50 * efficiency),
        f"1 - {cold} / {hot}",
    )


def lens(rng: random.Random) -> Item:
    """1 / f = 1 / g + 1 / b, object outside the focal length."""
    f = rng.randint(4, 40)
    g = f + rng.randint(2, 60)
    return _item(
        f"An object stands {g} cm in front of a converging lens of focal length {f} cm. How far behind the lens is its "
        "image?",
        f * g / (g - f),
        "cm",
        (f * g / (g + f), g - f, (f + g) / 2, g / f),
        f"b = {f} * {g} / ({g} - {f})",
    )


def wave(rng: random.Random) -> Item:
    """lambda = v / f."""
    v, f = rng.randrange(100, 2000, 20), rng.randrange(20, 900, 10)
    return _item(
        f"A wave of frequency {f} Hz travels at {v} m/s. What is its wavelength?",
        v / f,
        "m",
        (f / v, v / (2 * f), 2 * v / f),
        f"{v} / {f}",
    )


def photon(rng: random.Random) -> Item:
    """E = h c / lambda - W, the photoelectric effect."""
    wavelength = rng.randrange(150, 400, 5)
    work = rng.randint(10, 29) / 10
    energy = PHOTON / wavelength
    return _item(
        f"Light of {wavelength} nm falls on a metal with a work function of {work:g} eV. With h c = 1240 eV nm, what "
        "is the greatest kinetic energy of the electrons?",
        energy - work,
        "eV",
        (energy, energy + work, work, energy / work),
        f"1240 / {wavelength} - {work:g}",
    )


def dilation(rng: random.Random) -> Item:
    """Moving clocks: t = t0 / sqrt(1 - v^2 / c^2)."""
    speed, factor = rng.choice(((0.6, 0.8), (0.8, 0.6), (0.28, 0.96), (0.96, 0.28)))
    t = rng.randint(2, 60)
    return _item(
        f"A particle with a lifetime of {t} ns at rest moves at {speed:g} c. What is its lifetime in the laboratory?",
        t / factor,
        "ns",
        (t * factor, t / speed, t * speed, t / factor**2),
        f"{t} / sqrt(1 - {speed:g}^2)",
    )


def half_life(rng: random.Random) -> Item:
    """N = N0 / 2^(t / T)."""
    period, periods = rng.randint(2, 30), rng.randint(2, 6)
    start = 2**periods * rng.randint(2, 25)
    return _item(
        f"A sample holds {start} g of a nuclide with a half-life of {period} days. How much is left after "
        f"{period * periods} days?",
        start / 2**periods,
        "g",
        (start / (2 * periods), start / 2 ** (periods - 1), start - start / 2**periods),
        f"{start} / 2^{periods}",
    )


def hydrogen(rng: random.Random) -> Item:
    """E = Z^2 13.6 eV (1 / n^2 - 1 / m^2) for an atom or ion with one electron."""
    z, low = rng.randint(1, 4), rng.randint(1, 4)
    high = low + rng.randint(1, 5)
    energy = z * z * RYDBERG * (1 / low**2 - 1 / high**2)
    return _item(
        f"An atom of nuclear charge Z = {z} with a single electron falls from level {high} to level {low}. With "
        "13.6 eV for the ionisation of hydrogen, what is the photon's energy?",
        energy,
        "eV",
        (z * z * RYDBERG * (1 / low - 1 / high), energy / z, z * z * RYDBERG / low**2, energy * z),
        f"{z}^2 * 13.6 * (1 / {low}^2 - 1 / {high}^2)",
    )


FAMILIES: tuple[Family, ...] = (
    kinetic_energy,
    fall_time,
    throw_height,
    centripetal,
    collision,
    spring_energy,
    spring_period,
    lifting_power,
    resistors,
    heating_power,
    capacitor,
    coulomb,
    gas,
    carnot,
    lens,
    wave,
    photon,
    dilation,
    half_life,
    hydrogen,
)
