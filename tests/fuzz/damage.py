"""Damage to bytes, as disks, copies and people do it."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

# Each example is one small file; together the fuzz tests take half a minute of one core.
MANY = settings(max_examples=300)
SOME = settings(max_examples=100)


@st.composite
def damaged(draw, whole: bytes, words: tuple[bytes, ...] = (b"\0", b"\xff")) -> bytes:
    """Cut, flip, insert, repeat or lose bytes of a valid file; ``words`` mean something in it."""
    found = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(found) - 1, 0)))
        kind = draw(st.sampled_from(["flip", "set", "insert", "word", "lose", "repeat", "cut"]))
        length = draw(st.integers(1, 40))
        if kind == "flip" and found:
            found[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set" and found:
            found[place] = draw(st.integers(0, 255))
        elif kind == "insert":
            found[place:place] = draw(st.binary(max_size=8))
        elif kind == "word":
            found[place:place] = draw(st.sampled_from(words))
        elif kind == "lose":
            del found[place : place + length]
        elif kind == "repeat":
            found[place:place] = found[place : place + length]
        elif kind == "cut":
            del found[place:]
    return bytes(found)


def told(error: Exception, *words: str, most: int = 20_000) -> None:
    """Hold a refusal to what a person can read: some words, not a whole file.

    It quotes names as they are; that they steer no terminal is the command line's affair.
    """
    message = str(error)
    assert message.strip()
    assert len(message) <= most, len(message)
    assert [word for word in words if word not in message] == [], message
