"""Ensembles to and from a model hub (huggingface.co, or ``HF_ENDPOINT``): safetensors, an index, a card, nothing else.

Nothing is uploaded or fetched but by these two functions. The token is the library's own (``hf auth login``, or
``HF_TOKEN``). What is fetched is checked as any file of a stranger is.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlensing.errors import ConfigError
from mlensing.inference.card import CARD, card_of
from mlensing.inference.ensemble import FILE, Ensemble, members_of, named_in
from mlensing.provenance import replacing


def push(
    folder: str,
    repo_id: str,
    *,
    report: str | None = None,
    real_report: str | None = None,
    private: bool = False,
    create: bool = False,
) -> str:
    """Upload an ensemble's folder with a model card.

    Arguments:
        folder: an ensemble's, all of whose files are checked first.
        repo_id: of the hub, such as ``me/lens-finder``.
        report: report.json of ``mlensing evaluate`` on simulated images, of which the card is made; without one the
            folder's README.md is the card.
        real_report: report.json on real images, for the card.
        private: of a repository that is created.
        create: make the repository if it is not there.

    Returns:
        address of the commit.

    Raises:
        ConfigError: neither report nor README.md, or the hub refuses or cannot be reached.
        ContractError: a folder that is no ensemble, or damaged.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    Ensemble.load(folder, "cpu")  # bits, contracts and weights
    card, files = card_of(folder, repo_id, report=report, real_report=real_report), members_of(folder)
    named = {FILE: Path(folder) / FILE, **{path.name: path for path in files.values()}}
    operations = [CommitOperationAdd(name, str(path)) for name, path in named.items()]
    operations.append(CommitOperationAdd(CARD, card.encode()))
    with _hub(repo_id):
        hub = HfApi()
        if create:
            hub.create_repo(repo_id, private=private, exist_ok=True)
        return str(hub.create_commit(repo_id, operations, commit_message="An ensemble of mlensing").commit_url)


def pull(repo_id: str, *, output_dir: str, revision: str | None = None) -> Path:
    """Fetch an ensemble: its index, the safetensors that the index names, and its card; checked, then put in place.

    Arguments:
        repo_id: of the hub, such as ``me/lens-finder``.
        output_dir: folder to write, which must not hold an ensemble yet.
        revision: branch, tag or commit; the newest commit if not given.

    Returns:
        the folder, which ``--checkpoint`` of other verbs takes.

    Raises:
        ConfigError: the folder holds an ensemble, or the hub refuses or cannot be reached.
        ContractError: what was fetched is damaged, or no ensemble of ours.
    """
    from huggingface_hub import HfApi

    target = Path(output_dir)
    if (target / FILE).exists():
        raise ConfigError(target, "there is an ensemble already", "Name another --output_dir, or delete it.")
    with tempfile.TemporaryDirectory() as scratch:
        fetched = Path(scratch)
        with _hub(repo_id):
            commit = HfApi().model_info(repo_id, revision=revision).sha  # one state, whoever pushes meanwhile
            _fetch(repo_id, FILE, commit, fetched)
        for name in named_in(fetched):
            with _hub(repo_id):
                _fetch(repo_id, name, commit, fetched)
        files = members_of(fetched)
        Ensemble.load(fetched, "cpu")  # bits, contracts and weights
        with _hub(repo_id):
            _fetch(repo_id, CARD, commit, fetched)
        for name in (*(path.name for path in files.values()), CARD, FILE):  # the index last: half a folder is none
            with replacing(target / name) as beside:
                shutil.copyfile(fetched / name, beside)
    return target


def _fetch(repo_id: str, name: str, commit: str | None, folder: Path) -> None:
    from huggingface_hub import HfApi

    HfApi().hf_hub_download(repo_id, name, revision=commit, local_dir=folder)


@contextmanager
def _hub(repo_id: str) -> Iterator[None]:
    """The hub's errors as ours."""
    from huggingface_hub import errors

    client: type[BaseException] = errors.HfHubHTTPError.__mro__[1]  # the HTTP client's error; each version has its own
    try:
        yield
    except errors.HFValidationError as error:
        problem = "not the name of a repository"
        raise ConfigError(repo_id, problem, "Give OWNER/NAME, such as me/lens-finder.") from error
    except errors.RepositoryNotFoundError as error:
        problem = "the hub has no such repository, or does not show it to you"
        raise ConfigError(repo_id, problem, "Check the name, log in (hf auth login), or push with --create.") from error
    except (errors.RemoteEntryNotFoundError, errors.RevisionNotFoundError) as error:
        problem = "the repository lacks a file of an ensemble, or has no such revision"
        raise ConfigError(repo_id, problem, "Give a repository that mlensing push wrote.") from error
    except (OSError, client) as error:
        problem = f"the hub did not do it ({' '.join(str(error).split())[:160]})"
        raise ConfigError(repo_id, problem, "Check the network and your token, and try again.") from error
