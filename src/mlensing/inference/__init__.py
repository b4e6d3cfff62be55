"""Inference: a checkpoint and files in, scores out.

``predictor`` scores whatever it is given, ``scores`` writes the table, ``evaluate`` measures a labelled split.
"""

from mlensing.inference.evaluate import evaluate_split
from mlensing.inference.predictor import Predictor
from mlensing.inference.scores import write_scores

__all__ = ["Predictor", "evaluate_split", "write_scores"]
