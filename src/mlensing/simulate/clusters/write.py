"""Cluster fields on disk: FITS cubes with WCS, maps and the truth, ``index.csv``, ``provenance.json``; resumable."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from astropy.io import fits
from astropy.wcs import WCS
from rich.progress import track

from mlensing.errors import ConfigError
from mlensing.provenance import provenance, replacing
from mlensing.simulate.camera.instrument import ZERO_POINT
from mlensing.simulate.clusters.field import IMAGE_COLUMNS, THETA_E, ClusterField, ClusterSimulator
from mlensing.simulate.draws import Draws
from mlensing.simulate.workers import write_each
from mlensing.simulate.write import PARTS, bar, claim, part, tidy

Card = str | int | float
UNITS = {"kappa": "", "psi": "arcsec2", "alpha": "arcsec"}
KINDS = ("massless_cluster", "cluster")


def simulate_clusters(
    *,
    num_fields: int,
    survey: str = "lsst",
    size: int = 512,
    output_dir: str = "data/clusters",
    seed: int = 42,
    lens_share: float = 0.5,
    theta_E: tuple[float, float] = THETA_E,
    maps: bool = True,
    num_workers: int | None = None,
) -> Path:
    """Write simulated galaxy clusters and the galaxies behind them, with an index and their truth.

    Each field is a FITS cube with a WCS (north up, east left), the maps KAPPA, PSI and ALPHA, and a table IMAGES of
    where the bright sources are imaged. PSI is float64, because its Laplacian is wanted.

    Interrupted and started again it goes on where it stopped; the result is byte-identical to an uninterrupted run.

    Arguments:
        num_fields: how many fields.
        survey: preset, or a YAML file.
        size: pixels a side.
        output_dir: folder of ``fields/``, ``index.csv`` and ``provenance.json``.
        seed: of the whole set.
        lens_share: share of the clusters that lens; the others have the same galaxies and no mass.
        theta_E: smallest and largest Einstein radius [arcsec]; the frame may allow less.
        maps: write kappa, psi and alpha beside each image.
        num_workers: processes; None takes one per core.

    Returns:
        path of ``index.csv``.

    Raises:
        ConfigError: a count or a size that cannot be, or a folder that holds another set.
        SurveyError: an unknown survey.
    """
    if num_fields < 1:
        raise ConfigError("num_fields", f"expected 1 or more, got {num_fields}", "Take 100.")
    work = FieldWork(survey, size, seed, lens_share, theta_E, maps, Path(output_dir))
    settings = {"survey": work.simulator.survey.model_dump(mode="json"), "size": size, "num_fields": num_fields}
    settings |= {"lens_share": lens_share, "theta_E": list(theta_E), "maps": maps}
    claim(work.folder, provenance("simulate_clusters", settings, seed))
    index = work.folder / "index.csv"
    if not index.exists():
        parts = work.folder / PARTS
        parts.mkdir(exist_ok=True)
        missing = [number for number in range(num_fields) if not part(parts, number).exists()]
        for _ in track(write_each(work, missing, num_workers), total=len(missing), **bar()):
            pass
        rows = pd.concat([pd.read_csv(part(parts, n), dtype=str, keep_default_na=False) for n in range(num_fields)])
        with replacing(index) as beside:
            rows.to_csv(beside, index=False, lineterminator="\n")
    tidy(work.folder)
    return index


@dataclass(frozen=True)
class FieldWork:
    """What all fields of a set share.

    Attributes:
        survey, size, seed, lens_share, theta_E, maps: arguments of ``simulate_clusters``.
        folder: of the set.
    """

    survey: str
    size: int
    seed: int
    lens_share: float
    theta_E: tuple[float, float]
    maps: bool
    folder: Path

    @cached_property
    def simulator(self) -> ClusterSimulator:
        """Made where it is first used: in the process that does the work."""
        return ClusterSimulator(
            self.survey, size=self.size, seed=self.seed, lens_share=self.lens_share, theta_E=self.theta_E
        )

    def write(self, number: int) -> None:
        """The file of one field, then the part of the index that says it is whole."""
        field = self.simulator.field(number, maps=self.maps)
        name = f"fields/cluster_{number:06d}.fits"
        row, wcs = _row(self.simulator, field), sky_of(self.simulator, number)
        with replacing(self.folder / name) as beside:
            beside.write_bytes(_content(field, row, wcs))
        (ra, dec), label = _position(wcs, self.simulator, field), int(field.truth["label"])
        row = {"filepath": name, "label": label, **row, "ra": ra, "dec": dec, "kind": KINDS[label]}
        with replacing(part(self.folder / PARTS, number)) as beside:
            pd.DataFrame([row]).to_csv(beside, index=False, lineterminator="\n", float_format="%.12g")


def sky_of(simulator: ClusterSimulator, number: int) -> WCS:
    """Where on the sky a field lies: anywhere within 60 degrees of the equator, north up, east left."""
    draws = Draws(simulator.seed, torch.tensor([number]))
    u, v = draws.uniform("sky", 2)[0].tolist()
    wcs = WCS(naxis=2)
    degrees = simulator.survey.pixel_scale / 3600.0
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crpix = [(simulator.size + 1) / 2] * 2
    wcs.wcs.crval = [round(360 * u, 4), round(float(np.degrees(np.arcsin((2 * v - 1) * np.sqrt(0.75)))), 4)]
    wcs.wcs.cd = np.array([[-degrees, 0.0], [0.0, degrees]])
    return wcs


def _position(wcs: WCS, simulator: ClusterSimulator, field: ClusterField) -> tuple[float, float]:
    """Right ascension and declination of the BCG [deg]."""
    middle = (simulator.size - 1) / 2
    pixel = [value / simulator.survey.pixel_scale + middle for value in field.centre]
    ra, dec = wcs.wcs_pix2world([pixel], 0)[0]
    return float(ra), float(dec)


def _row(simulator: ClusterSimulator, field: ClusterField) -> dict[str, Card]:
    """Index columns of a field but for where it is."""
    truth = {name: value for name, value in field.truth.items() if name != "label"}
    survey = {"survey": simulator.survey.name, "bands": ",".join(simulator.bands)}
    counts = {name: int(truth.pop(name)) for name in ("members", "arcs")}
    return {"pixel_scale_arcsec": simulator.survey.pixel_scale, **truth, **counts, **survey}


def _content(field: ClusterField, row: dict[str, Card], wcs: WCS) -> bytes:
    """The FITS file: HDU 0 a cube [band, y, x]; KAPPA, PSI, ALPHA; the table IMAGES."""
    sky = wcs.to_header()
    del sky["WCSAXES"]  # cubes have an axis more, which is the band's
    primary = fits.PrimaryHDU(field.image.numpy(), sky)
    cards = {"PIXSCALE": row["pixel_scale_arcsec"], "BANDS": row["bands"], "SURVEY": row["survey"]}
    cards |= {"LABEL": int(field.truth["label"]), "ZEROPNT": ZERO_POINT}
    cards |= {name.upper(): row[name] for name in ("z_lens", "z_source", "sigma_crit", "theta_E")}
    for key, value in cards.items():
        primary.header[f"HIERARCH {key}" if len(key) > 8 else key] = value
    hdus = [primary]
    for name, plane in field.maps.items():
        kind = np.float64 if name == "psi" else np.float32
        hdu = fits.ImageHDU(plane.numpy().astype(kind), sky, name=name.upper())
        hdu.header["BUNIT"] = UNITS[name]
        hdus.append(hdu)
    columns = [fits.Column(name, "D", array=field.images[:, i].numpy()) for i, name in enumerate(IMAGE_COLUMNS)]
    hdus.append(fits.BinTableHDU.from_columns(columns, name="IMAGES"))
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return buffer.getvalue()
