"""Where an output came from, and how it is put in place: whole, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlensing


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write beside ``path`` and rename on success, so that a reader never sees half a file.

    The temporary file keeps the ending of ``path`` (writers choose their format by it) and is removed
    when the body raises.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with replacing(target) as beside:
        ...     _ = beside.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def git_revision() -> str | None:
    """Revision of the checkout the package runs from; None for an installed wheel."""
    folder = Path(__file__).resolve().parent
    if not (folder.parents[1] / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() or None
    return None


def provenance(command: str, config: dict[str, Any], seed: int | None) -> dict[str, Any]:
    """What must stand beside every output: command, resolved configuration, seed, version, revision.

    Holds no time and no path of the machine, so that the same command gives the same bytes.
    """
    return {
        "command": command,
        "config": config,
        "seed": seed,
        "version": mlensing.__version__,
        "revision": git_revision(),
    }


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    """Write ``content`` as indented JSON, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(content, indent=2, sort_keys=True, default=str) + "\n")


def fingerprint(*parts: bytes) -> str:
    """Short content hash (SHA-256, 16 hex digits) that names data and caches."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:16]
