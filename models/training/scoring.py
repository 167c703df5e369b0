"""What a network says about samples, and how good that is. Needs torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from models import evaluation
from models.training.losses import classification_loss
from models.training.plan import TrainingPlan
from models.training.ranks import ALONE, Ranks
from models.training.samples import Samples

_BATCH = 64


def logits(network: nn.Module, samples: Samples, plan: TrainingPlan, *, features: bool = False) -> tuple[Any, Any]:
    """Logits float32 (N, K) and, if asked for, feature maps float16 (N, C, h, w) of all samples, as numpy."""
    network.eval()
    device = next(network.parameters()).device
    results, maps = [np.zeros((0, len(plan.findings)), np.float32)], []
    with torch.inference_mode():
        for start in range(0, len(samples), _BATCH):
            batch = torch.from_numpy(samples.network_images(slice(start, start + _BATCH), plan.input)).to(device)
            values, feature = network(batch)
            results.append(values.float().cpu().numpy())
            if features:
                maps.append(feature.cpu().numpy().astype(np.float16))
    return np.concatenate(results), np.concatenate(maps) if features else None


def pooled_features(network: nn.Module, samples: Samples, plan: TrainingPlan) -> Any:
    """What the head sees of each sample: float32 (N, C), as numpy."""
    return logits(network, samples, plan, features=True)[1].mean(axis=(2, 3), dtype=np.float32)


def validate(network: nn.Module, plan: TrainingPlan, validation: Samples, ranks: Ranks = ALONE) -> dict[str, Any]:
    """Loss, AUC of each finding and their mean; several processes share the work and all get the figures."""
    ranks.share_buffers(network)
    own = validation.take(np.arange(len(validation))[ranks.part(len(validation))]) if ranks.size > 1 else validation
    values = ranks.gather(torch.from_numpy(logits(network, own, plan)[0]), len(validation)).numpy()
    areas: dict[str, float] = {}
    for column, key in enumerate(plan.keys):
        truth = validation.labels[:, column]
        known = ~np.isnan(truth)
        if len(np.unique(truth[known])) == 2 and np.isfinite(values[known, column]).all():
            areas[key] = round(evaluation.auc(truth[known], values[known, column]).value, 4)
    loss = classification_loss(
        torch.from_numpy(values), torch.from_numpy(validation.labels), torch.ones(len(plan.findings))
    )
    mean = float(np.mean(list(areas.values()))) if areas else 0.0
    return {
        "validation_loss": round(float(loss), 5),
        "mean_auc": round(mean, 5),
        **{f"auc_{k}": v for k, v in areas.items()},
    }
