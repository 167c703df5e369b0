"""What wrong labels do to the figures: the best that could be seen, and what stands behind what is seen.

With a share `error` of the labels turned round at random, independent of the image once the truth is given, a label
"present" is false with probability alpha and a label "absent" with probability beta. Then (Menon, van Rooyen, Ong &
Williamson 2015)

    seen AUC         = (1 - alpha - beta) x true AUC + (alpha + beta) / 2
    seen sensitivity = (1 - alpha) x true sensitivity + alpha x (1 - true specificity)
    seen specificity = (1 - beta) x true specificity + beta x (1 - true sensitivity)

Errors that follow the image's difficulty, as a reporter's do, can also flatter a model: this is no licence to correct.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelNoise:
    """Consequences of one share of wrong labels.

    Attributes
    ----------
    error : float
        Share of the labels that are wrong.
    false_present, false_absent : float
        alpha and beta: share of the "present" and of the "absent" labels that are wrong.
    highest_auc, highest_sensitivity, highest_specificity : float
        What a model that is always right would be seen to reach on such labels.
    auc, sensitivity, specificity : float or None
        What would stand behind the figures seen if errors were random; None where such errors cannot explain them.
    """

    error: float
    false_present: float
    false_absent: float
    highest_auc: float
    highest_sensitivity: float
    highest_specificity: float
    auc: float | None
    sensitivity: float | None
    specificity: float | None


def label_noise(error: float, share: float, *, auc: float, sensitivity: float, specificity: float) -> LabelNoise | None:
    """The consequences for figures that were measured where `share` of the labels say "present".

    Parameters
    ----------
    error : float
        In [0, 0.5).
    share : float
        In (0, 1).

    Returns
    -------
    LabelNoise or None
        None where so many errors would leave no true positive or no true negative behind the labels: with 5 % of the
        labels positive and 5 % of all labels wrong, every positive label may be one of the wrong ones.
    """
    if not 0 <= error < 0.5 or not error < share < 1 - error:
        return None
    prevalence = (share - error) / (1 - 2 * error)
    alpha = error * (1 - prevalence) / share
    beta = error * prevalence / (1 - share)
    remaining = 1 - alpha - beta
    if remaining <= 0:
        return None
    seen_false_alarms = 1 - specificity
    return LabelNoise(
        error=error,
        false_present=alpha,
        false_absent=beta,
        highest_auc=1 - (alpha + beta) / 2,
        highest_sensitivity=1 - alpha,
        highest_specificity=1 - beta,
        auc=_possible((auc - (alpha + beta) / 2) / remaining),
        sensitivity=_possible(((1 - beta) * sensitivity - alpha * seen_false_alarms) / remaining),
        specificity=_possible(1 - ((1 - alpha) * seen_false_alarms - beta * sensitivity) / remaining),
    )


def _possible(rate: float) -> float | None:
    return rate if -1e-9 <= rate <= 1 + 1e-9 else None
