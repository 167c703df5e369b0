"""The words of a result never contradict its numbers and never leave ASCII."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from result_cases import ALGORITHM, EFFUSION, PNEUMOTHORAX, finding

from dicom_node.results.wording import comparison, numbers, plain, summary, verdict
from triage.findings import AnalysisResult, ImageResult, Score, ScoreKind

unit = st.floats(min_value=0, max_value=1)


@example(value=0.625, threshold=0.0)
@given(value=unit, threshold=unit)
def test_rounding_keeps_the_side_of_the_threshold(value: float, threshold: float) -> None:
    score = Score(value=value, threshold=threshold, kind=ScoreKind.CALIBRATED_PROBABILITY)
    shown_value, shown_threshold = map(float, numbers(score))
    assert (shown_value >= shown_threshold) == score.positive
    assert shown_value == pytest.approx(value, abs=0.005 + 1e-9)  # a tie, such as 0.625, is half a unit away


def test_two_decimals_unless_more_are_needed() -> None:
    assert comparison(finding(PNEUMOTHORAX, 0.94).score) == "0.94 >= 0.60"
    assert comparison(finding(PNEUMOTHORAX, 0.59961).score) == "0.5996 < 0.6000"
    assert comparison(finding(PNEUMOTHORAX, 0.6).score) == "0.60 >= 0.60"


@given(st.text())
def test_plain_text_is_printable_ascii_without_backslash(text: str) -> None:
    shown = plain(text)
    assert all(" " <= letter <= "~" and letter != "\\" for letter in shown)
    assert plain(shown) == shown


@given(st.text(), st.integers(min_value=0, max_value=20))
def test_plain_text_keeps_its_limit(text: str, limit: int) -> None:
    assert len(plain(text, limit)) <= limit


def test_plain_text_reads_like_the_original() -> None:
    assert plain("Pleuraerguß  rechts é") == "Pleuraergu? rechts e"
    assert plain("a\\b\nc") == "a/b c"


def test_verdict_says_which_side_in_words() -> None:
    assert verdict(finding(PNEUMOTHORAX, 0.94)) == "Pneumothorax 0.94 >= 0.60 POSITIVE"
    assert verdict(finding(EFFUSION, 0.1)) == "Pleural effusion 0.10 < 0.60 negative"


def test_summary_names_each_positive_once_and_the_class() -> None:
    image = ImageResult(sop_instance_uid="1.2", findings=(finding(PNEUMOTHORAX, 0.9), finding(EFFUSION, 0.1)))
    both = AnalysisResult(algorithm=ALGORITHM, images=(image, image))
    assert summary(both) == "AI firstread (cxr-research 1.2.0): Pneumothorax above threshold. AI triage class STAT."
    none = ImageResult(sop_instance_uid="1.2", findings=(finding(EFFUSION, 0.1),))
    assert summary(AnalysisResult(algorithm=ALGORITHM, images=(none,))).endswith("no finding above its threshold.")
