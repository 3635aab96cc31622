"""The transformer: what its blocks and its position embedding must do."""

from __future__ import annotations

import pytest
import torch

from halo_cm.config.network import DiTConfig
from halo_cm.networks.dit import DiT, DiTBlock, position_embedding

WIDTH, N_EMBEDDING = 16, 12


def block(heads=2, mlp_ratio=4):
    torch.manual_seed(0)
    return DiTBlock(WIDTH, heads, mlp_ratio, N_EMBEDDING)


def opened(**options):
    """A block whose modulation is not zero."""
    made = block(**options)
    torch.nn.init.normal_(made.modulation.weight, std=0.5)
    return made


def tokens(batch=2, n=9):
    return torch.randn(batch, n, WIDTH), torch.randn(batch, N_EMBEDDING)


def test_a_block_starts_as_the_identity():
    x, embedding = tokens()
    assert torch.equal(block()(x, embedding), x)


def test_a_block_does_not_know_the_order_of_its_tokens():
    made, (x, embedding) = opened(), tokens()
    order = torch.randperm(x.shape[1])
    out = made(x, embedding)
    torch.testing.assert_close(made(x[:, order], embedding), out[:, order])
    assert not torch.allclose(out, x)


def test_every_token_sees_every_other():
    made, (x, embedding) = opened(), tokens(batch=1)
    jacobian = torch.autograd.functional.jacobian(lambda y: made(y, embedding).sum(-1)[0], x)
    assert (jacobian[:, 0].abs().amax(-1) > 0).all()


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("mlp_ratio", [1, 4])
def test_parameters_of_a_block(heads, mlp_ratio):
    w, m, e = WIDTH, mlp_ratio * WIDTH, N_EMBEDDING
    attention = 3 * w * w + 3 * w + w * w + w
    mlp = w * m + m + m * w + w
    modulation = 6 * w * (e + 1)
    found = sum(p.numel() for p in block(heads, mlp_ratio).parameters())
    assert found == attention + mlp + modulation


def test_attention_agrees_with_its_definition():
    made, (x, _) = block(heads=2), tokens()
    q, k, v = made.qkv(x).chunk(3, -1)
    heads = []
    for part in (slice(0, 8), slice(8, 16)):
        scores = q[..., part] @ k[..., part].transpose(1, 2) / 8**0.5
        heads.append(scores.softmax(-1) @ v[..., part])
    torch.testing.assert_close(made._attend(x), made.project(torch.cat(heads, -1)))


def test_depth_and_width_are_those_of_the_config():
    shape = DiTConfig(patch_size=2, width=24, depth=3, n_heads=3, mlp_ratio=2)
    network = DiT(3, 4, 7, shape)
    assert len(network.blocks) == 3
    assert {b.heads for b in network.blocks} == {3}
    assert network.blocks[0].mlp[0].weight.shape == (48, 24)


@pytest.mark.parametrize("size", [(4, 4), (6, 3), (2, 3, 4)])
def test_positions_differ_and_their_products_tell_the_displacement(size):
    embedding = position_embedding(size, 24, torch.zeros(1, dtype=torch.float64))
    n = embedding.shape[0]
    assert embedding.dtype == torch.float64 and embedding.shape[1] == 24
    gram = embedding @ embedding.T
    apart = gram.diagonal()[:, None] - gram
    assert (apart[~torch.eye(n, dtype=bool)] > 1e-3).all()
    grid = torch.stack(torch.meshgrid(*[torch.arange(s) for s in size], indexing="ij"), -1)
    grid = grid.reshape(n, len(size))
    by_displacement = {}
    for i in range(n):
        for j in range(n):
            key = tuple((grid[i] - grid[j]).tolist())
            assert by_displacement.setdefault(key, gram[i, j].item()) == pytest.approx(
                gram[i, j].item(), abs=1e-5
            )


def test_the_centre_keeps_its_embedding_in_a_wider_map():
    like = torch.zeros(1)
    small = position_embedding((4, 4), 16, like).view(4, 4, 16)
    wide = position_embedding((8, 8), 16, like).view(8, 8, 16)
    torch.testing.assert_close(wide[2:6, 2:6], small)


def test_a_width_that_the_axes_cannot_share_is_filled_with_zeros():
    embedding = position_embedding((2, 2, 2), 16, torch.zeros(1))
    assert embedding.shape == (8, 16) and not embedding[:, 12:].any()
    assert embedding[:, :12].any(0).all()


def test_without_positions_only_the_content_of_the_patches_counts(monkeypatch):
    """The positions enter through the embedding alone: without it the backbone is equivariant."""
    shape = DiTConfig(patch_size=2, width=16, depth=2, n_heads=2, embedding_dimension=N_EMBEDDING)
    torch.manual_seed(0)
    network = DiT(3, 4, 7, shape)
    for made in network.blocks:
        torch.nn.init.normal_(made.modulation.weight, std=0.5)
    h, embedding = torch.randn(2, 16, 4, 6), torch.randn(2, N_EMBEDDING)

    def rolled_alike():
        moved = network.backbone(h.roll((1, 2), (2, 3)), embedding)
        out = network.backbone(h, embedding).roll((1, 2), (2, 3))
        return torch.allclose(moved, out, rtol=1e-4, atol=1e-5)

    assert not rolled_alike()
    monkeypatch.setattr(
        "halo_cm.networks.dit.position_embedding", lambda size, width, like: torch.zeros(1)
    )
    assert rolled_alike()
