"""Images of one kind: real ones as they are read, and simulated ones made to be the same.

Same survey, same bands or the survey's own composite, same pixels a side: nothing but the sky may differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mlensing.contract import CHANNELS, Representation
from mlensing.data.cutout import Cutout, frame, select_bands
from mlensing.data.preview import Picture, picture
from mlensing.errors import ConfigError, MLensingError
from mlensing.inference.inputs import Item, read_item
from mlensing.simulate.composite import UNIFORMS, published
from mlensing.simulate.draws import Draws
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.simulator import BLOCK, Simulator
from mlensing.survey import Survey


@dataclass(frozen=True)
class Cutouts:
    """Images of one kind: all of one survey, one representation, the same bands and size.

    Attributes:
        image: [N, band, y, x].
        bands: their names.
        representation: ``linear`` or ``composite``.
        survey: the preset they belong to.
        skipped: file -> why it was left out.
    """

    image: NDArray[np.float32]
    bands: tuple[str, ...]
    representation: Representation
    survey: str
    skipped: Mapping[str, str]

    def pictures(self, rows: Sequence[int]) -> list[Picture]:
        """RGB [y, x, 3] of some of them."""
        shown = [torch.from_numpy(self.image[row]) for row in rows]
        return [picture(image, composite=self.representation == "composite") for image in shown]


def read_alike(items: Sequence[Item], size: int) -> Cutouts:
    """The central ``size`` pixels of every readable image, which must be of one survey and one representation.

    Raises:
        ConfigError: images of several kinds or surveys, or of no known survey, or none readable.
    """
    cutouts, skipped = _readable(items)
    if not cutouts:
        reason = next(iter(skipped.values()), "none given").rstrip(".")
        raise ConfigError("real", f"not one image can be read; the first: {reason}", "Correct --real.")
    survey = only("survey", {str(cutout.survey) for cutout in cutouts}, "Give one survey's images, or --survey.")
    if survey == "None":
        raise ConfigError("survey", "the images name none that is known", "Say which with --survey.")
    kind = only("real", {c.representation for c in cutouts}, "Give colour pictures or linear images, not both.")
    single = {len(cutout.bands) for cutout in cutouts} == {1}
    bands = _single_band(cutouts[0], survey) if single else CHANNELS
    scale = Survey.load(survey).pixel_scale
    shown = cutouts if single else [select_bands(cutout, CHANNELS, survey, where="real") for cutout in cutouts]
    framed = [frame(cutout, size, (scale, scale)).image for cutout in shown]
    representation: Representation = "composite" if kind == "composite" else "linear"
    return Cutouts(np.stack(framed).astype(np.float32), bands, representation, survey, skipped)


def _readable(items: Sequence[Item]) -> tuple[list[Cutout], dict[str, str]]:
    cutouts, skipped = [], {}
    for item in items:
        try:
            cutouts.append(read_item(item))
        except MLensingError as error:
            skipped[item.file] = str(error)
    return cutouts, skipped


def only(where: str, found: set[str], remedy: str) -> str:
    """The one thing in ``found``.

    Raises:
        ConfigError: several.
    """
    if len(found) > 1:
        raise ConfigError(where, f"images of several kinds: {', '.join(sorted(found))}", remedy)
    return found.pop()


def _single_band(cutout: Cutout, survey: str) -> tuple[str, ...]:
    """The survey's band that a single plane is: the one it names, else the survey's green."""
    preset = Survey.load(survey)
    return cutout.bands if cutout.bands[0] in preset.bands else (preset.channels["green"],)


def simulate_alike(
    mixture: Mixture,
    real: Cutouts,
    classes: Mapping[str, float],
    *,
    num_samples: int,
    seed: int,
    stretch: int | None = None,
) -> Cutouts:
    """Simulated images of the survey, bands and representation of the real ones.

    Arguments:
        mixture: what to simulate; survey, classes and bands are replaced.
        real: whose kind to take.
        classes: with their weights.
        stretch: which of the survey's, from 0; None draws among them.

    Raises:
        ConfigError: no samples, or a stretch that the survey has not.
    """
    if num_samples < 1:
        raise ConfigError("num_samples", f"expected 1 or more, got {num_samples}", "Take 256.")
    bands = None if real.bands == CHANNELS else real.bands
    changed = {
        "surveys": {real.survey: 1.0},
        "classes": dict(classes),
        "bands": bands,
        "representations": {"linear": 1.0},
    }
    simulator = Simulator(Mixture.model_validate(mixture.model_dump() | changed), seed=seed)
    blocks = [simulator.block(number) for number in range(-(-num_samples // BLOCK))]
    image, dx = (torch.cat([block[key] for block in blocks])[:num_samples] for key in ("image", "dx"))
    if real.representation == "composite":
        uniform = Draws(seed, torch.arange(len(image))).uniform("published/stretch", UNIFORMS)
        image = published(image, _with_stretch(simulator.surveys[0], stretch), dx=dx, uniform=uniform)
    return Cutouts(image.numpy(), real.bands, real.representation, real.survey, {})


def _with_stretch(survey: Survey, stretch: int | None) -> Survey:
    """The survey as if it published colour in this one stretch."""
    if stretch is None:
        return survey
    if not 0 <= stretch < len(survey.composites):
        problem = f"survey {survey.name} has no stretch {stretch}"
        raise ConfigError("stretch", problem, f"It has {len(survey.composites)}, counted from 0.")
    return survey.model_copy(update={"composites": (survey.composites[stretch],)})
