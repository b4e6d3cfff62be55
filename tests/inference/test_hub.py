"""Push and pull by the real client against a hub of our own on the loopback address."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mlensing.cli import main
from mlensing.contract import Fusion
from mlensing.errors import ConfigError, ContractError
from mlensing.evaluation.measure import evaluate_scores
from mlensing.inference.ensemble import Ensemble, save_ensemble
from mlensing.inference.hub import pull, push
from mlensing.models.checkpoint import read_checkpoint

COMMIT = "0123456789" * 4
REPO = "me/finder"


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as its client asks for here: small files, one commit."""

    repositories: dict[str, dict[str, bytes]]
    asked: list[str]

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            name = f"me/{json.loads(sent)['name'].split('/')[-1]}"
            self.repositories.setdefault(name, {})
            self.answer(200, json.dumps({"url": f"http://{self.headers['Host']}/{name}", "id": name}).encode())
        elif self.path.startswith("/api/validate-yaml"):
            self.answer(200, b'{"errors": [], "warnings": []}')
        elif REPO not in self.repositories:
            self.answer(404, X_Error_Code="RepoNotFound")
        elif "/preupload/" in self.path:
            kind = {"uploadMode": "regular", "shouldIgnore": False}
            files = [{"path": asked["path"], **kind} for asked in json.loads(sent)["files"]]
            self.answer(200, json.dumps({"files": files}).encode())
        else:
            lines = [json.loads(line) for line in sent.splitlines()]
            for value in (line["value"] for line in lines if line["key"] == "file"):
                self.repositories[REPO][value["path"]] = base64.b64decode(value["content"])
            done = {
                "commitUrl": f"http://{self.headers['Host']}/{REPO}/commit/{COMMIT}",
                "commitOid": COMMIT,
                "success": True,
            }
            self.answer(200, json.dumps(done).encode())

    def do_GET(self) -> None:
        self.asked.append(self.path)
        known = self.repositories.get(REPO)
        if known is None or REPO not in self.path:
            self.answer(404, X_Error_Code="RepoNotFound")
        elif self.path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in known]
            self.answer(200, json.dumps({"id": REPO, "sha": COMMIT, "siblings": siblings}).encode())
        else:
            name = self.path.rsplit("/", 1)[-1]
            if name in known:
                self.answer(200, known[name], ETag=f'"{name}"', X_Repo_Commit=COMMIT)
            else:
                self.answer(404, X_Error_Code="EntryNotFound")

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    Ours = type("Ours", (Hub,), {"repositories": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ours)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)  # as HF_ENDPOINT does when it is imported
    template = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address + template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", "of-a-test")
    yield Ours
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Path) -> Path:
    folder = tmp_path / "ensemble"
    save_ensemble(folder, {"a-1": read_checkpoint(checkpoint)}, Fusion(rule="calibrated_mean"), {})
    (folder / "notes.txt").write_text("not for the hub")
    for name, title in (("report", "A simulated sky"), ("real", "The real sky")):
        found = evaluate_scores([1, 0, 1, 0], [2.0, -1.0, 0.5, 0.7], resamples=10, title=title)
        found.save(folder / f"{name}.json")
    return folder


def test_what_was_pushed_is_pulled(hub: type[Hub], folder: Path, tmp_path: Path) -> None:
    reports = {"report": str(folder / "report.json"), "real_report": str(folder / "real.json")}
    assert push(str(folder), REPO, create=True, **reports).endswith(COMMIT)
    assert set(hub.repositories[REPO]) == {"ensemble.json", "a-1.safetensors", "README.md"}
    hub.repositories[REPO]["evil.pkl"] = b"never asked for"
    found = pull(REPO, output_dir=str(tmp_path / "pulled"))
    assert sorted(path.name for path in found.iterdir()) == ["README.md", "a-1.safetensors", "ensemble.json"]
    assert not [path for path in hub.asked if "evil" in path]
    image, kind = torch.randn(4, 3, 32, 32), torch.zeros(4, dtype=torch.bool)
    pair = [Ensemble.load(path).score(image, kind).logit for path in (folder, found)]
    assert (pair[0] == pair[1]).all()
    with pytest.raises(ConfigError, match="an ensemble already"):
        pull(REPO, output_dir=str(found))


def test_the_card_has_the_figures_of_both_skies(hub: type[Hub], folder: Path) -> None:
    push(str(folder), REPO, create=True, report=str(folder / "report.json"), real_report=str(folder / "real.json"))
    card = hub.repositories[REPO]["README.md"].decode()
    head = yaml.safe_load(card.split("---\n")[1])
    datasets = [result["dataset"]["name"] for result in head["model-index"][0]["results"]]
    assert datasets == ["A simulated sky", "The real sky"] and head["license"] == "bsd-3-clause"
    assert head["model-index"][0]["results"][0]["metrics"][0] == {"name": "ROC AUC", "type": "roc_auc", "value": 0.75}
    assert "| ROC AUC | 0.7500 |" in card and "mlensing pull me/finder" in card


def test_a_card_is_written_into_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["card", str(folder), "--name", "mine", "--report", str(folder / "report.json")]
    assert main(given) == 0
    card = (folder / "README.md").read_text()
    assert "# mine" in card and "A simulated sky" in card and "pull" not in card
    (folder / "about.md").write_text("## Data\n\nA sky of our own.\n")
    assert main([*given, "--about", str(folder / "about.md")]) == 0
    assert "A sky of our own." in (folder / "README.md").read_text().split("## Members")[0]
    for option, name in (("--report", "none.json"), ("--about", "none.md")):
        assert main([*given, option, str(folder / name)]) == 2
        assert name in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["bits", "path", "pickle", "json", "gone"])
def test_what_is_not_ours_is_refused_and_leaves_nothing(
    hub: type[Hub], folder: Path, tmp_path: Path, damage: str
) -> None:
    push(str(folder), REPO, create=True, report=str(folder / "report.json"))
    files = hub.repositories[REPO]
    index = json.loads(files["ensemble.json"])
    if damage == "bits":
        weights = bytearray(files["a-1.safetensors"])
        weights[-1] ^= 1
        files["a-1.safetensors"] = bytes(weights)
    elif damage in ("path", "pickle"):
        index["members"][0]["file"] = "../../evil.safetensors" if damage == "path" else "evil.ckpt"
        files["ensemble.json"] = json.dumps(index).encode()
    elif damage == "json":
        files["ensemble.json"] = b"[" * 100_000
    else:
        del files["a-1.safetensors"]
    with pytest.raises(ConfigError if damage == "gone" else ContractError):
        pull(REPO, output_dir=str(tmp_path / "pulled"))
    assert not (tmp_path / "pulled").exists()


def test_mistakes_are_one_line(
    hub: type[Hub], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "README.md").write_text("A card.")
    mistakes = [
        (["push", str(folder), REPO], "no such repository"),
        (["push", str(folder), "a/b/c"], "not the name of a repository"),
        (["push", str(tmp_path), REPO], "no ensemble.json there"),
        (["pull", REPO, "--output_dir", str(tmp_path / "new")], "no such repository"),
    ]
    for arguments, said in mistakes:
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    (folder / "README.md").unlink()
    with pytest.raises(ConfigError, match="the card would have no figures"):
        push(str(folder), REPO)


def test_a_hub_that_cannot_be_reached_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="the hub did not do it"):
        pull(REPO, output_dir=str(tmp_path / "pulled"))
