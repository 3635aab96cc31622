"""Independent random streams addressed by words, so that any draw can be repeated alone.

A stream is named by a tuple such as ``(seed, "halo", 17, 3)``. Streams with different names are
independent (NumPy's SeedSequence, after O'Neill 2015), and no stream depends on how many others
were drawn before it or on how work was split between processes.
"""

from __future__ import annotations

import hashlib

import numpy as np


def seed_sequence(*words: int | str) -> np.random.SeedSequence:
    """Seed sequence of a named stream.

    Parameters
    ----------
    *words
        Non-negative integers and strings that name the stream, for example ``(seed, "halo", 3)``.
        Families of streams are told apart by a string at a fixed place; integers beside it stay
        below 2^32 and are not left out, since trailing zeros do not count.
    """
    entropy = [_as_integer(word) for word in words]
    return np.random.SeedSequence(entropy)


def derive_seed(*words: int | str) -> int:
    """63-bit seed of a named stream, for generators that take one integer (torch)."""
    return int(seed_sequence(*words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(*words: int | str) -> np.random.Generator:
    """NumPy generator of a named stream."""
    return np.random.Generator(np.random.PCG64(seed_sequence(*words)))


def _as_integer(word: int | str) -> int:
    if isinstance(word, str):
        return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
    if word < 0:
        raise ValueError(f"a seed must not be negative, found {word}")
    return int(word)
