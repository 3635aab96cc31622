"""Batches as pure functions of the step."""

from __future__ import annotations

import numpy as np
import torch
from builders import make_config, make_cutouts

from halo_cm.data.dataset import TrainingData, batch_rows, turn
from halo_cm.data.normalize import Normalization


def test_every_epoch_shows_every_row_once():
    n, size = 50, 8
    rows = np.concatenate([batch_rows(3, n, step, size)[0] for step in range(25)])
    assert len(rows) == 4 * n
    for epoch in range(4):
        assert sorted(rows[epoch * n : (epoch + 1) * n]) == list(range(n))
    assert list(rows[:n]) != list(rows[n : 2 * n])


def test_a_step_can_be_repeated_alone():
    again, other = batch_rows(3, 50, 17, 8), batch_rows(4, 50, 17, 8)
    assert np.array_equal(batch_rows(3, 50, 17, 8)[0], again[0])
    assert not np.array_equal(again[0], other[0])


def test_turns_are_the_eight_symmetries_of_the_square():
    x = torch.arange(9.0).view(1, 1, 3, 3).expand(8, 1, 3, 3)
    turned = turn(x, np.arange(8))
    flat = {tuple(t.flatten().tolist()) for t in turned}
    assert len(flat) == 8
    assert torch.equal(turned[0], x[0])
    # rotations and reflections keep the neighbours of the centre
    for t in turned:
        cross = {t[0, 0, 1].item(), t[0, 1, 0].item(), t[0, 1, 2].item(), t[0, 2, 1].item()}
        assert cross == {1, 3, 5, 7} and t[0, 1, 1] == 4


def test_each_map_is_turned_by_its_own_symmetry():
    x = torch.randn(5, 2, 4, 4)
    turns = np.array([0, 2, 1, 7, 2])
    together = turn(x, turns)
    for i, k in enumerate(turns):
        assert torch.equal(together[i : i + 1], turn(x[i : i + 1], np.array([k])))


def test_cutouts_are_named_by_their_halo():
    cutouts = make_cutouts(n=12, split=2)
    normalization = Normalization.fit(make_config().normalization, cutouts)
    data = TrainingData(cutouts, normalization, torch.device("cpu"))
    named = data.describe(torch.tensor([3, 11]))
    assert named == "row 3 (box 2 halo 3 axis 0 draw 0), row 11 (box 2 halo 11 axis 0 draw 0)"
