"""Values across the border: what crosses, as what, and what is refused."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collm.sandbox.guest.codec import ITEMS_OF_ITERATOR, Decoder, Encoder, Malformed, Opaque, Stranger

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
NUMBERS = SCALARS | st.complex_numbers(allow_nan=False)
HASHABLE = st.recursive(NUMBERS, lambda inner: st.tuples(inner, inner), max_leaves=4)
VALUES = st.recursive(
    HASHABLE | st.sets(HASHABLE, max_size=3) | st.frozensets(HASHABLE, max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HASHABLE, inner, max_size=3) | st.tuples(inner),
    max_leaves=12,
)


def travel(value):
    return Decoder().loads(Encoder().dumps(value))


def same(left, right):
    """Equal, and of the same types all through."""
    if type(left) is not type(right):
        return False
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(map(same, left.values(), right.values()))
    return left == right


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_plain_values_arrive_as_they_left(value):
    assert same(travel(value), value)


@pytest.mark.parametrize(
    "value",
    [
        Counter("aab"),
        OrderedDict(b=1, a=2),
        deque([1, 2], maxlen=3),
        bytearray(b"x"),
        range(3, 9, 2),
        Fraction(1, 3),
        Decimal("1.10"),
        10**400,
        -(2**53),
        "\ud800\0",
        int,
        {1: [2, {3: (4,)}]},
        float("inf"),
        1j,
        frozenset({(1, "a")}),
    ],
)
def test_less_common_values(value):
    assert same(travel(value), value)


def test_signed_zero_nan_and_defaultdict():
    assert math.copysign(1, travel(-0.0)) == -1
    assert math.isnan(travel(float("nan")))
    found = travel(defaultdict(list, {1: [2]}))
    assert type(found) is defaultdict and found.default_factory is list and found == {1: [2]}


def test_iterators_arrive_as_iterators():
    found = travel(x * x for x in range(3))
    assert found != [0, 1, 4] and list(found) == [0, 1, 4]
    assert list(travel(map(str, [1, 2]))) == ["1", "2"]
    with pytest.raises(Opaque, match=str(ITEMS_OF_ITERATOR)):
        Encoder().dumps(iter(range(ITEMS_OF_ITERATOR + 1)))


def test_subclasses_arrive_as_the_type_they_extend():
    class Level(IntEnum):
        high = 3

    point = namedtuple("point", "x y")(1, 2)
    assert same(travel([Level.high, point]), [3, (1, 2)])


@pytest.mark.parametrize("value", [object(), len, lambda: 1, type("Own", (), {}), [object()], {1: object()}, open])
def test_anything_else_is_refused(value):
    with pytest.raises(Opaque):
        Encoder().dumps(value)
    arrived = Decoder().loads(Encoder(strangers=True).dumps(value))
    inner = arrived if isinstance(arrived, Stranger) else arrived[0] if isinstance(arrived, list) else arrived[1]
    assert type(inner) is Stranger


def test_of_other_objects_only_their_truth_crosses():
    empty = type("Empty", (), {"__len__": lambda self: 0})()
    true, false = Decoder().loads(Encoder(strangers=True).dumps((re.match("a", "a"), empty)))
    assert true and not false and true is not None
    for compare in (lambda: true == 1, lambda: true != 1, lambda: 1 == true, lambda: true < 1, lambda: true in [1]):
        with pytest.raises(Opaque):
            compare()
    with pytest.raises(TypeError):
        hash(true)
    with pytest.raises(Malformed):
        Decoder().loads(b'{"n": [["s", [["x", "E", true]]]], "v": ["r", 0]}')


def test_shared_and_cyclic_containers_keep_their_identity():
    inner: list = []
    inner.append(inner)
    found = travel([inner, inner])
    assert found[0] is found[1] and found[0][0] is found[0]


def test_an_answer_updates_the_senders_own_containers():
    numbers, table = [3, 1, 2], {"a": [1]}
    sent = Encoder()
    text = sent.dumps(((numbers, table), {}))
    there = Decoder()
    (far_numbers, far_table), _ = there.loads(text)
    far_numbers.sort()
    far_table["a"].append(2)
    answer = Decoder(sent.nodes).loads(Encoder(there.nodes).dumps(far_numbers))
    assert answer is numbers and numbers == [1, 2, 3] and table == {"a": [1, 2]}


BAD = [
    b"",
    b"{",
    b"[]",
    b'{"v": 1}',
    b'{"n": [], "v": ["r", 0]}',
    b'{"n": [["l", []]], "v": ["r", -1]}',
    b"\xff",
    b'{"n": [["x", []]], "v": 1}',
    b'{"n": [["d", [[["r", 0], 1]]]], "v": 1}',
    b'{"n": [], "v": ["T", "exec"]}',
    b'{"n": [], "v": {"a": 1}}',
    b'{"n": [], "v": ["?", 1]}',
    b'{"n": [], "v": []}',
    b'{"n": 3, "v": 1}',
    b'{"n": [["l", []]], "v": ["r", 0.0]}',
    b'{"n": [], "v": ["i", "zz"]}',
    b'{"n": [], "v": ["q", 1, 0]}',
    b'{"n": [], "v": ["g", 1, 2, 0]}',
    b'{"n": [], "v": ["m", "one"]}',
    b'{"n": [], "v": ' + b"9" * 9999 + b"}",
]


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_malformed_messages_are_named(text):
    with pytest.raises(Malformed):
        Decoder().loads(text)


def test_an_answer_cannot_change_the_type_of_an_argument():
    sent = Encoder()
    sent.dumps([1])
    with pytest.raises(Malformed):
        Decoder(sent.nodes).loads(b'{"n": [["d", []]], "v": 1}')


@settings(max_examples=200, deadline=None)
@given(st.recursive(SCALARS.filter(lambda value: not isinstance(value, bytes)), st.lists, max_leaves=8), st.data())
def test_random_messages_end_in_a_value_or_a_named_error(value, data):
    text = json.dumps({"n": data.draw(st.just([]) | st.just([["l", [value]]])), "v": value}).encode()
    try:
        Decoder().loads(text)
    except Malformed:
        pass
