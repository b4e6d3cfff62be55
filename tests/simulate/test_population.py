"""Who is on the sky: in range, astronomically plausible, and the same galaxies whatever the label."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from mlensing.physics import einstein_radius
from mlensing.simulate.camera.instrument import Instrument
from mlensing.simulate.draws import Draws
from mlensing.simulate.mixture import KINDS
from mlensing.simulate.population import BRIGHTEST, SIGMA_V, Z_LENS, Galaxies, draw_deflectors
from mlensing.simulate.sky import Sky
from mlensing.survey import Survey

COUNT = 6000


def galaxies(wide_share: float, low: float = 0.7, high: float = 4.0, faintest: float = torch.inf) -> Galaxies:
    limit = {
        "theta_E": (torch.full((COUNT,), low), torch.full((COUNT,), high)),
        "faintest": torch.full((COUNT,), faintest),
    }
    return draw_deflectors(Draws(11, torch.arange(COUNT)), wide_share=wide_share, **limit)


@pytest.fixture(scope="module")
def natural() -> Galaxies:
    return galaxies(0.0)


def test_everything_is_finite_and_in_range(natural: Galaxies) -> None:
    for population in (natural, galaxies(1.0), galaxies(0.5, low=2.0, high=2.0)):
        for name, value in vars(population).items():
            assert torch.isfinite(value).all() and (value > 0).all(), name
        assert (population.z_source > population.z).all()
        assert population.z.min() > Z_LENS[0] - 0.05 and population.z.max() < Z_LENS[1] + 0.05
        assert population.magnitude_r.min() >= BRIGHTEST
    assert natural.theta_E.min() >= 0.7 and natural.theta_E.max() <= 4.0
    assert natural.sigma_v.min() > 0.9 * SIGMA_V[0] and natural.sigma_v.max() < 1.1 * SIGMA_V[1]


def test_the_natural_law_falls_and_the_wide_one_is_log_uniform(natural: Galaxies) -> None:
    thirds = torch.histc(natural.theta_E, 3, 0.7, 4.0)
    assert thirds[0] > 4 * thirds[1] > 8 * thirds[2] > 0
    wide = (galaxies(1.0).theta_E / 0.7).log() / torch.tensor(4.0 / 0.7).log()
    assert stats.kstest(wide.numpy(), "uniform").pvalue > 0.01


def test_natural_law_quantiles() -> None:
    """Those of the velocity-dispersion function times volume times cross-section, as design work found them."""
    theta = galaxies(0.0, low=0.5, high=5.0)
    found = torch.quantile(theta.theta_E, torch.tensor([0.16, 0.5, 0.84]))
    assert found.tolist() == pytest.approx([0.62, 0.89, 1.37], rel=0.12)
    found = torch.quantile(theta.z, torch.tensor([0.16, 0.5, 0.84]))
    assert found.tolist() == pytest.approx([0.30, 0.54, 0.82], rel=0.12)


def test_dispersion_redshifts_and_radius_obey_the_isothermal_sphere(natural: Galaxies) -> None:
    """To the width of the cells that the population is tabulated in."""
    args = (v.double().numpy() for v in (natural.sigma_v, natural.z, natural.z_source))
    ratio = torch.from_numpy(einstein_radius(*args)) / natural.theta_E
    assert ratio.median().item() == pytest.approx(1.0, abs=0.01)
    assert ((ratio - 1).abs() < 0.1).float().mean() > 0.9


def test_bigger_galaxies_are_brighter(natural: Galaxies) -> None:
    near = natural.z < 0.4
    assert stats.spearmanr(natural.sigma_v[near], natural.magnitude_r[near]).statistic < -0.4


def test_faint_galaxies_are_drawn_again(natural: Galaxies) -> None:
    bright = galaxies(0.0, faintest=20.0)
    kept = natural.magnitude_r <= 20.0
    assert 0.05 < kept.float().mean() < 0.5
    assert torch.equal(bright.theta_E[kept], natural.theta_E[kept]), "who is bright enough stays"
    assert (bright.magnitude_r <= 20.0).float().mean() > 2 * kept.float().mean()


def test_limits_that_leave_one_radius_give_it() -> None:
    assert (galaxies(0.5, low=2.0, high=2.0).theta_E == 2.0).all()


def central(kinds: Tensor, population: Galaxies) -> dict[str, Tensor]:
    """Magnitude, colours, size and shape of the object in the middle of each sample of a sky."""
    table = Instrument.of([Survey.load("lsst")], [["g", "r", "i"]], torch.device("cpu"))
    index = torch.arange(len(kinds))
    view = table[torch.zeros_like(index)]
    offset = torch.full((len(kinds), 2), 0.123456)
    light = Sky(Draws(11, index), view, population, kinds, offset, size=64).light()
    rows = (light.x == offset[0, 0]) & (light.y == offset[0, 1])
    middle = light[rows.nonzero()[:, 0]]
    middle = middle[torch.argsort(middle.owner)]
    assert torch.equal(middle.owner, index), "one central object a sample"
    shape = {"radius": middle.radius, "n": middle.n, "q": middle.q, "phi": middle.phi}
    g, r, i = (-2.5 * torch.log10(middle.flux)).T
    return shape | {"r": r, "g-r": g - r, "r-i": r - i}


def test_the_central_galaxy_does_not_tell_lenses_from_ellipticals(natural: Galaxies) -> None:
    chosen = Draws(11, torch.arange(COUNT)).choice("kind", torch.tensor([0.5, 0.5]))
    lens, elliptical = KINDS.index("lens"), KINDS.index("elliptical")
    kinds = torch.where(chosen == 0, lens, elliptical)
    for name, value in central(kinds, natural).items():
        test = stats.ks_2samp(value[kinds == lens].numpy(), value[kinds == elliptical].numpy())
        assert test.pvalue > 0.01, name


def test_a_lens_and_an_elliptical_of_one_index_have_the_same_central_galaxy(natural: Galaxies) -> None:
    few = natural[torch.arange(300)]
    both = [central(torch.full((300,), KINDS.index(kind)), few) for kind in ("lens", "elliptical")]
    for name, value in both[0].items():
        assert torch.equal(value, both[1][name]), name
