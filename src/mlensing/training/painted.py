"""From a folder of real images to hosts that arcs are painted on."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mlensing.data.alike import read_hosts
from mlensing.errors import ConfigError
from mlensing.simulate.hosts import Hosts
from mlensing.simulate.mixture import Mixture


def load_hosts(
    hosts: str | None,
    mixture: Mixture,
    *,
    survey: str | None = None,
    pixel_scale: float | None = None,
    psf_fwhm: float | Sequence[float] | None = None,
    stretch: int | None = None,
) -> Hosts | None:
    """Real images as hosts in the size and bands of a mixture; None without any. Those left out are told on stderr.

    Arguments:
        hosts: folder, or index CSV, as ``mlensing.data.alike.read_hosts`` takes it.
        mixture: whose size and bands.
        survey, pixel_scale: of images that state none [arcsec/px].
        psf_fwhm: PSF width of each band, or one for all [arcsec]; None takes the survey's.
        stretch: which of the survey's colour stretches pictures have, from 0; None tries all.

    Raises:
        ConfigError: not one usable host, no PSF, or a description of hosts without any.
        CatalogError, ImageError, SurveyError: as ``read_hosts`` and ``Hosts.of``.
    """
    if hosts is None:
        described = {"survey": survey, "pixel_scale": pixel_scale, "psf_fwhm": psf_fwhm, "stretch": stretch}
        for name, value in described.items():
            if value is not None:
                raise ConfigError(name, "it describes hosts, and there are none", "Name them with --hosts.")
        return None
    cutouts = read_hosts(hosts, size=mixture.size, bands=mixture.bands, survey=survey, pixel_scale=pixel_scale)
    if cutouts.skipped:
        reason = next(iter(cutouts.skipped.values()))
        told = f"left out {len(cutouts.skipped)} of {len(cutouts) + len(cutouts.skipped)} hosts; the first: {reason}"
        print(told, file=sys.stderr)
    return Hosts.of(cutouts, psf_fwhm=psf_fwhm, stretch=stretch)
