"""The notebooks run from top to bottom with a model of the ci universe; none keeps outputs."""

from __future__ import annotations

import ast
import shutil
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@dataclass(frozen=True)
class Run:
    """How a test runs a notebook."""

    settings: str
    """What follows ``CONFIG = ...`` in the settings cell: the same names, small numbers."""
    n_pictures: int
    says: tuple[str, ...] = ()
    """Texts that it must print."""


RUNS = {
    "01_quickstart": Run("N_HALOES, N_SAMPLES = 4, 3", 2),
    "02_many_haloes": Run(
        "N_REALIZATIONS, N_BINS, WORKERS = 3, 2, 0", 2, ("3 of 3 chunks are done, 3 of them now",)
    ),
    "03_power_spectra": Run(
        """MODELS = {
            "consistency": "runs/consistency/model.safetensors",
            "untuned": "runs/consistency/phases/03-ect.safetensors",
            "VDM": "runs/vdm/model.safetensors",
        }
N_HALOES, N_SAMPLES = 12, 2""",
        3,
        ("untuned         1 network evaluations", "python train_unified.py --model vdm"),
    ),
    "04_calibration": Run(
        "N_HALOES, N_DRAWS, N_MEMBERS, N_FOLDS, WORKERS = 6, 8, 8, 2, 1",
        5,
        ("6 cutouts of 6 haloes, 4 truths of each", "exact draws  AUC"),
    ),
    "05_your_own_simulation": Run(
        'FOLDER, N_BOXES, STEPS = "runs/own", 6, (2, 2, 2)',
        4,
        ("masses per pixel must not be negative", "the model is conditioned on Omega_m, sigma_8"),
    ),
}


def test_all_notebooks_are_run():
    assert [path.stem for path in NOTEBOOKS] == list(RUNS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_cleared(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # zmq, outside our control
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, trained_run, tmp_path):
    run, folder = RUNS[path.stem], tmp_path / "copy"
    shutil.copytree(trained_run.folder, folder)  # notebooks write beside the run
    notebook = nbformat.read(path, as_version=4)
    settings = notebook.cells[1]
    assert settings.source.startswith("CONFIG = ")
    config = folder / trained_run.config.relative_to(trained_run.folder)
    replacement = f"CONFIG = {str(config)!r}\n{run.settings}"
    assert _assigned(replacement) == _assigned(settings.source)
    settings.source = replacement
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in _outputs(cell)]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == run.n_pictures
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert [text for text in run.says if text not in printed] == []


def _assigned(source: str) -> set[str]:
    names = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def _outputs(cell: NotebookNode) -> list[NotebookNode]:
    return cell.outputs if cell.cell_type == "code" else []
