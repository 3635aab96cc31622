"""Which precision a training computes in."""

from __future__ import annotations

import pytest
import torch

from halo_cm.config.network import UNetConfig
from halo_cm.networks.build import build_network
from halo_cm.training import precision
from halo_cm.training.precision import mixed_precision

AMD = "processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 avx512_vnni\nbugs\t\t: bf16\n"
INTEL = "processor\t: 0\nmodel name\t: bf16\nflags\t\t: fpu avx512f avx512_vnni\nbugs\t\t: bf16\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd i8mm bf16\n"


@pytest.mark.parametrize(("content", "found"), [(AMD, "bf16"), (INTEL, "no"), (ARM, "bf16")])
def test_auto_is_what_the_processor_can(tmp_path, monkeypatch, content, found) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(content)
    monkeypatch.setattr(precision, "_PROCESSOR", path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    precision._processor_has_bf16.cache_clear()
    try:
        assert mixed_precision("auto") == found
        assert (mixed_precision("no"), mixed_precision("bf16")) == ("no", "bf16")
        path.unlink()
        precision._processor_has_bf16.cache_clear()
        assert mixed_precision("auto") == "no"
    finally:
        precision._processor_has_bf16.cache_clear()


@pytest.mark.parametrize("dims", [2, 3])
def test_networks_keep_channels_last_in_memory(dims: int) -> None:
    """Their maps then have this layout too; both give the same numbers."""
    shape = UNetConfig(patch_size=2, channels=(16, 16), head_channels=8)
    network = build_network(3, 4, 7, shape, dims)
    plain = build_network(3, 4, 7, shape, dims).to(memory_format=torch.contiguous_format)
    plain.load_state_dict(network.state_dict())
    layout = torch.channels_last if dims == 2 else torch.channels_last_3d
    large = [w for w in network.parameters() if w.ndim == dims + 2 and w.shape[2] > 1]
    assert large and all(w.is_contiguous(memory_format=layout) for w in large)
    noise = torch.Generator().manual_seed(0)
    size = (8,) * dims
    inputs = [torch.randn(2, *s, generator=noise) for s in ((3, *size), (), (4, *size), (7,))]
    with torch.no_grad():
        torch.testing.assert_close(network(*inputs), plain(*inputs), rtol=1e-4, atol=1e-5)
