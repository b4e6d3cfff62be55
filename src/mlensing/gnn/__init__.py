"""Networks of maps: kappa, psi and alpha of the mass in an image.

``lens_gnn`` is a graph network over patches (``graph`` joins them), ``unet`` what it is compared with. Both give
``forward(image [B, bands, H, W], *, dx, dy) -> Maps`` at the spacing of their patches; ``heads`` holds what they share,
``truth`` what they learn from, by ``training.losses``. ``physics_ops`` is the address of the operators.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from mlensing.contract import ModelContract
from mlensing.errors import ConfigError
from mlensing.gnn.lens_gnn import lens_gnn
from mlensing.gnn.unet import unet

MAP_MODELS: dict[str, Callable[..., nn.Module]] = {"lens_gnn": lens_gnn, "unet": unet}


def build_maps(name: str, contract: ModelContract, **options: Any) -> nn.Module:
    """A fresh network of maps for a contract's bands and input size.

    Arguments:
        name: a key of ``MAP_MODELS``.
        contract: bands and input size.
        options: of that architecture; unknown ones are errors.

    Raises:
        ConfigError: unknown name or option, or a value out of range.

    Example:
        >>> from mlensing.contract import BandStatistics
        >>> stats = {"linear": BandStatistics(mean=(0.0,), std=(1.0,))}
        >>> contract = ModelContract(name="unet", bands=("r",), pixel_scale=(0.1, 0.4), statistics=stats)
        >>> build_maps("unet", contract, width=8).patch
        2
    """
    if name not in MAP_MODELS:
        raise ConfigError(f"model {name!r}", "no such network of maps", f"Known: {', '.join(MAP_MODELS)}.")
    known = [key for key in inspect.signature(MAP_MODELS[name]).parameters if key != "contract"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        problem = f"unknown option {', '.join(unknown)}"
        raise ConfigError(f"model {name!r}", problem, f"Its options: {', '.join(known)}.")
    return MAP_MODELS[name](contract, **options)
