"""Sizes of chunks."""

from __future__ import annotations

import pytest

from halo_cm.errors import ConfigError
from halo_cm.generation.options import choose_chunk


def test_chunk_sizes():
    field = 4 * 3 * 64**2
    # 32 MB hold 42 haloes of 16 realizations; batches of 32 fields are pairs of haloes
    assert choose_chunk(100_000, 16, field, 32, None) == 42
    assert choose_chunk(1000, 16, field, 32, None) == 6
    assert choose_chunk(1000, 1, field, 32, None) == 32
    assert choose_chunk(10, 1, field, 32, None) == 10
    assert choose_chunk(100, 2000, field, 32, None) == 1
    assert choose_chunk(100, 16, field, 32, 7) == 7
    with pytest.raises(ConfigError, match=r"lower haloes_per_chunk"):
        choose_chunk(10_000, 16, field, 32, 5000)
