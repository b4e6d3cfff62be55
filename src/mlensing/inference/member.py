"""One member of an ensemble: a network with the contract under which it was trained, ready to score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mlensing.contract import ModelContract
from mlensing.data.normalise import Normaliser
from mlensing.data.statistics import image_statistics, statistics_count
from mlensing.errors import ConfigError
from mlensing.inference.dropout import full_dropout, head_dropout
from mlensing.models import classifier
from mlensing.models.domain import Domain
from mlensing.models.maps import inconsistency, predict_maps

Views = Literal[1, 8]


@dataclass(frozen=True)
class Dropout:
    """How the deviation of a logit is found: ``head`` in closed form, ``full`` by so many passes."""

    kind: Literal["head", "full"] = "head"
    passes: int = 20


class MemberScores(NamedTuple):
    """Of a batch: logit [B] without the shift of the class weights, its variance [B], the features [B, F].

    ``unlike`` [B] is the distance from the training's images over its limit (``models.domain``), NaN if unknown;
    ``statistics`` [B, K] is what it is computed from. ``physics`` [B] is the mean squared Poisson residual of its maps,
    NaN without any.
    """

    logit: Tensor
    variance: Tensor
    features: Tensor
    unlike: Tensor
    statistics: Tensor
    physics: Tensor


def dihedral(image: Tensor) -> Iterator[Tensor]:
    """The eight flips and quarter turns of [B, C, H, H], the image itself first."""
    for flipped in (image, image.flip(-1)):
        for turns in range(4):
            yield torch.rot90(flipped, turns, (-2, -1))


class Member:
    """A trained network, ready to score.

    Arguments:
        key: what it is called; unique in an ensemble.
        contract: of the network.
        net: the network.
        device: ``auto`` takes a GPU when there is one.
        domain: what the network was trained on.

    Raises:
        ConfigError: a device that is not there.
    """

    def __init__(
        self, key: str, contract: ModelContract, net: nn.Module, device: str = "auto", domain: Domain | None = None
    ) -> None:
        self.key, self.contract, self.device = key, contract, find_device(device)
        known = domain is not None and domain.mean.shape[-1] == statistics_count(len(contract.bands))
        self.domain = domain.to(self.device) if domain is not None and known else None  # else an older version's
        self.net = net.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.normaliser = Normaliser(contract).to(self.device)

    @torch.inference_mode()
    def score(
        self, image: Tensor, composite: Tensor, *, views: Views = 1, dropout: Dropout | None = None,
        maps: Tensor | None = None,
    ) -> MemberScores:  # fmt: skip
        """Raw pixels [B, C, S, S] and whether each is a composite [B] -> scores.

        With ``views=8`` the features are averaged over the flips and quarter turns, which for a linear head
        is the mean logit, at eight times the cost. ``maps`` [B, 2], the spacing dx, dy [arcsec/px], asks for
        ``physics`` too, of a member with a map head.
        """
        pixels = self._pixels(image, composite)
        net, turned = classifier(self.net), islice(dihedral(pixels), views)
        physics = pixels.new_full((len(pixels),), torch.nan)
        if maps is None or not self.has_maps:
            seen = [net.features(_channels_last(view)) for view in turned]
        else:
            found, features = self._mapped(next(turned), maps)
            physics = inconsistency(found, *_spacing(maps, self.device))
            seen = [features, *(net.features(_channels_last(view)) for view in turned)]
        features = torch.stack(seen).mean(dim=0)
        logit, variance = head_dropout(features, net.head, net.dropout)
        if dropout is not None and dropout.kind == "full":
            draws = full_dropout(self.net, _channels_last(pixels), passes=dropout.passes)
            variance = draws.var(dim=0)
        statistics = image_statistics(pixels)
        unlike = torch.full_like(logit, torch.nan)
        if self.domain is not None:
            unlike = self.domain.distance(statistics, composite.to(self.device))
        return MemberScores(logit - self.contract.logit_shift, variance, features, unlike, statistics, physics)

    @torch.inference_mode()
    def features(self, image: Tensor, composite: Tensor, *, views: Views = 1) -> Tensor:
        """What the network sees in raw pixels [B, C, S, S] before its head: [B, F], those that ``score`` gives.

        It asks for no head, so networks that were trained without labels have them too.
        """
        turned = islice(dihedral(self._pixels(image, composite)), views)
        return torch.stack([classifier(self.net).features(_channels_last(view)) for view in turned]).mean(dim=0)

    def _pixels(self, image: Tensor, composite: Tensor) -> Tensor:
        """Raw pixels as the network takes them, on its device."""
        return self.normaliser(image.to(self.device), composite.to(self.device))  # type: ignore[no-any-return]

    @property
    def has_maps(self) -> bool:
        """Whether it predicts kappa and psi; a network that onnxruntime runs does not."""
        return self.contract.task == "maps" and hasattr(self.net, "maps")

    @torch.inference_mode()
    def maps(self, image: Tensor, composite: Tensor, spacing: Tensor) -> dict[str, Tensor]:
        """Maps of raw pixels [B, C, S, S]: those of ``models.maps.MapHead``, [B, S, S].

        Arguments:
            image, composite: as ``score``.
            spacing: [B, 2] dx, dy [arcsec/px]; where it is NaN psi is in square pixels.
        """
        return self._mapped(self._pixels(image, composite), spacing)[0]

    def _mapped(self, pixels: Tensor, spacing: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        dx, dy = _spacing(spacing, self.device)
        return predict_maps(self.net, _channels_last(pixels), dx=dx, dy=dy)


def _spacing(spacing: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """dx and dy [B]; a pixel where they are not known: neither kappa nor the residual has a unit."""
    dx, dy = spacing.to(device).float().nan_to_num(1.0).unbind(1)
    return dx, dy


def _channels_last(image: Tensor) -> Tensor:
    return image.contiguous(memory_format=torch.channels_last)


def find_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is a GPU if there is one.

    Raises:
        ConfigError: one that cannot be used here.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts where a build has no such device
        problem = f"device {name!r} cannot be used ({str(error).splitlines()[0]})"
        raise ConfigError("device", problem, "Use auto, cpu, or cuda on a machine that has it.") from error
    return device
