"""Answers to generated questions by other routes than the generators': enumeration, laws of physics, walks."""

import itertools
import re
from math import pi, sqrt


def numbers(text):
    return [int(part) for part in re.findall(r"\d+", text)]


def coefficients(text):
    """Polynomial text -> {power: coefficient}."""
    found = {}
    for term in text.split(" + "):
        factor, letter, rest = term.partition("x")
        power = 0 if not letter else int(rest[1:]) if rest else 1
        found[power] = int(factor) if factor else 1
    return found


def evaluate(text, x):
    return sum(factor * x**power for power, factor in coefficients(text).items())


def partitions(n, largest=None):
    largest = n if largest is None else largest
    return 1 if n == 0 else sum(partitions(n - k, k) for k in range(1, min(n, largest) + 1))


def permuted(question):
    cycles = [numbers(cycle) for cycle in re.findall(r"\(([\d ]+)\)", question)]
    return {a: b for cycle in cycles for a, b in zip(cycle, cycle[1:] + cycle[:1], strict=True)}


def permutation_order(question):
    mapping = permuted(question)
    state, order = {a: mapping[a] for a in mapping}, 1
    while any(a != b for a, b in state.items()):
        state, order = {a: mapping[b] for a, b in state.items()}, order + 1
    return order


def subgroup(a, n):
    found, value = {0}, a % n
    while value not in found:
        found.add(value)
        value = (value + a) % n
    return found


def brute_force(family, question):
    """The answer found by enumeration, with nothing shared with the generator."""
    values = numbers(question)
    match family:
        case "additive_order":
            a, n = values
            return next(k for k in itertools.count(1) if k * a % n == 0)
        case "unit_order":
            a, n = values
            return next(k for k in itertools.count(1) if a**k % n == 1)
        case "generators":
            return sum(len(subgroup(a, values[0])) == values[0] for a in range(values[0]))
        case "subgroups":
            return len({frozenset(subgroup(a, values[0])) for a in range(values[0])})
        case "cosets":
            a, n = values
            return len({frozenset((x + y) % n for y in subgroup(a, n)) for x in range(n)})
        case "elements_of_order":
            d, n = values
            return sum(len(subgroup(a, n)) == d for a in range(n))
        case "units":
            n = values[0]
            return sum(any(a * b % n == 1 for b in range(n)) for a in range(n))
        case "zero_divisors":
            n = values[0]
            return sum(any(a * b % n == 0 for b in range(1, n)) for a in range(1, n))
        case "inverse":
            a, p = values
            return next(b for b in range(p) if a * b % p == 1)
        case "roots" | "zero_set" | "quadratic_factors":
            text, p = polynomial_in(question)
            zeros = [x for x in range(p) if evaluate(text, x) % p == 0]
            if family == "zero_set":
                return " and ".join(map(str, zeros))
            names = ("irreducible", "the square of a linear factor", "a product of two different linear factors")
            return names[len(zeros)] if family == "quadratic_factors" else len(zeros)
        case "remainder":
            text, p = polynomial_in(question)
            return evaluate(text, int(re.search(r"by x - (\d+)", question)[1])) % p
        case "permutation_order":
            return permutation_order(question)
        case "permutation_parity":
            mapping = permuted(question)
            points = sorted(mapping)
            inversions = sum(mapping[a] > mapping[b] for a, b in itertools.combinations(points, 2))
            swaps, state = 0, dict(mapping)
            for a in points:
                while state[a] != a:
                    b = state[a]
                    state[a], state[b] = state[b], b
                    swaps += 1
            assert inversions % 2 == swaps % 2
            return f"{('even', 'odd')[inversions % 2]}, with {swaps} transposition{'s' if swaps > 1 else ''}"
        case "product_order":
            a, b, m, n = values
            return next(k for k in itertools.count(1) if k * a % m == 0 and k * b % n == 0)
        case "characteristic":
            return next(k for k in itertools.count(1) if k % values[0] == 0 and k % values[1] == 0)
        case "homomorphisms":
            m, n = values
            return sum(m * image % n == 0 for image in range(n))
        case "abelian_groups":
            count, rest = 1, values[0]
            for prime in range(2, values[0] + 1):
                power = 0
                while rest % prime == 0:
                    rest, power = rest // prime, power + 1
                count *= partitions(power)
            return count
    raise AssertionError(family)


def polynomial_in(question):
    """Text of the polynomial and the modulus."""
    text = re.search(r"(\d*x(?:\^\d+)?(?: \+ \d*x(?:\^\d+)?| \+ \d+)*)", question.replace("x - ", "y - "))[1]
    return text, int(re.search(r"Z_(\d+)", question)[1])


G = 10


def laws(family, v):
    """The answer from the numbers of the question, by another route than the generator's where there is one."""
    match family:
        case "kinetic_energy":
            return sum(v[0] * v[1] * (2 * k + 1) / 2 / 10**6 * v[1] for k in range(1000))  # work done over 1000 steps
        case "fall_time":
            return sqrt(v[0] / (G / 2))
        case "throw_height":
            t = v[0] / G
            return v[0] * t - G * t * t / 2
        case "centripetal":
            omega = v[1] / v[0]
            return omega * omega * v[0]
        case "collision":
            return v[1] / (1 + v[2] / v[0])
        case "spring_energy":
            return v[0] * v[1] / 2 * v[1]
        case "spring_period":
            return 2 * pi / sqrt(v[1] / v[0])
        case "lifting_power":
            return v[0] * G * (v[1] / v[2])
        case "resistors":
            return 1 / (1 / v[0] + 1 / v[1])
        case "heating_power":
            return (v[1] / v[0]) ** 2 * v[0]
        case "capacitor":
            return v[0] * v[1] / 2 * v[1]
        case "coulomb":
            return v[0] / v[1] / v[1]
        case "gas":
            amount = v[0] * v[1] / v[2]
            return amount * v[4] / v[3]
        case "carnot":
            return 100 * (v[0] - v[1]) / v[0]
        case "lens":
            return 1 / (1 / v[1] - 1 / v[0])
        case "wave":
            return v[1] / v[0]
        case "photon":
            return v[2] / v[0] - v[1]
        case "dilation":
            return v[0] * (1 - v[1] ** 2) ** -0.5
        case "half_life":
            left = v[0]
            for _ in range(round(v[2] / v[1])):
                left /= 2
            return left
        case "hydrogen":
            return v[3] * v[0] ** 2 * (1 / v[2] ** 2 - 1 / v[1] ** 2)
    raise AssertionError(family)


UNITS = {
    "kinetic_energy": "J",
    "fall_time": "s",
    "throw_height": "m",
    "centripetal": "m/s^2",
    "collision": "m/s",
    "spring_energy": "J",
    "spring_period": "s",
    "lifting_power": "W",
    "resistors": "ohm",
    "heating_power": "W",
    "capacitor": "uJ",
    "coulomb": "F",
    "gas": "bar",
    "carnot": "%",
    "lens": "cm",
    "wave": "m",
    "photon": "eV",
    "dilation": "ns",
    "half_life": "g",
    "hydrogen": "eV",
}


def quantities(question):
    """Numbers of a question in order, without those of the constants that every such question repeats."""
    question = question.replace("m/s^2", "").replace("With g = 10", "")
    return [float(text) for text in re.findall(r"\d+(?:\.\d+)?", question)]


def walked(question):
    """Whether a walk returns, with complex numbers; None if something is not understood."""
    place, heading = 0, 1j
    sides = {"forward": 1, "backward": -1, "left": 1j, "right": -1j}
    for part in question.split("? ", 1)[1].rstrip(".").split(". "):
        words = part.split()
        if words[0] == "Take":
            place += int(words[1]) * heading * (sides[words[3]] if len(words) == 4 else 1)
        elif words[0] == "Turn":
            heading *= {"left": 1j, "right": -1j, "around": -1}[words[1]]
        else:
            assert part == "Always face forward"
    return place == 0
