"""The Python language itself: classes, generators, closures, exceptions, comprehensions, pattern matching, async."""
import asyncio
import collections
import contextlib
import dataclasses
import enum
import functools
import itertools
import sys
import threading
import weakref


@dataclasses.dataclass(order=True, frozen=True)
class Point:
    x: int
    y: int = 0

    def __add__(self, other):
        return Point(self.x + other.x, self.y + other.y)


class Colour(enum.Flag):
    RED = enum.auto()
    GREEN = enum.auto()


class Meta(type):
    names = []

    def __new__(cls, name, bases, space):
        cls.names.append(name)
        return super().__new__(cls, name, bases, space)


class A(metaclass=Meta):
    def who(self):
        return "A"


class B(A):
    def who(self):
        return "B" + super().who()


class C(A):
    def who(self):
        return "C" + super().who()


class D(B, C):
    __slots__ = ("v",)

    def __getattr__(self, name):
        return f"<{name}>"


def primes():
    seen = []
    for n in itertools.count(2):
        if all(n % p for p in itertools.takewhile(lambda p: p * p <= n, seen)):
            seen.append(n)
            yield n


def shape(value):
    match value:
        case {"kind": "circle", "r": r}:
            return r * r
        case [x, *rest] if rest:
            return (x, len(rest))
        case Point(x=0):
            return "on axis"
        case str() | bytes():
            return "text"
        case _:
            return None


@functools.lru_cache(maxsize=None)
def ways(n, k):
    return 1 if n == 0 else 0 if n < 0 or k == 0 else ways(n - k, k) + ways(n, k - 1)


@contextlib.contextmanager
def tag(name):
    print("enter", name)
    try:
        yield name
    except ValueError as e:
        print("swallowed", e)
    finally:
        print("leave", name)


async def worker(n, queue):
    for i in range(3):
        await asyncio.sleep(0)
        await queue.put(n * 10 + i)


async def gather():
    queue = asyncio.Queue()
    await asyncio.gather(*(worker(n, queue) for n in range(4)))
    return sorted(queue.get_nowait() for _ in range(queue.qsize()))


def recurse(n):
    return n if n == 0 else 1 + recurse(n - 1)


def main():
    print(sorted([Point(2, 1), Point(1, 9), Point(1)]), Point(1) + Point(2, 3), hash(Point(1)) == hash(Point(1, 0)))
    print(Colour.RED | Colour.GREEN, D().who(), [c.__name__ for c in D.__mro__], D().nothing, Meta.names)
    print(list(itertools.islice(primes(), 2000))[-5:], ways(100, 100))
    print([shape(v) for v in ({"kind": "circle", "r": 3}, [1, 2, 3], Point(0), b"x", 5)])
    with tag("one"):
        raise ValueError("inside")
    try:
        try:
            {}["missing"]
        except KeyError as e:
            raise RuntimeError("outer") from e
    except RuntimeError as e:
        print(repr(e), repr(e.__cause__))
    try:
        raise ExceptionGroup("many", [ValueError(1), TypeError(2)])
    except* ValueError as group:
        print("group", group.exceptions)
    except* TypeError:
        print("type")
    print(asyncio.run(gather()))
    totals, lock = collections.Counter(), threading.Lock()

    def count(name):
        for i in range(300):
            with lock:
                totals[name] += i

    threads = [threading.Thread(target=count, args=(f"t{n % 2}",)) for n in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    print(totals)
    sys.setrecursionlimit(20000)
    print(recurse(900))
    try:
        sys.setrecursionlimit(300)
        recurse(5000)
    except RecursionError as e:
        print(type(e).__name__)
    finally:
        sys.setrecursionlimit(1000)
    ref = weakref.ref(C())
    print(ref() is None, f"{1234567.891:,.2f} {255:#x} {'ab':>5}|{3.0!r}|{'é':a<3}", "%s %r %05d" % ("s", "r", 42))
    d = {i: str(i) for i in range(1000)}
    for i in range(0, 1000, 2):
        del d[i]
    print(len(d), list(d)[:3], sum(d), {*"hello"} == set("olleh"), [*range(3), *"ab"], (lambda *a, k=1, **kw: (a, k, kw))(1, 2, z=3))
    exec(compile("out = [x ** 2 for x in range(5) if x & 1]", "<text>", "exec"), space := {})
    print(space["out"], "".join(reversed("abc")), "a,b,,c".split(","), "x".join("abc"), "ÄÖ".casefold(), "ß".upper(), b"\xff\x00".hex())


main()
