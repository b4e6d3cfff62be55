"""From a folder of real images to hosts that arcs are painted on."""

from __future__ import annotations

import sys

from mlensing.data.alike import read_hosts
from mlensing.errors import ConfigError
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.real.hosts import Hosts


def load_hosts(
    mixture: Mixture,
    *,
    hosts: str | None = None,
    survey: str | None = None,
    pixel_scale: float | None = None,
    psf_fwhm: float | list[float] | None = None,
    stretch: int | None = None,
) -> Hosts | None:
    """Real images as hosts in the size and bands of a mixture; None without any. Those left out are told on stderr.

    Arguments:
        mixture: whose size and bands.
        hosts: real images to paint arcs on, a folder or an index CSV; all but lenses are then these as they are.
        survey: preset of hosts whose header names none.
        pixel_scale: of hosts that state none [arcsec/px].
        psf_fwhm: PSF of the hosts, one or one a band [arcsec]; None takes the survey's.
        stretch: which of the survey's colour stretches pictures among them have, from 0; None tries all.

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
