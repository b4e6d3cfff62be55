"""Who is in a cluster field: the halo, the galaxies of its red sequence, and all that lies behind.

One cluster a sample. Positions in arcsec from the middle of the frame; fluxes at AB zero point 30.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mlensing.physics import cosmology, nfw_deflection, nfw_scale
from mlensing.simulate.clusters.mass import ClusterMass, efficiency
from mlensing.simulate.draws import Draws
from mlensing.simulate.population import M_STAR_R, SIGMA_AT_M
from mlensing.simulate.tables import interpolate

SLOTS = 90  # members at most, the BCG first
Z_LENS = (0.2, 0.65)
Z_SOURCE = (1.2, 3.0)
STEEP = 1.0  # dn / d theta_E ~ theta_E^-(1 + STEEP), over the range asked for
CONCENTRATION, SCATTER = 7.0, 0.25  # of lensing clusters, as Oguri+2012 found them; natural log
MASSES = np.geomspace(3e12, 3e16, 240)
M_STAR = -21.6  # knee of the members' luminosity function, r
FAINTEST = 4.0  # magnitudes below the knee
BCG = (-23.4, 0.3)
CUT_KPC = 40.0  # truncation of a galaxy at the knee; ~ L^0.5 (Limousin+2007)
BCG_CUT_KPC = 100.0
KPC_RADIUS = 4.0  # half-light radius of a galaxy of M_STAR_R, as in ``simulate.population``


@dataclass(frozen=True)
class Cluster:
    """A cluster and its galaxies; fields of galaxies are [K], the BCG first.

    Attributes:
        z, z_source: of the cluster, and of the sources that the mass is stated for.
        mass: of it all; empty for a cluster that does not lens.
        x, y: of the galaxies [arcsec].
        magnitude: apparent r [AB].
        fainter: r magnitudes below the knee of the luminosity function.
        radius: half-light [arcsec].
        q, phi: axis ratio and position angle, of light and mass.
        sigma_v: [km/s].
        m200: mass of the halo [Msun].
    """

    z: float
    z_source: float
    mass: ClusterMass
    x: Tensor
    y: Tensor
    magnitude: Tensor
    fainter: Tensor
    radius: Tensor
    q: Tensor
    phi: Tensor
    sigma_v: Tensor
    m200: float


def draw_cluster(draws: Draws, *, theta_E: tuple[float, float], half_width: float, lensing: bool) -> Cluster:
    """A cluster whose Einstein radius about the BCG lies in a range.

    The halo makes up what the members lack, at a concentration that is drawn.

    Arguments:
        draws: of one index.
        theta_E: smallest and largest [arcsec].
        half_width: of the frame [arcsec].
        lensing: without it the galaxies are there, and no mass.
    """
    z = _one(draws.uniform("cluster/z", low=Z_LENS[0], high=Z_LENS[1]))
    z_source = _one(draws.uniform("cluster/z_source", low=Z_SOURCE[0], high=Z_SOURCE[1]))
    u, (low, high) = _one(draws.uniform("cluster/theta_E")), theta_E
    radius = (low**-STEEP + u * (high**-STEEP - low**-STEEP)) ** (-1 / STEEP)
    centre = 0.06 * half_width * draws.uniform("cluster/dither", 2, low=-1.0, high=1.0)[0]
    galaxies = _galaxies(draws, z, radius, centre, half_width)
    members = _members(galaxies, z, z_source)
    gamma, angle = _one(draws.uniform("shear", low=0.04, high=0.14)), _one(draws.uniform("shear/phi", high=math.pi))
    x, y = centre.tolist()
    shear = {"gamma1": gamma * math.cos(2 * angle), "gamma2": gamma * math.sin(2 * angle)}
    bare = ClusterMass(x, y, 1.0, 0.0, members=members, **shear)
    concentration = CONCENTRATION * math.exp(SCATTER * _one(draws.normal("cluster/concentration")))
    mass = _filled(bare, radius, concentration, z, z_source)
    m200 = mass.pop("m200")
    whole = ClusterMass(x, y, members=members, **mass, **shear)
    empty = ClusterMass(x, y, 1.0, 0.0, 0.0, 0.0, members[:0])
    return Cluster(z, z_source, whole if lensing else empty, m200=m200 if lensing else 0.0, **galaxies)


def _one(value: Tensor) -> float:
    return float(value[0])


def _filled(bare: ClusterMass, radius: float, concentration: float, z: float, z_source: float) -> dict[str, float]:
    """The halo with which mean kappa is 1 within ``radius`` of the BCG."""
    lacking = max(0.05, 1.0 - float(bare.mean_convergence(np.array([radius]))[0]))
    scale, strength = nfw_scale(MASSES, concentration, z, z_source)
    at = torch.full((len(MASSES),), radius, dtype=torch.float64)
    of = {"scale_radius": torch.from_numpy(np.asarray(scale)), "kappa_s": torch.from_numpy(np.asarray(strength))}
    within = (nfw_deflection(at, 0 * at, x0=0.0, y0=0.0, **of)[0] / radius).numpy()
    m200 = float(np.exp(np.interp(np.log(lacking), np.log(within), np.log(MASSES))))
    scale, strength = nfw_scale(m200, concentration, z, z_source)
    return {"scale_radius": float(scale), "kappa_s": float(strength), "m200": m200}


def _galaxies(draws: Draws, z: float, theta_E: float, centre: Tensor, half_width: float) -> dict[str, Tensor]:
    """BCG and members: more of them and farther out the larger theta_E; a luminosity function of slope -1."""
    distance = float(cosmology.distances(z, z + 1.0).lens)  # Mpc
    kpc = 1000.0 * distance / 206264.8  # an arcsec
    fainter = _schechter(draws.uniform("member/luminosity", SLOTS)[0])
    bcg = BCG[0] + BCG[1] * _one(draws.normal("bcg/luminosity")) - M_STAR
    fainter = torch.cat([torch.tensor([bcg]), fainter[1:]])
    absolute = M_STAR + fainter
    modulus = 5 * math.log10(distance * (1 + z) ** 2) + 25 + 0.3 * z + 1.1 * z**2  # with k correction and evolution
    # the projected density falls as 1 / (r + a)^3 out to the corners of the frame
    core, farthest = 1.5 * theta_E, 1.3 * half_width
    share = draws.uniform("member/distance", SLOTS)[0].sqrt() * farthest / (farthest + core)
    r, angle = core * share / (1 - share), draws.uniform("member/azimuth", SLOTS, high=2 * math.pi)[0]
    r[0] = 0.0
    radius = KPC_RADIUS * 10 ** (-0.26 * (absolute - M_STAR_R) + 0.12 * draws.normal("member/size", SLOTS)[0])
    sigma_v = (SIGMA_AT_M * 10 ** (-0.1 * (absolute - M_STAR_R))).clamp(max=340.0)
    fields = {
        "x": centre[0] + r * torch.cos(angle),
        "y": centre[1] + r * torch.sin(angle),
        "magnitude": absolute + modulus,
        "fainter": fainter,
        "radius": (radius / kpc).clamp(min=0.12),
        "q": draws.uniform("member/q", SLOTS, low=0.5, high=1.0)[0],
        "phi": draws.uniform("member/phi", SLOTS, high=math.pi)[0],
        "sigma_v": sigma_v,
    }
    richness = min(0.95, (20.0 + 1.2 * theta_E) / SLOTS)
    active = draws.chance("member/active", richness, SLOTS)[0]
    active[0] = True
    return {name: value[active] for name, value in fields.items()}


def _members(galaxies: dict[str, Tensor], z: float, z_source: float) -> Tensor:
    """[K, 6] as ``ClusterMass`` takes them."""
    g = {name: value.double() for name, value in galaxies.items()}
    unit = float(cosmology.einstein_radius(1.0, z, z_source))
    kpc = 1000.0 * float(cosmology.distances(z, z_source).lens) / 206264.8
    cut = CUT_KPC / kpc * 10 ** (-0.2 * g["fainter"])
    cut[0] = BCG_CUT_KPC / kpc
    return torch.stack([g["x"], g["y"], g["q"], g["phi"], unit * g["sigma_v"] ** 2, cut], 1)


@lru_cache(maxsize=1)
def _schechter_table() -> tuple[Tensor, Tensor]:
    """Cumulative counts of a Schechter function of slope -1, and magnitudes below its knee."""
    below = np.linspace(-1.3, FAINTEST, 200)
    counts = np.cumsum(np.exp(-(10 ** (-0.4 * below))))
    return torch.from_numpy(counts / counts[-1]).float(), torch.from_numpy(below).float()


def _schechter(u: Tensor) -> Tensor:
    return interpolate(u, *_schechter_table())


def source_efficiency(cluster: Cluster, z: Tensor) -> Tensor:
    """What alpha of the cluster's mass is multiplied by for sources at redshifts ``z`` [K]; float64."""
    return torch.from_numpy(efficiency(cluster.z, z.double().numpy(), cluster.z_source))
