"""What others may build on: names, errors, verbs, and a program that answers at once."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys

import pytest

import mlensing
from mlensing import errors
from mlensing.cli import EXAMPLES, PARSERS, VERBS, main

FACE = {
    "mlensing": ["__version__"],
    "mlensing.catalog": ["Catalog"],
    "mlensing.contract": ["CHANNELS", "BandStatistics", "ModelContract"],
    "mlensing.data.alike": ["read_hosts"],
    "mlensing.data.cutout": ["Cutout", "read_cutout"],
    "mlensing.data.dataset": ["LensFITSDataset"],
    "mlensing.data.module": ["LensDataModule"],
    "mlensing.data.prepare": ["divide", "prepare"],
    "mlensing.evaluation.metrics": ["METRICS"],
    "mlensing.evaluation.census": ["Census", "census"],
    "mlensing.evaluation.positive_unlabelled": ["labelling_share", "lens_probability", "out_of_fold"],
    "mlensing.evaluation.propensity": ["fit_propensity"],
    "mlensing.evaluation.measure": ["evaluate_scores", "rank_scores"],
    "mlensing.evaluation.report": ["Report"],
    "mlensing.evaluation.realism": ["Realism", "compare"],
    "mlensing.gnn": ["MAP_MODELS", "build_maps"],
    "mlensing.gnn.graph": ["patch_graph", "to_data"],
    "mlensing.gnn.physics_ops": ["poisson_residual"],
    "mlensing.inference": ["Predictor", "evaluate_split", "write_scores"],
    "mlensing.inference.embeddings": ["Embeddings"],
    "mlensing.inference.labelling": ["next_labels"],
    "mlensing.inference.nearest": ["Index"],
    "mlensing.inference.realism": ["realism"],
    "mlensing.inference.similar": ["search", "similar"],
    "mlensing.models": ["MODELS", "build"],
    "mlensing.physics": ["poisson_residual", "sie_convergence", "sigma_crit"],
    "mlensing.simulate": ["Hosts", "Mixture", "Simulator", "simulate"],
    "mlensing.survey": ["Survey", "survey_names"],
    "mlensing.training": ["Finder", "fit", "fit_live"],
    "mlensing.training.losses": ["LOSSES"],
    "mlensing.training.mapper": ["Mapper"],
    "mlensing.training.maps": ["fit_maps"],
    "src.datasets.lens_fits_dataset": ["LensFITSDataset"],
}
HEAVY = ("torch", "numpy", "pandas", "astropy", "lightning", "jsonargparse", "matplotlib")


def modules() -> list[str]:
    return [found.name for found in pkgutil.walk_packages(mlensing.__path__, "mlensing.")]


@pytest.mark.parametrize("name", FACE)
def test_promised_names_are_there(name: str) -> None:
    module = importlib.import_module(name)
    assert not [wanted for wanted in FACE[name] if not hasattr(module, wanted)]
    listed = getattr(module, "__all__", [])
    assert not [wanted for wanted in listed if not hasattr(module, wanted)]


@pytest.mark.parametrize("name", modules())
def test_every_module_says_what_it_is_for(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__ and len(module.__doc__.strip()) > 20
    public = [
        value
        for key, value in vars(module).items()
        if not key.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == name
    ]
    assert not [value.__name__ for value in public if not value.__doc__]


def test_errors_are_the_tree_that_is_drawn() -> None:
    classes = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}
    drawn = set(re.findall(r"^\s*[├└─\s]*(\w+Error)\b", errors.__doc__ or "", re.MULTILINE))
    assert drawn == set(classes)
    assert all(issubclass(value, errors.MLensingError) for value in classes.values())


def test_verbs_parsers_and_examples_belong_together() -> None:
    assert list(VERBS) == list(PARSERS) == list(EXAMPLES)
    assert {"simulate", "prepare", "train", "evaluate", "predict"} <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"mlensing {verb} {EXAMPLES[verb][0].split()[0]}" in said
    assert (VERBS[verb].__doc__ or "")[:30] in said


def test_the_program_names_its_verbs_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for flag, words in (("--help", list(VERBS)), ("--version", [mlensing.__version__])):
        with pytest.raises(SystemExit) as ended:
            main([flag])
        assert ended.value.code == 0
        said = capsys.readouterr().out
        assert all(word in said for word in words)


@pytest.mark.parametrize("given", [[], ["fly"]])
def test_no_verb_or_an_unknown_one_is_a_mistake(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    assert "VERB" in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    """What makes it answer at once; the time itself is a benchmark."""
    code = f"import sys, mlensing.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
