"""Plain values across a process border: tagged JSON in, freshly built objects of exact standard types out.

Nothing that crosses carries code: no class, method or hash of the sender reaches the receiver. Kept apart and kept
equal: None, bool, int, float (nan, inf, -0.0), complex, str (surrogates included), bytes, bytearray, tuple, list,
set, frozenset, dict, range, Counter, OrderedDict, defaultdict, deque, Fraction, Decimal, built-in types and
iterators (as an iterator over what they yield). An instance of a subclass of a plain type travels as that plain
type. Of any other object an answer tells only whether it is true: what arrives is a Stranger, which refuses every
comparison (Opaque); as an argument such an object is refused at once.

Shared and cyclic containers keep their identity: mutable containers are the nodes of a table, and the receiver of an
answer updates its own nodes in place, so a function that sorts its argument is seen to have sorted it.

Form: {"n": [node, ...], "v": value}; scalars stand for themselves, everything else is [tag, ...].
"""

from __future__ import annotations

import builtins
import json
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

ITEMS_OF_ITERATOR = 10_000
_SMALL = 1 << 53
_MUTABLE = (list, dict, set, bytearray, Counter, OrderedDict, defaultdict, deque)
_PLAIN: tuple[Any, ...] = (bool, int, float, complex, str, bytes, bytearray, tuple, frozenset, set, list)
_PLAIN += (Counter, OrderedDict, defaultdict, dict, deque, Fraction, Decimal)
_EXACT = frozenset(_PLAIN)
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_TYPES = {name: value for name, value in vars(builtins).items() if isinstance(value, type)}
_NAMES: dict[type, str] = {value: name for name, value in reversed(_TYPES.items())}


class Opaque(TypeError):
    """An object that cannot cross, named by its type."""


class Stranger:
    """Stands for an object that is no plain data (a match of a regular expression, say): true or false, no more."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, kind: str, truth: bool) -> None:
        self.kind, self.truth = kind, truth

    def __bool__(self) -> bool:
        return self.truth

    def refuse(self, other: object) -> bool:
        """Any comparison."""
        raise Opaque(f"a value of type {self.kind} is no plain data and cannot be compared")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = refuse


class Malformed(ValueError):
    """What arrived is not in the form this module writes."""


class Encoder:
    """Writes values; `nodes` lists the containers by number. `strangers`: other than plain data may go along."""

    def __init__(self, nodes: list[Any] | None = None, strangers: bool = False) -> None:
        self.nodes: list[Any] = list(nodes or ())
        self.strangers = strangers
        self.places = {id(node): place for place, node in enumerate(self.nodes)}

    def dumps(self, value: Any) -> bytes:
        """The value and every container it reaches, as ASCII JSON. Raises Opaque, RecursionError."""
        top, table, done = self.value(value), [], 0
        while done < len(self.nodes):  # writing a node may add further ones
            table.append(self.node(self.nodes[done]))
            done += 1
        return json.dumps({"n": table, "v": top}, separators=(",", ":")).encode("ascii")

    def value(self, item: Any) -> Any:
        """One value as JSON data."""
        kind = type(item)
        if item is None or kind is bool or kind is str:
            return item
        if kind is int:
            return item if -_SMALL < item < _SMALL else ["i", hex(item)]
        if kind is float:
            return item if item - item == 0 else ["f", repr(item)]
        if kind is tuple:
            return ["t", [self.value(part) for part in item]]
        if kind in _MUTABLE:
            return ["r", self.place(item)]
        return self.rarer(item, kind)

    def place(self, container: Any) -> int:
        """The number of a mutable container."""
        key = id(container)
        if key not in self.places:
            self.places[key] = len(self.nodes)
            self.nodes.append(container)
        return self.places[key]

    def rarer(self, item: Any, kind: type) -> Any:
        """Values of the less common types; subclasses as the plain type they extend."""
        if kind is complex:
            return ["c", self.value(item.real), self.value(item.imag)]
        if kind is bytes:
            return ["b", item.hex()]
        if kind is frozenset:
            return ["z", [self.value(part) for part in item]]
        if kind is range:
            return ["g", *(self.value(part) for part in (item.start, item.stop, item.step))]
        if kind is Fraction:
            return ["q", self.value(item.numerator), self.value(item.denominator)]
        if kind is Decimal:
            return ["m", str(item)]
        if kind is type and item in _NAMES:
            return ["T", _NAMES[item]]
        if isinstance(item, Iterator):
            return ["y", [self.value(part) for part in self.drawn(item)]]
        if kind in _VIEWS:
            return ["s" if kind is not _VIEWS[1] else "y", [self.value(part) for part in item]]
        for base in _PLAIN:
            if isinstance(item, base) and kind not in _EXACT:
                return self.value(base(item))
        if self.strangers:
            return ["x", kind.__name__, bool(item)]
        raise Opaque(f"a value of type {kind.__name__} is no plain data")

    def drawn(self, iterator: Iterator[Any]) -> list[Any]:
        """What an iterator yields, refused where it does not end soon."""
        parts = list(islice(iterator, ITEMS_OF_ITERATOR + 1))
        if len(parts) > ITEMS_OF_ITERATOR:
            raise Opaque(f"an iterator of more than {ITEMS_OF_ITERATOR} items is no plain data")
        return parts

    def node(self, container: Any) -> list[Any]:
        """One entry of the table: tag, contents, and what else its type needs."""
        kind = type(container)
        if kind is list:
            return ["l", [self.value(part) for part in container]]
        if kind is set:
            return ["s", [self.value(part) for part in container]]
        if kind is bytearray:
            return ["a", container.hex()]
        if kind is deque:
            return ["k", [self.value(part) for part in container], container.maxlen]
        pairs = [[self.value(key), self.value(part)] for key, part in container.items()]
        if kind is defaultdict:
            factory = container.default_factory
            return ["e", pairs, _NAMES.get(factory) if isinstance(factory, type) else None]
        tags: dict[type, str] = {dict: "d", Counter: "u", OrderedDict: "o"}
        return [tags[kind], pairs]


_NEW = {"l": list, "s": set, "a": bytearray, "k": deque, "d": dict, "u": Counter, "o": OrderedDict, "e": defaultdict}


class Decoder:
    """Builds values; `known` are this side's own nodes, which take on the contents sent for them."""

    def __init__(self, known: list[Any] | None = None) -> None:
        self.nodes: list[Any] = list(known or ())

    def loads(self, text: bytes) -> Any:
        """The value. Raises Malformed where the form is wrong, RecursionError where it is too deep."""
        try:
            data = json.loads(text)
            table, top = data["n"], data["v"]
            self.nodes += [self.empty(entry) for entry in table[len(self.nodes) :]]
            if len(table) != len(self.nodes):
                raise Malformed(f"{len(table)} nodes where {len(self.nodes)} are known")
            filled = [self.contents(entry) for entry in table]
            for node, entry, parts in zip(self.nodes, table, filled, strict=True):
                self.fill(node, entry[0], parts)
            return self.value(top)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
            raise Malformed(f"a value that cannot be read ({type(error).__name__})") from None

    def empty(self, entry: list[Any]) -> Any:
        """A new container of the entry's type."""
        if entry[0] == "k":
            return deque(maxlen=entry[2])
        if entry[0] == "e":
            return defaultdict(_TYPES[entry[2]] if entry[2] is not None else None)
        return _NEW[entry[0]]()

    def contents(self, entry: list[Any]) -> Any:
        """The parts of a container, built. Keys of sets and dicts are hashed here, by standard types only."""
        tag, raw = entry[0], entry[1]
        if tag == "a":
            return bytes.fromhex(raw)
        if tag in "lsk":
            return [self.value(part) for part in raw]
        return [(self.value(key), self.value(part)) for key, part in raw]

    def fill(self, node: Any, tag: str, parts: Any) -> None:
        """Give a container its contents in place, unless it has exactly these already."""
        if type(node) is not _NEW[tag]:
            raise Malformed("a container changed its type")
        if tag in "la":
            node[:] = parts
            return
        node.clear()
        if tag == "k":
            node.extend(parts)
        elif tag == "s":
            node.update(parts)
        else:
            for key, part in parts:
                node[key] = part

    def value(self, item: Any) -> Any:
        """One value from JSON data."""
        if item is None or type(item) is not list:
            if type(item) is dict:
                raise Malformed("an untagged mapping")
            return item
        tag, rest = item[0], item[1:]
        if tag == "r":
            place = rest[0]
            if type(place) is not int or place < 0:
                raise Malformed("a node's number is no index")
            return self.nodes[place]
        if tag in ("t", "z", "y", "s"):
            parts = [self.value(part) for part in rest[0]]
            makers: dict[str, Any] = {"t": tuple, "z": frozenset, "y": iter, "s": set}
            return makers[tag](parts)
        return self.rarer(tag, rest)

    def rarer(self, tag: str, rest: list[Any]) -> Any:
        """Values of the less common types."""
        if tag == "i":
            return int(rest[0], 16)
        if tag == "f":
            return float(rest[0])
        if tag == "b":
            return bytes.fromhex(rest[0])
        if tag == "m":
            return Decimal(rest[0])
        if tag == "T":
            return _TYPES[rest[0]]
        if tag == "x":
            return Stranger(str(rest[0])[:80], rest[1] is True)
        parts = [self.value(part) for part in rest]
        return {"c": complex, "g": range, "q": Fraction}[tag](*parts)
