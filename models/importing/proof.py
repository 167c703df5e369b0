"""Does the bundle say what the original library says, label by label?

The picture is that of every self-test (:func:`models.self_test.self_test_input`, seed 7): whoever has the original
library computes it from its formula, runs it, and writes the scores into the description's ``check``. Weights that
were read wrongly, another normalisation and swapped labels all show here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.bundle import Bundle
from models.inference import Predictor
from models.self_test import self_test_input
from triage.errors import ForeignModelError

SEED = 7
TOLERANCE = 1e-3
"""Of a logit: a share of its size, or absolute where it is small."""
_CERTAIN = 1e-9


def check_scores(bundle: Bundle, names: tuple[str, ...], expected: Mapping[str, float], where: str) -> None:
    """Compare the bundle's scores with those of the original library.

    Parameters
    ----------
    names : tuple of str
        The labels of the bundle's findings, in their order.
    expected : mapping of str to float
        Label → score in [0, 1], after sigmoid, softmax or rescaling; may be empty.
    where : str
        For messages: the file.

    Raises
    ------
    ForeignModelError
        A score differs; where another finding has it, the message says that labels are swapped.
    """
    if not expected:
        return
    image = self_test_input(bundle.metadata.input, SEED)
    logits = Predictor.load(bundle, device="cpu").predict(image).logits[0].astype(np.float64)
    answers = dict(zip(names, logits, strict=True))
    for name, score in expected.items():
        if name not in answers:
            raise ForeignModelError(f"check names {name!r}, which is no finding of {where}.")
        if _agree(score, answers[name]):
            continue
        other = next((label for label, logit in answers.items() if _agree(score, logit)), None)
        raise ForeignModelError(
            f"{where} gives {name} {1 / (1 + np.exp(-answers[name])):.6f} for the self-test picture, the description "
            f"expects {score:.6f}; "
            + (f"{other} has that: labels are swapped." if other else "the weights, the input or the label differ."),
            next_step="Compare the order of labels, and [input], with the original (docs/importing.md).",
        )


def _agree(score: float, logit: float) -> bool:
    score = min(max(score, _CERTAIN), 1 - _CERTAIN)
    expected = float(np.log(score) - np.log1p(-score))
    return abs(expected - logit) <= TOLERANCE * max(1.0, abs(expected))
