"""Linear light as the 8-bit colour composites that surveys publish, drawn anew for every batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from mlensing.simulate.camera.composite import UNIFORMS, published
from mlensing.survey import Survey


class SurveyComposites:
    """Turns each image into a composite as its survey makes them, the stretch mildly varied.

    Arguments:
        surveys: what the numbers in the batch's ``survey`` [B] stand for; in a batch without, each image takes
            the style of any of them.

    Example:
        >>> compose = SurveyComposites([Survey.load("des"), Survey.load("legacy")])
        >>> image = 10 * torch.rand(2, 3, 32, 32)
        >>> batch = {"survey": torch.tensor([0, 1]), "dx": torch.tensor([0.263, 0.262])}
        >>> colour = compose(image, batch, torch.Generator().manual_seed(0))
        >>> colour.shape, bool((colour == colour.round()).all())
        (torch.Size([2, 3, 32, 32]), True)
    """

    def __init__(self, surveys: Sequence[Survey]) -> None:
        self.surveys = list(surveys)

    def __call__(self, image: Tensor, batch: Mapping[str, Tensor], generator: Generator) -> Tensor:
        """Image [B, 3, y, x] in blue, green, red at zero point 30 -> whole numbers 0..255 of the same shape."""
        uniform = torch.rand(len(image), UNIFORMS, generator=generator, device=image.device)
        out = torch.empty_like(image)
        which = batch.get("survey")
        if which is None:
            shape, count = (len(image),), len(self.surveys)
            which = torch.randint(count, shape, generator=generator, device=image.device)
        for number, survey in enumerate(self.surveys):
            rows = which == number
            if bool(rows.any()):
                out[rows] = published(image[rows], survey, dx=batch["dx"][rows], uniform=uniform[rows])
        return out
