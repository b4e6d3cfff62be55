"""Real images beside simulated ones of the same kind: read, simulate, compare, show.

Both halves are of one kind (``alike``), of classes chosen alike, and go through the same path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mlensing.contract import CHANNELS
from mlensing.cutouts import Cutouts
from mlensing.data.alike import only, read_alike
from mlensing.data.cutout import Cutout
from mlensing.data.gather import gather
from mlensing.data.preview import pictures
from mlensing.errors import ConfigError, ContractError
from mlensing.evaluation.realism import Realism, compare
from mlensing.evaluation.realism_page import SHOWN, write_mosaic, write_realism_page
from mlensing.inference.alike import simulate_alike
from mlensing.inference.ensemble import RELEASED
from mlensing.inference.inputs import fit_to
from mlensing.inference.predictor import Predictor
from mlensing.provenance import provenance
from mlensing.simulate.mixture import KINDS, Mixture
from mlensing.survey import Survey

BATCH = 64
SKY_TILES = 12
"""Images of each half of a picture of the sky: under 300 kB."""


def realism(
    real: Sequence[str | Path],
    simulated: str | Path,
    *,
    survey: str | None = None,
    pixel_scale: float | None = None,
    classes: Sequence[str] = (),
    stretch: int | None = None,
    checkpoint: str | Path | None = None,
    num_samples: int = 256,
    seed: int = 0,
    resamples: int = 500,
    title: str = "Realism",
) -> tuple[Realism, Cutouts, Cutouts]:
    """Compare real images with what a mixture simulates of the same survey.

    Arguments:
        real: files, folders and index CSVs, as ``predict`` takes them.
        simulated: YAML file of the mixture; its survey becomes that of the real images.
        survey: preset of files whose header names none.
        pixel_scale: of files that state none [arcsec/px].
        classes: classes of the mixture to keep, or ``nonlens`` for all but lenses; real images with a label of the
            other kind are left out. Empty: all.
        stretch: which of the survey's colour stretches the real pictures have, from 0; None draws among them.
        checkpoint: a finder whose features are used too; None takes the released ensemble.
        num_samples: simulated images.
        seed: of the simulated sky and of the discriminators.
        resamples: bootstrap samples behind each interval.
        title: head of the result.

    Returns:
        the result, the real and the simulated images, in its order.

    Raises:
        ConfigError: no survey, more than one, or real images of two kinds; an unknown class; too few images.
        CatalogError, ImageError, SurveyError, ContractError: as ``predict``.
    """
    mixture = Mixture.load(simulated)
    kept = _classes(mixture, classes)
    items = [item for item in gather(real, survey=survey, pixel_scale=pixel_scale) if _wanted(item.label, kept)]
    found = read_alike(items, mixture.size)
    made = simulate_alike(mixture, found, kept, num_samples=num_samples, seed=seed, stretch=stretch)
    features, skipped = _finder_features(checkpoint, found, made)
    settings = {
        "real": [str(entry) for entry in real],
        "mixture": mixture.model_dump(mode="json"),
        "survey": found.survey,
        "classes": sorted(kept),
        "stretch": stretch,
        "checkpoint": str(checkpoint),
        "num_samples": num_samples,
        "left_out": dict(found.skipped),
    }
    result = compare(
        found.image,
        made.image,
        composite=found.representation == "composite",
        features=features,
        skipped=skipped,
        seed=seed,
        resamples=resamples,
        title=title,
        provenance=provenance("realism", settings, seed),
    )
    return result, found, made


def write_realism(folder: str | Path, result: Realism, real: Cutouts, simulated: Cutouts) -> None:
    """Write ``realism.json``, ``realism.html`` and ``mosaic.png``: fakest simulated images left, realest real right."""
    realest, fakest = pictures(real, result.realest(SHOWN)), pictures(simulated, result.fakest(SHOWN))
    result.save(Path(folder) / "realism.json")
    write_realism_page(result, Path(folder) / "realism.html", realest, fakest)
    write_mosaic(Path(folder) / "mosaic.png", fakest, realest)


def picture_sky(folder: str | Path, simulated: str | Path, *, survey: str | None = None, seed: int = 0) -> Path:
    """Write ``SURVEY.png``: a mosaic of simulated lenses, left, and non-lenses as the survey publishes colour.

    Arguments:
        folder: where to write.
        simulated: YAML file of the mixture.
        survey: preset; None takes the mixture's only one.
        seed: of the sky.

    Raises:
        ConfigError: a bad mixture, without lenses or non-lenses, or with several surveys and none chosen.
    """
    mixture = Mixture.load(simulated)
    preset = Survey.load(survey or only("survey", set(mixture.surveys), "Choose one with --survey."))
    pattern = Cutouts(np.empty((0,), np.float32), CHANNELS, "composite", survey or next(iter(mixture.surveys)), {})
    sides = [
        simulate_alike(mixture, pattern, _classes(mixture, [name]), num_samples=SKY_TILES, seed=seed + number)
        for number, name in enumerate(("lens", "nonlens"))
    ]
    path = Path(folder) / f"{preset.name}.png"
    write_mosaic(path, *(pictures(side, range(SKY_TILES)) for side in sides))
    return path


def _classes(mixture: Mixture, wanted: Sequence[str]) -> dict[str, float]:
    """The mixture's classes that are kept, with their weights."""
    names = set(wanted) or set(KINDS)
    if "nonlens" in names:
        names = (names - {"nonlens"}) | (set(KINDS) - {"lens"})
    kept = {name: weight for name, weight in mixture.classes.items() if name in names and weight > 0}
    unknown = sorted(names - set(KINDS))
    if unknown or not kept:
        problem = f"unknown classes {unknown}" if unknown else f"the mixture has none of {sorted(names)}"
        raise ConfigError("classes", problem, f"Its classes: {', '.join(mixture.classes)}; or nonlens.")
    return kept


def _wanted(label: float, kept: Mapping[str, float]) -> bool:
    """Whether a real image of this label (NaN: unknown) may stand beside these classes."""
    if np.isnan(label):
        return True
    return "lens" in kept if label >= 0.5 else set(kept) != {"lens"}


def _finder_features(
    checkpoint: str | Path | None, real: Cutouts, simulated: Cutouts
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]] | None, dict[str, str]]:
    """A finder's features of both halves, or why there are none; one that was asked for must serve."""
    try:
        predictor = Predictor.load(checkpoint or RELEASED)
        return (finder_features(predictor, real), finder_features(predictor, simulated)), {}
    except (ConfigError, ContractError) as error:
        if checkpoint is not None:
            raise
        return None, {"finder": str(error)}


def finder_features(predictor: Predictor, cutouts: Cutouts) -> NDArray[np.float64]:
    """Features [N, F] of the networks before their last layers, those of all members side by side.

    Raises:
        ContractError: images that the network does not take.
    """
    scale, kind = Survey.load(cutouts.survey).pixel_scale, cutouts.representation
    whole = np.zeros(cutouts.image.shape[-2:], dtype=bool)
    alike = (Cutout(image, cutouts.bands, kind, whole, scale, None, cutouts.survey) for image in cutouts.image)
    pixels = torch.stack([fit_to(cutout, predictor.contract, where="realism").image for cutout in alike])
    colour = torch.full((BATCH,), kind == "composite")
    scores = [
        [member.score(batch, colour[: len(batch)]).features.cpu() for batch in torch.split(pixels, BATCH)]
        for member in predictor.ensemble.members
    ]
    return np.asarray(torch.cat([torch.cat(parts) for parts in scores], 1).double().numpy())
