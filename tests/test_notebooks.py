"""The notebooks run from top to bottom with a model of the ci universe; none keeps outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert [path.name for path in NOTEBOOKS][:1] == ["01_quickstart.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_cleared(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # zmq, outside our control
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, trained_run):
    notebook = nbformat.read(path, as_version=4)
    settings = notebook.cells[1]
    assert settings.source.startswith("CONFIG = ")
    settings.source = f"CONFIG = {str(trained_run.config)!r}\nN_HALOES, N_SAMPLES = 4, 3"
    resources = {"metadata": {"path": str(trained_run.folder)}}
    NotebookClient(notebook, timeout=120, resources=resources).execute()
    pictures = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 2
