"""PSF, noise and exposure, against the survey's numbers and against statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy import ndimage, signal, stats
from torch import Tensor

from mlensing.simulate.camera.instrument import ZERO_POINT, Instrument, Observation, convolve, draw_observation
from mlensing.simulate.draws import Draws
from mlensing.survey import Survey, survey_names

COUNT = 48


def view_of(survey: str, count: int = COUNT, bands: Sequence[str] | None = None) -> Instrument:
    preset = Survey.load(survey)
    table = Instrument.of([preset], [bands or preset.channel_bands()], torch.device("cpu"))
    return table[torch.zeros(count, dtype=torch.int64)]


def nominal(survey: str, count: int = COUNT) -> Observation:
    """The survey's medians, with a round PSF and a perfect sky subtraction."""
    view, zero = view_of(survey, count), torch.zeros(count)
    background = torch.zeros(count, view.bands.shape[1])
    return Observation(
        view=view,
        moffat=torch.full((count,), 3.5),
        e1=zero,
        e2=zero,
        background=background,
        slope=torch.zeros(count, 2),
        resampling=zero,
    )


def half_width(kernel: Tensor, spacing: float) -> float:
    """FWHM [arcsec] along x of a centred kernel, by cubic interpolation."""
    row = torch.fft.fftshift(kernel).numpy()[kernel.shape[0] // 2]
    fine = np.linspace(0, len(row) - 1, 100 * len(row))
    profile = ndimage.map_coordinates(row.astype(np.float64), [fine], order=3)
    above = fine[profile > profile.max() / 2]
    return float(above[-1] - above[0]) * spacing


@pytest.mark.parametrize("survey", survey_names())
def test_the_psf_sums_to_one_and_has_the_width_asked_for(survey: str) -> None:
    seen = nominal(survey, 2)
    spacing = seen.view.pixel_scale / 4
    psf = seen.psf(size=320, spacing=spacing)
    torch.testing.assert_close(psf.sum((-2, -1)), torch.ones(2, 3))
    assert (psf >= 0).all() and (psf.flatten(2).argmax(-1) == 0).all()
    for band in range(3):
        width = half_width(psf[0, band], float(spacing[0]))
        assert width == pytest.approx(float(seen.view.fwhm[0, band]), rel=0.01)


def test_the_psf_is_symmetric_and_its_ellipticity_has_a_sign() -> None:
    seen = nominal("lsst", 3)
    seen.e1, seen.e2 = torch.tensor([0.0, 0.1, 0.0]), torch.tensor([0.0, 0.0, 0.1])
    psf = seen.psf(size=64, spacing=seen.view.pixel_scale)[:, 0]
    torch.testing.assert_close(psf[0], psf[0].T)
    assert psf[1][0, 3] > psf[1][3, 0], "e1 > 0 is long in x"
    assert psf[2][3, 3] > psf[2][3, -3], "e2 > 0 is long along the diagonal"


def test_the_grid_samples_the_sharpest_psf() -> None:
    for name in survey_names():
        view = view_of(name, 1)
        assert view.fwhm.amin() / view.pixel_scale[0] * view.fine[0] >= 2.49


def test_seeing_scatters_about_the_median_and_bands_go_together() -> None:
    view = view_of("des", 4000)
    seen = draw_observation(Draws(3, torch.arange(4000)), view)
    fwhm = seen.view.fwhm
    torch.testing.assert_close(fwhm.median(0).values, view.fwhm[0], rtol=0.02, atol=0)
    torch.testing.assert_close(fwhm.std(0), view.scatter[0], rtol=0.06, atol=0)
    assert torch.corrcoef(fwhm.T)[0, 1] == pytest.approx(0.64, abs=0.05)
    assert (seen.view.exposure / view.exposure).log().std() == pytest.approx(0.25, rel=0.06)
    assert torch.equal(view.fwhm, view_of("des", 4000).fwhm), "the survey's own numbers stay as they are"


def test_convolution_is_linear_and_padded() -> None:
    generator = torch.Generator().manual_seed(0)
    image, kernel = torch.rand(1, 1, 20, 20, generator=generator), torch.rand(7, 7, generator=generator)
    wrapped = torch.zeros(32, 32)
    wrapped[:7, :7] = kernel
    transfer = torch.fft.rfft2(wrapped.roll((-3, -3), (0, 1)))[None, None]
    expected = signal.convolve2d(image[0, 0].numpy(), kernel.numpy(), mode="same")
    np.testing.assert_allclose(convolve(image, transfer)[0, 0].numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("survey", survey_names())
def test_an_empty_sky_has_the_noise_of_the_survey(survey: str) -> None:
    seen, preset = nominal(survey), Survey.load(survey)
    image = seen.expose(torch.zeros(COUNT, 3, 32, 32), Draws(1, torch.arange(COUNT)))
    for band, name in enumerate(preset.channel_bands()):
        gain = 10 ** (0.4 * (preset.bands[name].zero_point - ZERO_POINT))
        noise = preset.sky_noise(name) / gain
        assert image[:, band].std() == pytest.approx(noise, rel=0.03)
        assert abs(image[:, band].mean()) < 5 * noise / image[:, band].numel() ** 0.5
        assert seen.noise(torch.zeros(COUNT, 3, 1, 1))[0, band].item() == pytest.approx(noise, rel=1e-4)


def test_a_bright_source_has_poisson_noise() -> None:
    seen = nominal("lsst")
    flux = torch.full((COUNT, 3, 32, 32), 3000.0)
    image = seen.expose(flux, Draws(2, torch.arange(COUNT)))
    electrons = flux[0, :, 0, 0] * seen.view.gain[0] * seen.view.exposure[0]
    other = (seen.view.sky * seen.view.exposure + seen.view.read_variance)[0]
    assert (electrons > 3 * other).all(), "the source dominates"
    counts = image * (seen.view.gain * seen.view.exposure)[..., None, None]
    torch.testing.assert_close(image.mean((0, 2, 3)), flux[0, :, 0, 0], rtol=1e-3, atol=0)
    torch.testing.assert_close(counts.var((0, 2, 3)), electrons + other, rtol=0.03, atol=0)


def test_few_counts_are_skewed_as_poisson_counts_are() -> None:
    seen = nominal("sdss")
    seen.view.read_variance = torch.zeros_like(seen.view.read_variance)
    seen.view.sky = torch.full_like(seen.view.sky, 20.0) / seen.view.exposure
    image = seen.expose(torch.zeros(COUNT, 3, 32, 32), Draws(2, torch.arange(COUNT)))
    counts = (image * (seen.view.gain * seen.view.exposure)[..., None, None]).flatten()
    assert counts.var().item() == pytest.approx(20.0, rel=0.02)
    assert stats.skew(counts.numpy()) == pytest.approx(20**-0.5, rel=0.1)


def test_what_the_sky_subtraction_left_is_a_pedestal_in_units_of_the_noise() -> None:
    seen = nominal("des", 4)
    seen.background = torch.tensor([[0.5], [0.0], [-0.5], [2.0]]).expand(4, 3)
    level = seen.expose(torch.zeros(4, 3, 64, 64), Draws(0, torch.arange(4))).mean((2, 3))
    rate = seen.view.sky[0] * seen.view.exposure[0]
    expected = seen.background * torch.sqrt(rate) / (seen.view.gain * seen.view.exposure)
    assert ((level - expected).abs() < 5 * seen.noise(torch.zeros(4, 3, 1, 1))[..., 0, 0] / 64).all()


def test_resampled_noise_keeps_its_variance_and_correlates_as_told() -> None:
    seen = nominal("des", 8)
    seen.resampling = torch.linspace(0.0, 0.6, 8)
    noise = seen.expose(torch.zeros(8, 3, 64, 64), Draws(4, torch.arange(8)))
    torch.testing.assert_close(noise.std((2, 3)), seen.noise(torch.zeros(8, 3, 64, 64))[..., 0, 0], rtol=0.04, atol=0)
    for along, other in ((noise[..., 1:], noise[..., :-1]), (noise[..., 1:, :], noise[..., :-1, :])):
        correlation = (along * other).mean((1, 2, 3)) / noise.square().mean((1, 2, 3))
        assert (correlation - seen.resampling).abs().max() < 0.04


def test_a_sloping_sky_is_zero_in_the_middle() -> None:
    seen = nominal("des", 2)
    seen.slope = torch.tensor([[30.0, 0.0], [0.0, 30.0]])
    image = seen.expose(torch.zeros(2, 3, 33, 33), Draws(4, torch.arange(2))).mean(1)
    assert image[0, :, -1].mean() > -image[0, :, 0].mean() * 0.9 > 0
    assert image[1, -1].mean() > -image[1, 0].mean() * 0.9 > 0
    assert image[0, :, 16].mean().abs() < 0.1 * image[0, :, -1].mean()


def test_a_band_asked_for_twice_is_exposed_once() -> None:
    view = view_of("euclid", 2)
    seen = draw_observation(Draws(3, torch.arange(2)), view)
    image = seen.expose(torch.zeros(2, 3, 16, 16), Draws(4, torch.arange(2)))
    assert torch.equal(image[:, 0], image[:, 1]) and torch.equal(image[:, 0], image[:, 2])


def test_larger_pixels_take_more_sky() -> None:
    view = view_of("des", 2)
    wide = view.zoomed(torch.tensor([1.0, 2.0]))
    assert torch.equal(wide.pixel_scale, view.pixel_scale * torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(wide.sky[1], 4 * view.sky[1])
    assert torch.equal(wide.sky[0], view.sky[0])
