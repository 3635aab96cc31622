"""Reading the training log."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from halo_cm.errors import DataError
from halo_cm.report import read_training_log


@pytest.fixture
def write(tmp_path):
    def write_lines(lines, tail: str = ""):
        path = tmp_path / "log.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)
        return path

    return write_lines


def test_steps_of_phases_follow_each_other(write, log_lines) -> None:
    first, second = read_training_log(write(log_lines))
    assert (first.name, second.name) == ("denoising", "energy_score")
    np.testing.assert_array_equal(first.step, [1, 11, 21, 31])
    np.testing.assert_array_equal(second.step, [32, 42, 52, 62])
    assert (first.end, second.end) == (31, 62)
    np.testing.assert_allclose(second.loss, 0.5 / np.array([1, 11, 21, 31]))
    np.testing.assert_array_equal(second.validation_step, [62])
    np.testing.assert_array_equal(second.score, [0.5])


def test_repeated_steps_of_a_resumed_training_count_once(write, log_lines) -> None:
    resumed = [{**line, "loss": 9.0} for line in log_lines[2:4]]
    first = read_training_log(write(log_lines[:4] + resumed))[0]
    np.testing.assert_array_equal(first.step, [1, 11, 21, 31])
    np.testing.assert_allclose(first.loss, [4, 4 / 11, 9, 9])


def test_the_weights_that_were_kept_are_known(write, log_lines) -> None:
    validations = [line for line in log_lines if "validation" in line]
    validations[0]["kept"], validations[1]["kept"] = True, False
    first, second = read_training_log(write(log_lines))
    np.testing.assert_array_equal(first.kept, [31])
    assert second.kept.size == 0
    again = [{**validations[0], "kept": False}]  # of a resumed training, which counts
    assert read_training_log(write(log_lines + again))[0].kept.size == 0


def test_a_cut_off_last_line_is_reported(write, log_lines, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        phases = read_training_log(write(log_lines, tail='{"time": 3, "lo'))
    assert len(phases) == 2
    assert "the last line is cut off" in caplog.text


def test_bad_logs(write, log_lines, tmp_path) -> None:
    with pytest.raises(DataError, match="train the model first"):
        read_training_log(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="holds no training step"):
        read_training_log(write([]))
    path = write(log_lines[:1], tail="oops\n" + json.dumps(log_lines[1]) + "\n")
    with pytest.raises(DataError, match="line 2: not JSON"):
        read_training_log(path)
    for line in ({"loss": "high"}, {"validation": {"loss": 1}}, {"step": None}, [1, 2]):
        with pytest.raises(DataError, match=r"line 2: .* is not a line of a training log"):
            read_training_log(write([log_lines[0], line]))
