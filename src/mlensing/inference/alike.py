"""Simulated images of the same kind as real ones: nothing but the sky may differ.

Same survey, same bands or the survey's own composite, same pixels a side.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mlensing.contract import CHANNELS
from mlensing.cutouts import Cutouts
from mlensing.errors import ConfigError
from mlensing.simulate.camera.composite import UNIFORMS, published, with_stretch
from mlensing.simulate.draws import Draws
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.simulator import BLOCK, Simulator


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
        image = published(image, with_stretch(simulator.surveys[0], stretch), dx=dx, uniform=uniform)
    return Cutouts(image.numpy(), real.bands, real.representation, real.survey, {})
