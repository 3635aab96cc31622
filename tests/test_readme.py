"""Every command and every line of Python in the README works."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from halo_cm.cli import app
from halo_cm.config.ini import read_ini
from halo_cm.config.objective import available_objectives
from halo_cm.data.splits import check_splits

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
#: Commands that are only checked, because they take minutes.
EXPENSIVE = ("simulate", "ablate")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands() -> list[list[str]]:
    lines = "\n".join(blocks("bash")).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def as_halo_cm(words: list[str]) -> list[str] | None:
    """Arguments of halo-cm; None for what is not ours."""
    if words[0] == "halo-cm":
        return words[1:]
    return ["train", *words[2:]] if words[:2] == ["python", "train_unified.py"] else None


OURS = [arguments for words in commands() if (arguments := as_halo_cm(words)) is not None]


@pytest.fixture(scope="module")
def folder(trained_run, tmp_path_factory):
    """A copy of the trained run, to be used as a user would."""
    copy = tmp_path_factory.mktemp("readme") / "checkout"
    shutil.copytree(trained_run.folder, copy)
    return copy


def test_the_readme_has_commands_and_code():
    assert {arguments[0] for arguments in OURS} == set(typer.main.get_command(app).commands)
    assert len(blocks("python")) == 2
    others = [words for words in commands() if as_halo_cm(words) is None]
    assert {words[0] for words in others} == {"make"}


def test_targets_of_make_exist(repository):
    makefile = (repository / "Makefile").read_text()
    targets = {words[1] for words in commands() if words[0] == "make"}
    targets |= set(re.findall(r"`make ([\w-]+)", README))
    assert {"quickstart", "test", "setup", "test-slow"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        assert re.search(rf"^\.PHONY:.*\b{target}\b", makefile, re.MULTILINE), target


def test_linked_files_exist(repository):
    linked = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert linked
    assert [link for link in linked if not (repository / link).exists()] == []


def test_all_objectives_are_listed():
    listed = re.findall(r"^\| `(\w+)` \| .*$", README.split("## Configuration")[1], re.MULTILINE)
    assert set(available_objectives()) <= set(listed)


def test_the_defaults_of_the_legacy_keys_are_those_of_the_table(tmp_path):
    table = README.partition("INI files with the legacy keys")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `?([^|`]+)`? \|", table, re.MULTILINE)
    assert [key for key, _ in rows] == [
        "ct_n_steps",
        "ema_decay",
        "denoising_warmup_epochs",
        "use_denoising_pretraining",
        "n_sampling_steps",
        "x0_mode",
    ]
    path = tmp_path / "legacy.ini"
    written = "".join(f"{key} = {value}\n" for key, value in rows)
    assert read_ini("data = a.h5\n" + written, path) == read_ini("data = a.h5\n", path)


@pytest.mark.parametrize("arguments", OURS, ids=" ".join)
def test_options_exist(arguments):
    name, *rest = arguments
    command = typer.main.get_command(app).commands[name]
    command.make_context(name, rest)  # raises on unknown options and missing values


@pytest.mark.parametrize("arguments", [a for a in OURS if a[0] not in EXPENSIVE], ids=" ".join)
def test_command_runs(arguments, folder, monkeypatch):
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output


def test_python_runs(folder, monkeypatch):
    """After the commands, as in the README; the second block reads what `generate` wrote."""
    monkeypatch.chdir(folder)
    arguments = next(a for a in OURS if a[0] == "generate")
    assert CliRunner().invoke(app, arguments).exit_code == 0
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["gas"].shape == (names["haloes"].sizes["halo"], 2)


def test_python_of_the_page_on_the_universe_runs(repository, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (block,) = blocks("python", (repository / "docs" / "universe.md").read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    exec(compile(block, "universe.md", "exec"), names)
    assert names["fields"].min() >= 0


def test_python_of_the_page_on_data_runs(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (repository / "docs" / "data_format.md").read_text(encoding="utf-8")
    (block,) = blocks("python", page)
    exec(compile(block, "data_format.md", "exec"), {})
    check_splits(tmp_path / "mine.h5")
