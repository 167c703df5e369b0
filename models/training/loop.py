"""The optimisation: epochs, validation, early stopping, resuming. Needs torch."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models import networks
from models.training import checkpoint, curves
from models.training.batches import Batch, batches, step_count
from models.training.checkpoint import Progress
from models.training.errors import TrainingDataError, TrainingError
from models.training.losses import classification_loss, localisation_loss, positive_weights
from models.training.optimiser import freeze, optimiser, rate_factor, set_rate, set_training_mode
from models.training.plan import TrainingPlan
from models.training.precision import Precision, choose_device
from models.training.ranks import ALONE, Ranks
from models.training.samples import Report, Samples
from models.training.scoring import validate
from models.training.starting import start_from


def fit(
    plan: TrainingPlan,
    train: Samples,
    validation: Samples,
    directory: Path,
    run: str,
    report: Report,
    ranks: Ranks = ALONE,
) -> tuple[dict[str, Tensor], Progress]:
    """Train; returns the weights of the epoch with the best mean validation AUC and the run's history.

    The run directory holds the curves and a checkpoint. A second call with the same plan and data goes on from it: to
    the same weights on a CPU, wherever the first one was killed.

    Parameters
    ----------
    run : str
        Digest of plan and data: a checkpoint of another one is not continued.
    ranks : Ranks
        The processes that share each batch; only the first writes.

    Raises
    ------
    TrainingError
        The loss is no number, the disk is full, the checkpoint is damaged, or there is no GPU where one is asked for.
    """
    if min(plan.batch, len(train)) < 2 * ranks.size:
        raise TrainingDataError(f"{ranks.size} processes need batches of at least {2 * ranks.size} images.")
    return _Run(plan, train, validation, directory, run, report, ranks).to_the_end()


class _Run:
    """One fit: what its epochs share."""

    def __init__(
        self,
        plan: TrainingPlan,
        train: Samples,
        validation: Samples,
        directory: Path,
        run: str,
        report: Report,
        ranks: Ranks,
    ) -> None:
        torch.set_num_threads(plan.threads)
        torch.manual_seed(plan.seed)
        self.plan, self.train, self.validation = plan, train, validation
        self.directory, self.run, self.report, self.ranks = directory, run, report, ranks
        self.device = choose_device(plan.device, ranks.local)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        network = networks.build(plan.architecture, len(plan.findings), channels=plan.input.channels)
        if plan.start_from is not None:
            start_from(network, plan.start_from, plan)
        if ranks.size > 1 and self.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        # On a CPU convolutions learn up to twice as fast with the channels innermost.
        self.layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        self.network = network.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        self.optimizer = optimiser(self.network, plan)
        self.precision = Precision(plan.precision, self.device)
        if self.precision.note:
            report("note", {"text": self.precision.note})
        resumed = checkpoint.restore(directory, self.network, self.optimizer, run)
        self.progress, self.best = resumed if resumed is not None else (Progress(), {})
        if resumed is not None:
            self.precision.resume(self.progress.scale)
            report("note", {"text": f"goes on after epoch {self.progress.epoch}, step {self.progress.step}"})
        ranks.wait()  # everybody has read the checkpoint before it is written again
        weights = positive_weights(train.labels) if "weights" in plan.imbalance else torch.ones(len(plan.findings))
        self.weights = weights.to(self.device)
        self.gamma = plan.focal_gamma if "focal" in plan.imbalance else 0.0
        self.saved = time.monotonic()

    def to_the_end(self) -> tuple[dict[str, Tensor], Progress]:
        plan, progress = self.plan, self.progress
        while progress.epoch < plan.epochs and progress.epoch - max(progress.best_epoch, 0) <= plan.patience:
            started = time.monotonic()
            loss = self._epoch()
            figures = validate(self.network, plan, self.validation, self.ranks)
            progress.epoch, progress.step, progress.loss = progress.epoch + 1, 0, 0.0
            if figures["mean_auc"] > progress.best:
                progress.best, progress.best_epoch = figures["mean_auc"], progress.epoch
                self.best = {
                    name: t.detach().cpu().clone().contiguous() for name, t in self.network.state_dict().items()
                }
            entry = {
                "epoch": progress.epoch,
                "train_loss": round(loss, 5),
                **figures,
                "learning_rate": self.optimizer.param_groups[-1]["lr"],
                "seconds": round(time.monotonic() - started, 1),
            }
            progress.history.append(entry)
            self._save()
            if self.ranks.first:
                curves.write(self.directory, progress.history, plan.describe.name)
            self.report("epoch", {**entry, "of": plan.epochs})
        return self.best, progress

    def _epoch(self) -> float:
        """Train through one epoch, or through what is left of it; returns its mean loss."""
        plan, progress = self.plan, self.progress
        freeze(self.network, plan, progress.epoch)
        network = self.ranks.parallel(self.network)
        set_training_mode(self.network, plan)
        steps = step_count(len(self.train), plan)
        for batch in batches(self.train, plan, progress.epoch, progress.step, self.ranks):
            done = (progress.epoch + batch.step / steps) / plan.epochs
            set_rate(self.optimizer, rate_factor(plan, done, progress.history))
            # Dropout follows from seed and step: a resumed run ends with the same weights.
            seed = np.random.default_rng([plan.seed, progress.epoch, batch.step, self.ranks.rank])
            torch.manual_seed(int(seed.integers(2**62)))
            loss = self._step(network, batch)
            progress.loss += loss
            progress.step += 1
            if progress.step < steps and time.monotonic() - self.saved > plan.checkpoint_minutes * 60:
                self._save()
            if batch.step % 20 == 0:
                mean = round(progress.loss / progress.step, 4)
                self.report("step", {"epoch": progress.epoch + 1, "step": progress.step, "of": steps, "loss": mean})
        return self.ranks.mean(progress.loss / steps)

    def _step(self, network: nn.Module, batch: Batch) -> float:
        plan, device = self.plan, self.device
        with self.precision.autocast():
            values, features = network(batch.images.to(device, non_blocking=True, memory_format=self.layout))
        # DDP averages over processes what each has summed over its part.
        loss = self.ranks.size * classification_loss(
            values.float(),
            batch.labels.to(device),
            self.weights,
            gamma=self.gamma,
            known_in_all=batch.known_in_all,
        )
        if batch.masks is not None and plan.localisation_weight > 0:
            there = localisation_loss(features.float(), self.network.classifier.weight, batch.masks.to(device))
            loss = loss + plan.localisation_weight * there
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is no longer a number in epoch {self.progress.epoch + 1}, step {batch.step + 1}.",
                next_step="Lower learning_rate, or use bf16 or float32 instead of fp16; a changed plan begins anew, "
                "the last checkpoint of this one stays.",
            )
        self.precision.step(loss, self.network, self.optimizer, plan.clip)
        return value

    def _save(self) -> None:
        self.progress.scale = self.precision.scale
        if self.ranks.first:
            checkpoint.save(self.directory, self.network, self.best, self.optimizer, self.progress, self.run)
        self.saved = time.monotonic()
