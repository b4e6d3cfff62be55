"""The mass of a cluster: an NFW halo, an external shear, and truncated isothermal members, the BCG first.

All in float64, because the Laplacian of a potential of thousands of arcsec^2 is wanted. alpha and kappa are those for
sources at one redshift; for others they scale with ``efficiency``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlensing.physics import (
    PIXEL_MEAN_CORE,
    cosmology,
    nfw_convergence,
    nfw_deflection,
    nfw_potential,
    shear_deflection,
    shear_potential,
    truncated_convergence,
    truncated_deflection,
    truncated_potential,
)

RING = 720
"""Rays on a circle whose mean radial deflection gives the mass within."""

CACHED = 2**14
"""Positions times members at once: the twenty arrays of a deflection then stay in the caches of a core."""

MEMBER = ("x0", "y0", "q", "phi", "theta_E", "cut")


@dataclass(frozen=True)
class ClusterMass:
    """Halo, shear and members of one cluster.

    Attributes:
        x, y: centre of the halo, and of the shear [arcsec].
        scale_radius, kappa_s: as ``nfw_deflection`` takes them.
        gamma1, gamma2: external shear.
        members: [K, 6] float64 in the order of ``MEMBER``: centre [arcsec], axis ratio, position angle [rad],
            untruncated Einstein radius [arcsec], truncation radius [arcsec].

    Example:
        >>> halo = ClusterMass(0.0, 0.0, 60.0, 0.3, 0.0, 0.0, torch.zeros(0, 6, dtype=torch.float64))
        >>> 10.0 < halo.einstein_radius() < 50.0
        True
    """

    x: float
    y: float
    scale_radius: float
    kappa_s: float
    gamma1: float
    gamma2: float
    members: Tensor

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_x, alpha_y [arcsec] at positions of any shape [arcsec, float64]."""
        parts = [self._deflection(*some) for some in _pieces(x, y)]
        ax, ay = (torch.cat(component).view_as(x) for component in zip(*parts, strict=True))
        return ax, ay

    def _deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        ax, ay = nfw_deflection(x, y, **self._halo())
        for members in self._lots(x):
            more_x, more_y = truncated_deflection(x, y, **members)
            ax, ay = ax.add_(more_x.sum(0)), ay.add_(more_y.sum(0))
        more_x, more_y = shear_deflection(x, y, **self._shear())
        return ax + more_x, ay + more_y

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        """psi [arcsec^2]; alpha is its gradient."""
        return torch.cat([self._potential(*some) for some in _pieces(x, y)]).view_as(x)

    def _potential(self, x: Tensor, y: Tensor) -> Tensor:
        psi = nfw_potential(x, y, **self._halo()) + shear_potential(x, y, **self._shear())
        for members in self._lots(x):
            psi = psi.add_(truncated_potential(x, y, **members).sum(0))
        return psi

    def convergence(self, x: Tensor, y: Tensor, *, spacing: float) -> Tensor:
        """kappa, with the mean over the pixel of size ``spacing`` [arcsec] where a member's cusp lies in its middle."""
        core = PIXEL_MEAN_CORE * spacing
        return torch.cat([self._convergence(*some, core) for some in _pieces(x, y)]).view_as(x)

    def _convergence(self, x: Tensor, y: Tensor, core: float) -> Tensor:
        kappa = nfw_convergence(x, y, **self._halo(), core=core)
        for members in self._lots(x):
            kappa = kappa.add_(truncated_convergence(x, y, **members, core=core).sum(0))
        return kappa

    def mean_convergence(self, radius: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean kappa within circles about the halo's centre: the mean radial deflection over the radius (Gauss)."""
        angle = torch.arange(RING, dtype=torch.float64) * (2 * math.pi / RING)
        r, cos, sin = torch.from_numpy(np.atleast_1d(radius))[:, None], torch.cos(angle), torch.sin(angle)
        ax, ay = self.deflection(self.x + r * cos, self.y + r * sin)
        mean: NDArray[np.float64] = ((ax * cos + ay * sin).mean(1) / r[:, 0]).numpy()
        return mean

    def einstein_radius(self, *, largest: float = 120.0) -> float:
        """Radius about the halo's centre within which kappa is 1 in the mean [arcsec]; 0 where it is less throughout.

        The outermost crossing between 0.5 and ``largest`` [arcsec], to 1e-6 of itself.
        """
        radii = np.geomspace(0.5, largest, 28)
        above = np.flatnonzero(self.mean_convergence(radii) >= 1)
        if not len(above) or above[-1] + 1 == len(radii):
            return 0.0 if not len(above) else largest
        low, high = radii[above[-1]], radii[above[-1] + 1]
        while high / low > 1 + 1e-6:
            steps = np.geomspace(low, high, 12)
            crossed = np.flatnonzero(self.mean_convergence(steps[:-1]) >= 1)
            last = int(crossed[-1]) if len(crossed) else 0
            low, high = steps[last], steps[last + 1]
        return float(math.sqrt(low * high))

    def _halo(self) -> dict[str, float]:
        return {"x0": self.x, "y0": self.y, "scale_radius": self.scale_radius, "kappa_s": self.kappa_s}

    def _shear(self) -> dict[str, float]:
        return {"x0": self.x, "y0": self.y, "gamma1": self.gamma1, "gamma2": self.gamma2}

    def _lots(self, x: Tensor) -> Iterator[dict[str, Tensor]]:
        """Parameters of as many members at once, before the axis of ``x``, as the caches hold."""
        for some in torch.split(self.members, max(1, CACHED // max(1, x.numel()))):
            columns = some.reshape(*some.shape, *[1] * x.dim()).unbind(1)
            yield dict(zip(MEMBER, columns, strict=True))


def _pieces(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions in a row, as many at once as the caches hold."""
    return zip(torch.split(x.flatten(), CACHED), torch.split(y.flatten(), CACHED), strict=True)


def efficiency(z_lens: float, z_source: NDArray[np.float64], z_reference: float) -> NDArray[np.float64]:
    """D_ls / D_s of sources over that at ``z_reference``: what alpha scales with; 0 in front of the lens.

    Example:
        >>> efficiency(0.4, np.array([0.2, 2.0]), 2.0).tolist()
        [0.0, 1.0]
    """
    behind = z_source > z_lens
    far = cosmology.distances(z_lens, np.where(behind, z_source, z_reference))
    reference = cosmology.distances(z_lens, z_reference)
    ratio = far.lens_source / far.source * reference.source / reference.lens_source
    return np.where(behind, ratio, 0.0)
