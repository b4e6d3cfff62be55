"""The documents keep their promises: every command is parsed by its real parser, every Python block runs."""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

import mlensing
from mlensing.cli import EXAMPLES, PARSERS, VERBS
from mlensing.simulate import Mixture

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
BRANCHES = {"paper.sh": ([], ["--small"]), "pretrained.sh": ([],), "release.sh": ([],)}
"""Scripts that branch or loop, with the arguments of each branch."""
SCRIPTS = [path for path in sorted((ROOT / "runs").glob("*.sh")) if path.name not in BRANCHES]
OURS = ("mlensing", "python")
SHELL = {"cd", "export", "rm", "echo", "set", "source", "ls", "head", "sbatch"}
"""Commands that are not ours, and those of bash."""
MAKE = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def commands(text: str) -> Iterator[list[str]]:
    """Words of each command: lines joined, comments gone, assignments before the command gone."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if words:
            yield words


def unrolled(text: str) -> str:
    """The same with its loops over words written out."""
    loop = re.compile(r"^for (\w+) in ([^;\n]+); do\n(.*?)^done$", re.MULTILINE | re.DOTALL)
    return loop.sub(lambda m: "".join(m[3].replace(f"${m[1]}", word) for word in m[2].split()), text)


def recorded(script: Path, arguments: list[str]) -> Iterator[list[str]]:
    """Our commands as bash makes them of a script; none is run."""
    record = "".join(f'{name}() {{ printf "%q " {name} "$@"; echo; }}; export -f {name}; ' for name in OURS) + '"$@"'
    words = ["bash", "-c", record, "bash", script, *arguments]
    return commands(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def readable(value: str | list[str]) -> str:
    return value if isinstance(value, str) else " ".join(value)[:70]


def launched(words: list[str]) -> list[str]:
    """What a launcher of several processes starts: torchrun a script of Python's, srun a command."""
    if words[0] == "torchrun":
        return ["python", *words[next(i for i, word in enumerate(words) if word.endswith(".py")) :]]
    return words[1:] if words[0] == "srun" else words


def of_documents() -> list[tuple[str, list[str]]]:
    texts = [(path.name, unrolled(block)) for path in DOCUMENTS for block in blocks(path, "bash")]
    texts += [(path.name, path.read_text()) for path in SCRIPTS]
    found = [(name, words) for name, text in texts for words in commands(text)]
    for name, branches in BRANCHES.items():
        found += [(name, words) for branch in branches for words in recorded(ROOT / "runs" / name, branch)]
    return found + [("help", ["mlensing", verb, *shlex.split(e)]) for verb in VERBS for e in EXAMPLES[verb]]


def verb_of(door: Path) -> str:
    found = re.search(r'main\(\["(\w+)"', door.read_text())
    assert found, f"{door} is no door to a verb"
    return found.group(1)


def check_verb(verb: str, arguments: list[str]) -> None:
    arguments = [word for word in arguments if word != "$@"]
    if arguments in ([], ["--help"]):
        assert verb in (*VERBS, "--help", "--version")
        return
    chosen = PARSERS[verb]().parse_args(arguments)
    for key in ("mixture", "config") if verb in ("simulate", "train_live", "train_maps", "add_maps") else ():
        if isinstance(getattr(chosen, key, None), str):
            Mixture.load(getattr(chosen, key))


class Parsed(Exception):
    """The script's own parser was content."""


def check_script(path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse with the parser that the script makes, and go no further."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *given: Any) -> NoReturn:
        parse(self, *given)
        raise Parsed

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        patch.setattr(sys, "argv", [str(path), *arguments])
        patch.syspath_prepend(str(path.parent))  # as Python does for a script
        with pytest.raises(Parsed):
            runpy.run_path(str(path), run_name="__main__")


@pytest.mark.parametrize(("where", "words"), of_documents(), ids=readable)
def test_commands_are_those_there_are(where: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = launched(words)
    program, arguments = words[0].removeprefix(".venv/bin/"), words[1:]
    if program == "mlensing":
        check_verb(arguments[0], arguments[1:])
    elif program == "make":
        assert next(word for word in arguments if "=" not in word) in MAKE
    elif program == "python" and arguments[:2] == ["-m", "pytest"]:
        assert all(Path(word).exists() for word in arguments[2:] if not word.startswith("-"))
    elif program == "python" and arguments[0].startswith("benchmarks/"):
        check_script(Path(arguments[0]), [re.sub(r"\$\{\w+:-(.*)\}", r"\1", w) for w in arguments[1:]], monkeypatch)
    elif program == "python":
        check_verb(verb_of(Path(arguments[0])), arguments[1:])
    elif program.startswith("runs/"):
        assert Path(program).stat().st_mode & 0o111, f"{program} cannot be executed"
    else:
        assert program in SHELL, f"{where}: what is {program}?"


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_python_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a document share a namespace and an empty folder."""
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "document"}
    for block in blocks(path, "python"):
        exec(compile(block, str(path), "exec"), space)


def heading_anchor(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_links_resolve(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        assert file.exists(), f"{target}: no such file"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in map(heading_anchor, headings), f"{target}: no such heading"


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_files_that_are_named_exist(path: Path) -> None:
    named = re.findall(r"\b(?:configs|scripts|runs|benchmarks|tests|src)/[\w/]+\.(?:py|yaml|sh)\b", path.read_text())
    assert not [name for name in named if not (ROOT / name).is_file()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_documents_are_short_and_plain(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 250
    assert text.count("```") % 2 == 0 and "\t" not in text
    assert set(re.findall(r"^```(\w+)", text, re.MULTILINE)) <= {"bash", "python", "text"}


def test_quoted_messages_are_those_of_the_package() -> None:
    """Every "quote" of the page of troubles occurs in the source, up to what varies (…)."""
    source = " ".join(path.read_text() for path in sorted((ROOT / "src").rglob("*.py")))
    from_parsers = ("Option '", "' is not accepted", "unrecognized arguments")
    quotes = re.findall(r'\*\*"(.+?)"\*\*', (ROOT / "docs/TROUBLESHOOTING.md").read_text())
    assert len(quotes) > 30
    pieces = [piece for quote in quotes for piece in quote.split("…") if piece.strip()]
    assert not [piece for piece in pieces if piece not in source and piece not in from_parsers]


def test_versions_agree() -> None:
    newest = re.search(r"^## \[(\d.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert newest and project
    assert newest.group(1) == citation["version"] == project.group(1) == mlensing.__version__


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_parses_and_is_short(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert len(path.read_text().splitlines()) <= 40
    content = yaml.safe_load(path.read_text())
    if "surveys" in content:
        Mixture.load(path)
        return
    verb, needed = ("train_live", []) if "mixture" in content else ("train", ["--data_dir", "somewhere"])
    verb, needed = ("pretrain", []) if "temperature" in content else (verb, needed)
    PARSERS[verb]().parse_args([*needed, "--config", str(path)])
