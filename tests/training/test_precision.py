"""Which precision a training computes in."""

from __future__ import annotations

import pytest
import torch

from halo_cm.config.network import UNetConfig
from halo_cm.networks.build import build_network
from halo_cm.training import precision
from halo_cm.training.checkpoint import load_optimizer, optimizer_tensors
from halo_cm.training.precision import mixed_precision
from halo_cm.training.state import Position, load, save

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


def test_auto_is_what_the_gpu_computes_in_not_what_it_emulates(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    asked = []

    def supported(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert mixed_precision("auto") == "no" and asked == [False]


def test_the_precision_is_recorded_and_another_one_is_said(tmp_path, caplog) -> None:
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    position = Position(0, 1, 1, None, 1, (), precision="bf16")
    path = tmp_path / "state.safetensors"
    save(path, position, {"network": network}, optimizer)
    state = load(path)
    assert state is not None and state.position.precision == "bf16"
    state.restore({"network": network}, optimizer, 1, "bf16")
    assert not caplog.records
    state.restore({"network": network}, optimizer, 1, "no")
    assert "started with precision 'bf16'" in caplog.text


def test_the_state_of_the_optimizer_is_laid_out_as_the_weights() -> None:
    """Steps are slower otherwise; the numbers are the same."""
    network = build_network(3, 4, 7, UNetConfig(channels=(16, 16), head_channels=8))
    for weights in network.parameters():
        weights.grad = torch.randn_like(weights)
    before, after = (torch.optim.AdamW(network.parameters()) for _ in range(2))
    before.step()
    saved = {name: value.contiguous() for name, value in optimizer_tensors(before).items()}
    load_optimizer(after, saved)
    for weights, state in after.state.items():
        assert state["exp_avg"].stride() == weights.stride()
        assert torch.equal(state["exp_avg"], before.state[weights]["exp_avg"])


@pytest.mark.parametrize("dims", [2, 3])
def test_networks_keep_channels_last_in_memory(dims: int) -> None:
    """Their maps then have this layout too; both give the same numbers."""
    shape = UNetConfig(patch_size=2, channels=(16, 16), head_channels=8)
    network = build_network(3, 4, 7, shape, dims)
    noise = torch.Generator().manual_seed(0)
    for weights in network.parameters():  # the last layer is zero at first
        torch.nn.init.normal_(weights, std=0.1, generator=noise)
    plain = build_network(3, 4, 7, shape, dims).to(memory_format=torch.contiguous_format)
    plain.load_state_dict(network.state_dict())
    layout = torch.channels_last if dims == 2 else torch.channels_last_3d
    large = [w for w in network.parameters() if w.ndim == dims + 2 and w.shape[2] > 1]
    assert large and all(w.is_contiguous(memory_format=layout) for w in large)
    size = (8,) * dims
    inputs = [torch.randn(2, *s, generator=noise) for s in ((3, *size), (), (4, *size), (7,))]
    maps: list[torch.Tensor] = []
    network.stem.register_forward_hook(lambda module, given, out: maps.append(out))
    with torch.no_grad():
        found = network(*inputs)
        torch.testing.assert_close(found, plain(*inputs), rtol=1e-3, atol=1e-4)
    assert found.abs().mean() > 0.1
    assert maps[0].is_contiguous(memory_format=layout)
