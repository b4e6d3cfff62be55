"""What makes and compares images: simulate, simulate_clusters, prepare, realism.

Each verb takes its parsed options, imports what it needs, and prints what it wrote.
"""

from __future__ import annotations

import argparse
from pkgutil import resolve_name
from typing import Any

from mlensing.verbs.options import PROGRAM, Options, Parser, signature_parser, words


def simulate_verb(options: Options) -> None:
    """Simulate lenses and impostors, or paint arcs on real images; with an index and their truth."""
    from mlensing.data.prepare import divide
    from mlensing.data.preview import write_preview
    from mlensing.painted import load_hosts
    from mlensing.simulate import Mixture, simulate

    described = {name: options.pop(name) for name in ("hosts", "survey", "pixel_scale", "psf_fwhm", "stretch")}
    index = simulate(**options, hosts=load_hosts(Mixture.load(options["config"]), **described))
    divide(index, seed=options["seed"])
    write_preview(index, index.with_name("preview.png"))
    print(f"wrote {index}; next: {PROGRAM} train --config configs/baseline.yaml --data_dir {index.parent}")


def simulate_parser() -> Any:
    """Options of ``simulate``."""
    made = signature_parser("simulate", "mlensing.simulate:simulate", config_file=False, skip=("hosts",))
    made.add_function_arguments(resolve_name("mlensing.painted:load_hosts"), as_positional=False, skip={"mixture"})
    return made


def simulate_clusters_verb(options: Options) -> None:
    """Simulate fields of galaxy clusters that lens, and of some that do not; with maps and their truth."""
    from mlensing.data.preview import write_preview
    from mlensing.simulate.clusters import simulate_clusters

    index = simulate_clusters(**options)
    write_preview(index, index.with_name("preview.png"), size=min(options["size"], 512), columns=3, rows=1)
    print(f"wrote {index}; look at {index.with_name('preview.png')}")


def prepare_verb(options: Options) -> None:
    """Divide a folder of images into training, validation and test sets."""
    from mlensing.data.prepare import prepare

    prepare(**options)


def realism_verb(options: Options) -> None:
    """Try to tell simulated images from real ones, and say what gives them away."""
    from mlensing.inference.realism import picture_sky, realism, write_realism

    folder = options.pop("output_dir")
    if not options["real"]:
        chosen = {name: options[name] for name in ("simulated", "survey", "seed")}
        print(f"wrote {picture_sky(folder, **chosen)}; name --real images to compare with")
        return
    result, real, simulated = realism(**options)
    write_realism(folder, result, real, simulated)
    print(*result.summary(), sep="\n")
    if real.skipped:
        print(f"left out {len(real.skipped)} unreadable images (see realism.json)")
    print(f"wrote {folder}/realism.html, realism.json and mosaic.png (left: simulated, right: real)")


def realism_parser() -> argparse.ArgumentParser:
    """Options of ``realism``."""
    made = Parser(f"{PROGRAM} realism", **words("realism", argparse.RawDescriptionHelpFormatter))
    made.add_argument("--real", nargs="+", metavar="INPUT", help="files, folders, index CSVs; without: only a mosaic")
    made.add_argument("--simulated", required=True, metavar="MIXTURE", help="YAML file of the simulated sky")
    made.add_argument("--survey", help="preset of files whose header names none: lsst, des, cfhtls, ...")
    made.add_argument("--pixel_scale", type=float, help="of files that state none [arcsec/px]")
    made.add_argument("--classes", nargs="+", default=[], help="classes to compare: lens, nonlens, spiral, ...")
    made.add_argument("--stretch", type=int, help="which of the survey's colour stretches, from 0 (default: all)")
    made.add_argument("--checkpoint", help="a trained finder or an ensemble's folder (default: the released ensemble)")
    made.add_argument("--num_samples", type=int, default=256, help="simulated images (default: %(default)s)")
    made.add_argument("--resamples", type=int, default=500, help="of the bootstrap (default: %(default)s)")
    made.add_argument("--seed", type=int, default=0, help="of sky and discriminators (default: %(default)s)")
    made.add_argument("--title", default="Realism", help="head of the page")
    made.add_argument("--output_dir", default="realism", help="where to write (default: %(default)s)")
    return made
