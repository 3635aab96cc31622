"""Trainings that are interrupted, and what they must have in common with others."""

from __future__ import annotations

import atexit
import os
import signal

import pytest
import torch

from halo_cm.training import loop
from halo_cm.training.checkpoint import read_tensors
from halo_cm.training.run import train


def train_until_ctrl_c(config, monkeypatch, stop):
    """Train, with a real SIGINT after the step ``stop`` (phase, step)."""
    original = loop.Trainer._step

    def interrupting(self, phase, step, task):
        original(self, phase, step, task)
        if (phase.index, step) == stop:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", interrupting)
        with pytest.raises(KeyboardInterrupt):
            train(config)


def assert_equal_weights(a, b):
    ours, theirs = (read_tensors(p, "emulator")[1] for p in (a, b))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def abort_when_the_interpreter_goes_down():
    """What threads of a process group have been seen to do, after all work is done."""
    atexit.register(os.abort)
