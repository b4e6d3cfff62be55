"""What a simulated sky takes from the real one: galaxies to lens, point-spread functions, cutouts to paint on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mlensing.errors import ConfigError
from mlensing.simulate.real.galaxies import Morphologies
from mlensing.simulate.real.hosts import Hosts
from mlensing.simulate.real.psfs import RealPsfs


@dataclass(frozen=True)
class RealSky:
    """Observed ingredients of a simulation; each may be absent.

    Attributes:
        sources: galaxies to lens.
        psfs: point-spread functions.
        hosts: cutouts to paint on instead of drawing the sky.

    Example:
        >>> RealSky.load().record()
        {}
    """

    sources: Morphologies | None = None
    psfs: RealPsfs | None = None
    hosts: Hosts | None = None

    @classmethod
    def load(
        cls,
        sources: str | None = None,
        psfs: str | None = None,
        psf_scale: float | None = None,
        hosts: Hosts | None = None,
    ) -> RealSky:
        """From a folder of galaxies (``Morphologies.load``) and a file or folder of PSFs (``RealPsfs.load``).

        Arguments:
            psf_scale: of PSF files that state none [arcsec/px].
            hosts: as they are.

        Raises:
            ConfigError: either cannot be used, or a scale without PSFs.
        """
        if psf_scale is not None and psfs is None:
            raise ConfigError("psf_scale", "there are no PSFs for it", "Give --psfs FILE, or leave --psf_scale out.")
        return cls(
            sources=None if sources is None else Morphologies.load(sources),
            psfs=None if psfs is None else RealPsfs.load(psfs, psf_scale),
            hosts=hosts,
        )

    def parts(self) -> dict[str, Any]:
        """Arguments of the simulator."""
        return {"sources": self.sources, "psfs": self.psfs, "hosts": self.hosts}

    def divided(self) -> tuple[RealSky, RealSky]:
        """To train on and to validate on: hosts of their own, all else in common."""
        if self.hosts is None:
            return self, self
        seen, unseen = self.hosts.divided()
        return replace(self, hosts=seen), replace(self, hosts=unseen)

    def record(self) -> dict[str, dict[str, Any]]:
        """Content hash, counts and origin of each that is there, for ``provenance.json``.

        Raises:
            ConfigError: no galaxy is usable.
        """
        return {name: part.record() for name, part in self.parts().items() if part is not None}
