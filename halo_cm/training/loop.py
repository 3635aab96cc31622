"""The training loop: phases one after another, each a list of steps of one objective."""

from __future__ import annotations

import copy
import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from halo_cm.config.objective import resolve_objective
from halo_cm.data.cutouts import read_cutouts
from halo_cm.data.dataset import TrainingData, batch_rows
from halo_cm.data.normalize import Normalization
from halo_cm.diffusion.denoiser import Denoiser
from halo_cm.emulator import Emulator
from halo_cm.errors import TrainingError
from halo_cm.manager import load_emulator, save_emulator
from halo_cm.objectives.base import Step
from halo_cm.progress import Task, progress
from halo_cm.seeding import derive_seed
from halo_cm.training import state as training_state
from halo_cm.training.checkpoint import MODEL_KIND, read_facts
from halo_cm.training.compiling import compile_network
from halo_cm.training.cost import Cost, Meter
from halo_cm.training.ema import ema_decay, lerp_weights
from halo_cm.training.levels import CHOSEN_STEPS, Candidate, LevelChoice, LevelSearch, describe
from halo_cm.training.log import TrainingLog
from halo_cm.training.phase import Phase
from halo_cm.training.precision import mixed_precision
from halo_cm.training.run_folder import RunFolder
from halo_cm.training.schedule import learning_rate, make_optimizer
from halo_cm.training.start import load_start, make_teacher
from halo_cm.training.stopping import Stopping
from halo_cm.training.validation import ValidationScore, Validator

if TYPE_CHECKING:
    from accelerate import Accelerator

    from halo_cm.config.schema import Config
    from halo_cm.containers import IntArray

logger = logging.getLogger(__name__)


def train_rank(config: Config, *, resume: bool) -> None:
    """Train in this process, one of possibly several ranks; rank 0 writes the files.

    Raises
    ------
    TrainingError
        If the loss or its gradient is not finite.
    KeyboardInterrupt
        After Ctrl-C, once the state is saved.
    """
    trainer = Trainer(config)
    with trainer.stopping.listening():
        trainer.run(resume=resume)


class Trainer:
    """Weights, averages and data of a run, and the loop over its steps."""

    def __init__(self, config: Config) -> None:
        from accelerate import Accelerator, PartialState
        from accelerate.utils import DistributedDataParallelKwargs

        self.config, self.folder = config, RunFolder(config)
        on_cpu = not torch.cuda.is_available()
        handlers = [DistributedDataParallelKwargs(gradient_as_bucket_view=True)]
        PartialState(cpu=on_cpu)  # chooses the GPU of this rank
        self.precision = mixed_precision(config.training.precision)
        self.accelerator: Accelerator = Accelerator(
            cpu=on_cpu,
            mixed_precision=self.precision,
            kwargs_handlers=handlers,
        )
        self.rank, self.n_ranks = self.accelerator.process_index, self.accelerator.num_processes
        self.is_main = self.accelerator.is_main_process
        self.stopping = Stopping(self.accelerator)
        self.meter = self._make_meter()
        train = read_cutouts(config.data.path, "train")
        torch.manual_seed(derive_seed(config.seed, "weights"))
        normalization = Normalization.fit(config.normalization, train)
        self.emulator = Emulator(config, normalization, "consistency").to(self.accelerator.device)
        self.network = self.emulator.denoiser.network
        if config.training.start is not None:
            start = load_start(
                config.training.start,
                self.emulator,
                other_data=config.training.start_data == "other",
            )
            sampler = start.sampler
            self.emulator.use_sampler(sampler.name, sampler.settings)
            self.emulator.denoiser.load_state_dict(start.denoiser.state_dict())
        self.average = copy.deepcopy(self.emulator).requires_grad_(False).eval()
        self.data = TrainingData(train, self.emulator.normalization, self.accelerator.device)
        self.log = TrainingLog(
            self.folder.log, tensorboard=config.training.tensorboard and self.is_main
        )
        self.validator = self._make_validator() if self.is_main else None
        self.best: ValidationScore | None = None
        self.global_step = 0
        self._losses: list[Tensor] = []

    def run(self, *, resume: bool) -> None:
        """All phases, from the start or from the saved state."""
        phases = self.config.training.phases
        state = training_state.load(self.folder.state) if resume else None
        first = start = 0
        if state:
            first, start = state.position.phase_index, state.position.step
            self.best = state.position.best
            self.global_step = state.position.global_step
            losses = state.position.losses
            self._losses = [torch.tensor(x, device=self.accelerator.device) for x in losses]
            if self.is_main:
                self.meter.before = Cost.recorded(state.position.cost, str(self.folder.state))
                self.log.rewind(first, start)
            where = f"phase {first + 1} of {len(phases)} at step {start}"
            logger.info("continuing %s", where if first < len(phases) else "with the noise levels")
        elif self.is_main and self.folder.log.exists():
            self.folder.log.unlink()  # of a run that ended before its first checkpoint
        for index in range(first, len(phases)):
            phase = self._start(index)
            if state:
                state.restore(self._modules(phase), phase.optimizer, self.n_ranks, self.precision)
            self._run_phase(phase, start)
            state, start = None, 0
        self._finish()
        self.log.close()
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        if self.stopping.asked:
            raise KeyboardInterrupt  # during the last validation: no benchmark is wanted now

    def _start(self, index: int) -> Phase:
        config = self.config.training.phases[index]
        objective = resolve_objective(config.objective)
        batch_size = self.config.training.batch_size_of(config)
        for emulator in (self.emulator, self.average):
            emulator.use_sampler(
                objective.sampler, objective.sampler_settings, uses_latent=objective.uses_latent
            )
        before = self.config.training.phases[:index]
        origin = self.config.training.start if all(p.reference for p in before) else None
        teacher = make_teacher(objective, self.emulator, origin)
        target = copy.deepcopy(self.network) if objective.uses_target else None
        base = copy.deepcopy(self.network) if config.reference else None
        optimizer = make_optimizer(config, self.emulator.denoiser)
        student, optimizer = self.accelerator.prepare(self.network, optimizer)
        if self.config.training.compile:
            compile_network(self.network, on_cpu=self.accelerator.device.type == "cpu")
        schedule = self.emulator.denoiser.schedule
        # the gradients of several processes can only be averaged where there are some
        if schedule is not None and any(p.requires_grad for p in schedule.parameters()):
            schedule = self.accelerator.prepare(schedule)
        return Phase(
            index=index,
            config=config,
            objective=objective,
            n_steps=config.n_steps(len(self.data), batch_size),
            batch_size=batch_size,
            validate_every=config.validate_every or self.config.validation.every,
            student=student,
            schedule=schedule,
            target=target,
            teacher=teacher,
            base=base,
            optimizer=optimizer,
        )

    def _run_phase(self, phase: Phase, start: int) -> None:
        title = f"phase {phase.index + 1}/{len(self.config.training.phases)} {phase.name}"
        every = self.config.training.checkpoint_every
        with progress(title, phase.n_steps, show=self.is_main, done=start) as task:
            for step in range(start, phase.n_steps):
                self._step(phase, step, task)
                done = step + 1
                if done % phase.validate_every == 0 and done < phase.n_steps:
                    self._validate(phase, step)
                stop = self.stopping.agreed(step)
                if stop or (done % every == 0 and done < phase.n_steps):
                    self._save_state(phase.index, done, phase)
                if stop:
                    raise KeyboardInterrupt
        self._end(phase)

    def _step(self, phase: Phase, step: int, task: Task) -> None:
        seed, config = self.config.seed, self.config.training
        rows, symmetries = batch_rows(
            derive_seed(seed, "batches", phase.index), len(self.data), step, phase.batch_size
        )
        mine = slice(self.rank, None, self.n_ranks)
        batch = self.data.batch(rows[mine], symmetries[mine])
        stream = derive_seed(seed, "step", phase.index, step, self.rank)
        torch.manual_seed(derive_seed(stream, "dropout"))
        rate = learning_rate(phase.config, config.warmup_steps, step, phase.n_steps)
        for group in phase.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        # the prepared student casts its own inputs; losses and features stay in float32
        loss = phase.objective.loss(self._context(phase, step, stream), batch)
        self.accelerator.backward(loss)
        weights = self.emulator.denoiser.parameters()
        norm = self.accelerator.clip_grad_norm_(weights, config.gradient_clip)
        self._check_finite(phase, step, loss, norm, rows)
        phase.optimizer.step()
        phase.optimizer.zero_grad()
        self._update_averages(phase, step)
        self.global_step += 1
        self.meter.steps += 1
        self._losses.append(loss.detach())
        if step == 0 or (step + 1) % config.log_every == 0 or step + 1 == phase.n_steps:
            self._log_losses(phase, step, task)
        task.advance()

    def _context(self, phase: Phase, step: int, stream: int) -> Step:
        denoiser, diffusion = self.emulator.denoiser, self.config.diffusion

        def using(network: torch.nn.Module) -> Denoiser:
            settings = (denoiser.sigma_data, denoiser.boundary, denoiser.n_latent)
            return Denoiser(network, *settings, phase.schedule)

        device = self.accelerator.device
        return Step(
            denoiser=using(phase.student),
            frozen=denoiser,
            target=None if phase.target is None else using(phase.target),
            normalization=self.emulator.normalization,
            sigma_min=diffusion.sigma_min,
            sigma_max=diffusion.sigma_max,
            rho=diffusion.rho,
            sampling_levels=self.config.sampling.tuned_levels(diffusion),
            progress=step / phase.n_steps,
            generator=torch.Generator(device).manual_seed(stream),
            teacher=phase.teacher,
        )

    def _update_averages(self, phase: Phase, step: int) -> None:
        decay = ema_decay(step, phase.config.ema_half_life * phase.n_steps)
        lerp_weights(self.average.denoiser, self.emulator.denoiser, decay)
        if phase.target is not None:
            share = step / phase.n_steps
            lerp_weights(phase.target, self.network, phase.objective.target_decay(share))

    def _check_finite(
        self, phase: Phase, step: int, loss: Tensor, norm: Tensor | None, rows: IntArray
    ) -> None:
        if torch.isfinite(loss) and (norm is None or torch.isfinite(norm)):
            return
        # of all ranks: the gradient that they share does not tell whose cutouts broke it
        cutouts = self.data.describe(torch.from_numpy(rows))
        raise TrainingError(
            f"phase {phase.name}: the loss ({loss.item():.3g}) or its gradient is not finite at "
            f"step {step}; cutouts of the batch: {cutouts}. The last checkpoint is kept; lower "
            "training.phases.learning_rate or look at these cutouts"
        )

    def _log_losses(self, phase: Phase, step: int, task: Task) -> None:
        """Mean over the steps since the last line of the log, and over the ranks."""
        mean = float(self._mean_losses().mean())
        self._losses.clear()
        if self.is_main:
            task.describe(f"loss {mean:.4f}")
            record = {**self._where(phase, step), "loss": mean}
            record["learning_rate"] = phase.optimizer.param_groups[0]["lr"]
            record["images"] = (step + 1) * phase.batch_size
            self.log.write(record, self.global_step)

    def _validate(self, phase: Phase, step: int) -> None:
        """Score the averaged weights; keep them as the run's model unless others are better."""
        cost = self._cost()
        if self.validator is not None and self._competes(phase):
            found = self.validator.score(self.average)
            facts = {**self._where(phase, step), "validation": found.as_dict()}
            kept = found.competes_with(self.best)
            self.log.write({**facts, "kept": kept}, self.global_step)
            if kept:
                save_emulator(self.average, self.folder.model, {**facts, **cost})
            if self.best is None or found.score < self.best.score:
                self.best = found
        self.accelerator.wait_for_everyone()

    def _end(self, phase: Phase) -> None:
        """Hand the averaged weights to the next phase, or those before a reference."""
        self._validate(phase, phase.n_steps - 1)
        cost = self._cost()
        if self.is_main:
            path = self.folder.phase_model(phase.index, phase.name)
            save_emulator(self.average, path, {**self._where(phase, phase.n_steps - 1), **cost})
        if phase.base is not None:
            self.average.denoiser.network.load_state_dict(phase.base.state_dict())
            # a schedule that a reference has learned is not handed on
            self.average.denoiser.schedule = self.emulator.denoiser.schedule = None
        self.emulator.denoiser.load_state_dict(self.average.denoiser.state_dict())
        self.accelerator.free_memory()

    def _competes(self, phase: Phase) -> bool:
        """Whether this phase's model is no reference, and sampled as the run's last one will be."""
        last = resolve_objective(self.config.training.phases[-1].objective)
        return phase.base is None and phase.objective.sampler == last.sampler

    def _mean_losses(self) -> Tensor:
        """Loss of each step since the last line of the log, averaged over ranks."""
        return self.accelerator.reduce(torch.stack(self._losses), "mean")

    def _save_state(self, index: int, step: int, phase: Phase | None = None) -> None:
        losses = self._mean_losses().tolist() if self._losses else []
        cost = self.meter.read()
        if self.is_main:
            position = training_state.Position(
                phase_index=index,
                step=step,
                global_step=self.global_step,
                best=self.best,
                n_ranks=self.n_ranks,
                precision=self.precision,
                losses=tuple(losses),
                cost=cost.as_dict(),
            )
            modules = {} if phase is None else self._modules(phase)
            optimizer = None if phase is None else phase.optimizer
            training_state.save(self.folder.state, position, modules, optimizer)
        self.accelerator.wait_for_everyone()

    def _modules(self, phase: Phase) -> dict[str, torch.nn.Module]:
        """What changes while training, beside the optimiser."""
        modules = {"network": self.network, "average": self.average.denoiser.network}
        more = {
            "schedule": self.emulator.denoiser.schedule,
            "average_schedule": self.average.denoiser.schedule,
        }
        found = {name: module for name, module in more.items() if module is not None}
        return modules | phase.copies | found

    def _where(self, phase: Phase, step: int) -> dict[str, Any]:
        position = {"phase_index": phase.index, "step": step, "global_step": self.global_step}
        return {"phase": phase.name, **position}

    def _cost(self) -> dict[str, Any]:
        """For the description of a model; every rank must ask."""
        how = {"processes": self.n_ranks, "precision": self.precision}
        return {**self.meter.read().as_dict(), **how}

    def _finish(self) -> None:
        """Choose the noise levels of the run's model, and write down what all of it has cost."""
        self.accelerator.wait_for_everyone()  # for the model file
        choice = self._choose_levels()
        facts = self._cost()
        if self.is_main:
            if choice is not None:
                facts["levels"] = choice.as_dict()
            describe(self.folder.model, facts, {} if choice is None else choice.levels)
            self.folder.finish()

    def _choose_levels(self) -> LevelChoice | None:
        """Score the candidates, one on each rank at a time; None where nothing is to choose."""
        sampling, n_phases = self.config.sampling, len(self.config.training.phases)
        defaults = self.config.diffusion.default_levels
        steps = [n for n in CHOSEN_STEPS if n in defaults and n not in sampling.levels]
        model = load_emulator(self.folder.model).to(self.accelerator.device)
        if not sampling.choose_levels or not steps or model.sampler.name != "consistency":
            return None
        self._save_state(n_phases, 0)
        search = LevelSearch(model, self.validator or self._make_validator(), steps)
        scores: dict[Candidate, float] = {}
        with progress("noise levels", len(search.candidates), show=self.is_main) as task:
            while part := search.candidates[len(scores) : len(scores) + self.n_ranks]:
                mine = search.score(part[self.rank]) if self.rank < len(part) else 0.0
                found = self.accelerator.gather(self._number(mine)).tolist()
                for candidate, score in zip(part, found, strict=False):
                    if self.is_main:
                        place = {"phase_index": n_phases, "step": len(scores)}
                        tried = {**asdict(candidate), "score": score}
                        record = {"phase": "levels", **place, "candidate": tried}
                        self.log.write(record, self.global_step)
                    scores[candidate] = score
                task.advance(len(part))
                if self.stopping.agreed():
                    raise KeyboardInterrupt
        return LevelChoice(scores)

    def _make_meter(self) -> Meter:
        start, before = self.config.training.start, Cost()
        if start is not None and self.is_main:
            facts = read_facts(start, MODEL_KIND)["training"]
            before = Cost.recorded(facts, f"training.start = {str(start)!r}")
        return Meter(before, lambda x: float(self.accelerator.reduce(self._number(x), "sum")))

    def _number(self, x: float) -> Tensor:
        return torch.tensor([x], device=self.accelerator.device, dtype=torch.float64)

    def _make_validator(self) -> Validator:
        config = self.config.validation
        cutouts = read_cutouts(self.config.data.path, "validation")
        return Validator(cutouts, config.n_cutouts, config.n_members, self.config.seed)
