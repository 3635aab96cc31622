"""Ablations: variants of one model on a small budget, trained and compared group by group.

A variant is a chain of runs, one for each of its phases, and each run starts from the weights at
the end of the one before. A run is known by its settings and by what it starts from; variants that
share their first phases therefore share the runs, in any group. Phases that are references are left
out.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halo_cm.atomic import write_json, write_text
from halo_cm.benchmark import Summary
from halo_cm.benchmark.summary import SCHEMA_VERSION
from halo_cm.compare import CompareOptions, compare
from halo_cm.config.loader import load_config
from halo_cm.config.suggest import nearest
from halo_cm.errors import ConfigError, TrainingError
from halo_cm.pipeline import prepare_data
from halo_cm.report import markdown_table
from halo_cm.statistics import STATISTICS_VERSION, scattering_available
from halo_cm.training.checkpoint import MODEL_KIND, read_facts
from halo_cm.training.run import train
from halo_cm.training.run_folder import RunFolder
from halo_cm.versions import file_sha256

if TYPE_CHECKING:
    from halo_cm.config.ablations import Ablations
    from halo_cm.config.schema import Config

logger = logging.getLogger(__name__)

_SHARED = "shared"
_TABLE = "table.json"


@dataclass(frozen=True)
class Link:
    """One phase of a variant, a run of its own.

    Attributes
    ----------
    config
        Of the run, with one phase.
    core_seconds
        Estimated cost of the phase [s].
    """

    config: Config
    core_seconds: float

    @property
    def folder(self) -> RunFolder:
        """Where the run is."""
        return RunFolder(self.config)

    @property
    def end(self) -> Path:
        """Weights at the end of the phase, which the next link starts from."""
        return self.folder.phase_model(0, self.config.training.phases[0].objective["name"])


@dataclass(frozen=True)
class Variant:
    """One row (for each number of steps) of a group's table.

    Attributes
    ----------
    group, name
        Its folder is ``<out>/<group>/<name>-<digest>``, or that of an equal variant of another
        group; a variant that is changed gets a new one.
    changes
        What the file of ablations says of it.
    links
        Its phases in order.
    """

    group: str
    name: str
    changes: tuple[str, ...]
    links: tuple[Link, ...]

    @property
    def model(self) -> Path:
        """Model file of the variant."""
        return self.links[-1].folder.model


def plan(ablations: Ablations, out: Path, *, data: Path | None = None) -> list[Variant]:
    """All variants with their runs; trains nothing.

    Parameters
    ----------
    ablations
        From `halo_cm.config.ablations.load_ablations`.
    out
        Folder of everything that is trained and compared.
    data
        Cutouts in the place of those of the base configuration.

    Raises
    ------
    ConfigError
        If a change is not valid, a step has no levels, or an objective no estimated cost.
    """
    claimed: dict[str, Path] = {}
    found = []
    for group_name, group in ablations.groups.items():
        if group_name == _SHARED:
            raise ConfigError(
                f"groups.{_SHARED}: the name of the folder of shared runs; choose another"
            )
        for name, changes in group.variants.items():
            overrides = (*ablations.changes, *group.changes, *changes)
            try:
                config = load_config(ablations.config, overrides)
                for n_steps in group.steps:
                    config.sampling.check_steps(n_steps, "steps", config.diffusion)
            except (ConfigError, ValueError) as error:
                raise ConfigError(f"groups.{group_name}.variants.{name}: {error}") from error
            config = config if data is None else config.with_data(data)
            place = out / group_name / name
            links = _chain(config, place, out / _SHARED, claimed, ablations)
            found.append(Variant(group_name, name, changes, links))
    return found


def describe_plan(variants: list[Variant]) -> str:
    """A line for each variant and what it still costs; runs that are shared count once."""
    lines, seen, total = [], set[Path](), 0.0
    for variant in variants:
        new = [k for k in variant.links if k.folder.path not in seen and not k.folder.finished]
        seen |= {link.folder.path for link in variant.links}
        phases = " -> ".join(
            f"{p.objective['name']} {p.steps or f'{p.epochs} epochs'}"
            for p in (link.config.training.phases[0] for link in variant.links)
        )
        left, whole = (sum(k.core_seconds for k in links) for links in (new, variant.links))
        total += left
        state = f"{left:.0f} of {whole:.0f} core-seconds left"
        if all(link.folder.finished for link in variant.links):
            state = "trained"
        lines.append(f"{variant.group}/{variant.name}: {phases}: {state}")
    shared = "trained once, however many variants share it"
    return "\n".join([*lines, f"total: {total:.0f} core-seconds to train ({shared})"])


def ablate(
    ablations: Ablations, out: Path, *, data: Path | None = None, only: str | None = None
) -> Iterator[tuple[Summary, Path]]:
    """Train and compare group by group; what exists is reused, what is unfinished continued.

    Parameters
    ----------
    ablations, out, data
        As for `plan`.
    only
        This group alone.

    Yields
    ------
    summary, folder
        Figures of merit of a group, and its folder with ``table.md``, ``table.json`` and
        ``report/``. A group of which no variant could be trained is left out, with a warning.

    Raises
    ------
    ConfigError
        If there is no such group, or as `plan`.
    KeyboardInterrupt
        After Ctrl-C; the state of the training is saved.
    """
    variants = plan(ablations, out, data=data)
    for name in chosen_groups(ablations, only):
        mine = [variant for variant in variants if variant.group == name]
        prepare_data(mine[0].links[0].config)
        failed = {v.name: said for v in mine if (said := _train(v)) is not None}
        trained = [variant for variant in mine if variant.name not in failed]
        if not trained:
            logger.warning("no variant of the group %s could be trained", name)
            continue
        yield _compare(ablations, trained, failed, out / name), out / name


def chosen_groups(ablations: Ablations, only: str | None) -> list[str]:
    """Names of the groups, or ``only`` if it is one; raises a `ConfigError` if it is none."""
    if only is None:
        return list(ablations.groups)
    if only not in ablations.groups:
        raise ConfigError(f"--only {only}: no such group{nearest(only, ablations.groups)}")
    return [only]


def _chain(
    config: Config, place: Path, shared: Path, claimed: dict[str, Path], ablations: Ablations
) -> tuple[Link, ...]:
    """One run for each phase; ``claimed`` knows the folders of all runs by their identity."""
    phases = [phase for phase in config.training.phases if not phase.reference]
    start, identity = config.training.start, str(config.training.start)
    links: list[Link] = []
    for index, phase in enumerate(phases):
        last, name = index == len(phases) - 1, phase.objective["name"]
        changes: dict[str, Any] = {"phases": (phase,), "start": start}
        if index > 0:  # the link before is of the same data
            changes["start_data"] = "same"
        training = config.training.model_copy(update=changes)
        choose = config.sampling.choose_levels and last
        sampling = config.sampling.model_copy(update={"choose_levels": choose})
        run = config.model_copy(update={"training": training, "sampling": sampling})
        identity = _digest(run, identity)
        known_as = place if last else shared / name
        folder = claimed.setdefault(identity, known_as.with_name(f"{known_as.name}-{identity[:8]}"))
        run = run.model_copy(update={"output": folder.parent, "name": folder.name})
        links.append(Link(run, _estimate(run, ablations.core_seconds_per_cutout)))
        start = links[-1].end
    return tuple(links)


def _digest(run: Config, start: str) -> str:
    """Identity of a run: its settings and that of the run it starts from, wherever they lie."""
    content = run.model_dump(mode="json", exclude={"name", "output", "benchmark"})
    content["training"]["start"] = start
    if content["training"]["start_data"] == "same":  # versions before had no such key
        del content["training"]["start_data"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _estimate(run: Config, per_cutout: Mapping[str, float]) -> float:
    (phase,) = run.training.phases
    name = phase.objective["name"]
    if name not in per_cutout:
        raise ConfigError(
            f"core_seconds_per_cutout lacks {name}: give the CPU time of one cutout of one step [s]"
        )
    if phase.steps is None:
        raise ConfigError("training.phases: ablations are given in steps, found epochs")
    return phase.steps * run.training.batch_size_of(phase) * per_cutout[name]


def _train(variant: Variant) -> str | None:
    """Train what is not trained yet; returns why it failed, if it did."""
    for link in variant.links:
        try:
            train(link.config, resume=True)
        except TrainingError as error:
            logger.warning("%s/%s is left out: %s", variant.group, variant.name, error)
            return str(error)
    return None


def _compare(
    ablations: Ablations, variants: list[Variant], failed: Mapping[str, str], folder: Path
) -> Summary:
    group, config = ablations.groups[variants[0].group], variants[0].links[0].config
    options = CompareOptions(steps=group.steps, **ablations.benchmark.model_dump())
    content: dict[str, Any] = {
        "about": group.about,
        "variants": {v.name: _described(v) for v in variants},
        "failed": dict(failed),
        "inputs": {
            "schema_version": SCHEMA_VERSION,
            "statistics": STATISTICS_VERSION,
            "scattering": scattering_available(),
            "options": json.loads(json.dumps(asdict(options))),
            "data": variants[0].links[0].folder.data_fingerprint(),
        },
    }
    if (found := _earlier(folder / _TABLE, content)) is not None:
        logger.info("reusing the comparison %s", folder)
        return found
    models = {v.name: v.model for v in variants}
    summary = compare(models, config.data.path, folder / "report", options=options)
    write_text(folder / "table.md", _markdown(content, summary))
    write_json(folder / _TABLE, {**content, "summary": summary.as_dict()})
    return summary


def _described(variant: Variant) -> dict[str, Any]:
    training = read_facts(variant.model, MODEL_KIND)["training"]
    return {
        "changes": list(variant.changes),
        "model": str(variant.model),
        "sha256": file_sha256(variant.model),
        **{key: training[key] for key in ("core_seconds", "wall_seconds", "steps")},
    }


def _earlier(path: Path, content: Mapping[str, Any]) -> Summary | None:
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    if {key: found.get(key) for key in content} != content:
        return None
    return Summary.from_dict(found["summary"], str(path))


def _markdown(content: Mapping[str, Any], summary: Summary) -> str:
    lines = [content["about"], "", "| variant | changes | steps | core-seconds |"]
    lines += ["| --- | --- | ---: | ---: |"]
    for name, variant in content["variants"].items():
        changes = ", ".join(f"`{change}`" for change in variant["changes"]) or "none"
        lines.append(f"| {name} | {changes} | {variant['steps']} | {variant['core_seconds']:.0f} |")
    lines += [f"\n{name} failed: {said}" for name, said in content["failed"].items()]
    return "\n".join([*lines, "", markdown_table(summary)])
