"""The image as clusters run it: built from the Dockerfile, without a network, by a user without rights, on a root that nobody can write to."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from asdfd import __version__
from asdfd.base import artifacts
from tests.cli.conftest import TINY
from tests.container.building import ROOT, Image
from tests.container.podman import Podman, hadolint

pytestmark = pytest.mark.container

USER = 10001
"""The image's user, a number: Kubernetes cannot tell whether a name is root."""
RESTRICTED = ["--network=none", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"]
"""What a cluster under the restricted policy allows, and less: no network."""


def in_container(podman: Podman, image: Image, *words: str, options: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a container of the image."""
    return podman.run("run", "--rm", *RESTRICTED, *image.volumes, *(options or []), image.name, *words, check=False)


def test_hadolint_finds_nothing() -> None:
    found = subprocess.run([hadolint(), ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_context_is_what_the_image_is_made_of(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY . /\nCMD ["none"]\n')
    podman.run("build", "--file", str(tmp_path / "Dockerfile"), "--tag", "localhost/asdfd-context:tested", str(ROOT))
    podman.run("create", "--name", "asdfd-context", "localhost/asdfd-context:tested")
    try:
        podman.run("export", "--output", str(tmp_path / "context.tar"), "asdfd-context")
    finally:
        podman.run("rm", "asdfd-context", check=False)
    with tarfile.open(tmp_path / "context.tar") as archive:
        files = {member.name: member.size for member in archive if not member.isdir()}
    ours = {name for name in files if not name.startswith(("dev/", "etc/", "proc/", "run/", "sys/"))}
    assert {name.split("/")[0] for name in ours} == {"LICENSE", "README.md", "components", "constraints.txt", "pipelines", "pyproject.toml", "src"}
    assert not [name for name in ours if name.endswith(".pyc") or ".egg-info" in name]
    assert sum(files[name] for name in ours) < 2 * 2**20


def test_it_says_what_it_is_and_runs_as_nobody_in_particular(podman: Podman, image: Image) -> None:
    config = json.loads(podman.run("image", "inspect", image.name).stdout)[0]["Config"]
    assert config["User"] == f"{USER}:0"
    assert not config.get("Entrypoint"), "Kubeflow's runner for containers on one machine puts its command behind the entry point"
    assert config["Labels"]["org.opencontainers.image.version"] == __version__, "the default of the Dockerfile's VERSION"
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert config["Labels"]["org.opencontainers.image.revision"] == head
    assert datetime.fromisoformat(config["Labels"]["org.opencontainers.image.created"]) <= datetime.now(UTC)
    assert re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", config["Labels"]["org.opencontainers.image.base.name"])
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Labels"]["asdfd.variant"] == image.variant
    asked = {name for name in config["Env"] if name.startswith("NVIDIA_")}
    assert asked == ({"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"} if image.variant == "cuda" else set())
    layers = podman.run("history", "--no-trunc", "--format", "{{.CreatedBy}}", image.name).stdout
    assert "pip.conf" not in layers, "where packages came from is nobody's business"


def test_it_holds_nothing_to_build_or_install_with(podman: Podman, image: Image) -> None:
    tools = "pip pip3 uv gcc cc g++ make git curl wget"
    left = "/build /mnt/* /srv/* /etc/pip.conf /run/secrets/*"
    script = f"for tool in {tools}; do command -v $tool; done; ls -d {left} 2>/dev/null; python3 -m pip --version; python3 -m ensurepip"
    done = in_container(podman, image, "sh", "-c", script)
    assert done.stdout == ""
    assert "No module named pip" in done.stderr
    assert "No module named ensurepip" in done.stderr


CHECK = """
import asdfd, kfp, kfp.kubernetes, minio, prometheus_client, torch, getpass, json, os, pathlib, sys
folder = pathlib.Path(asdfd.__file__).parent
sources = [path for path in folder.rglob("*.py")]
stale = [str(path) for path in sources if not list((path.parent / "__pycache__").glob(path.stem + ".*.pyc"))]
pathlib.Path("/tmp/written").write_text("here")
written = []
for place in ("/opt/asdfd/x", "/x", "/var/x"):
    try:
        pathlib.Path(place).write_text("there")
        written.append(place)
    except OSError:
        pass
print(json.dumps({"uid": os.getuid(), "name": getpass.getuser(), "stale": stale, "sources": len(sources), "written": written, "cuda": torch.version.cuda,
                  "home": str(pathlib.Path.home()), "prefix": sys.prefix, "kfp": kfp.__version__}))
"""


def test_any_user_can_run_it_on_a_root_that_cannot_be_written(podman: Podman, image: Image) -> None:
    import kfp
    import torch

    done = in_container(podman, image, "python3", "-c", CHECK, options=["--user=54321:54321"])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["sources"] > 40
    assert found["stale"] == [], "compiled when the image was built"
    assert {name: found[name] for name in ("uid", "name", "written", "cuda", "home", "prefix", "kfp")} == {
        "uid": 54321,
        "name": "asdfd",
        "written": [],
        "cuda": torch.version.cuda,
        "home": "/tmp",
        "prefix": "/opt/asdfd",
        "kfp": kfp.__version__,
    }


def test_the_command_line_answers_with_its_exit_codes(podman: Podman, image: Image) -> None:
    assert in_container(podman, image, "asdfd", "--version").stdout == f"asdfd {__version__}\n"
    done = in_container(podman, image, "asdfd", "fetch", "--teacher", "hf://nobody/nothing@main", "--out", "/tmp/teacher", options=["--env=HF_HUB_OFFLINE=1"])
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr


def test_the_image_that_serves_has_no_pytorch_and_says_so(podman: Podman, image: Image, tmp_path: Path) -> None:
    from tests.serving.makers import push_student

    push_student(str(tmp_path / "registry"), tmp_path / "made", 1)
    for path in tmp_path.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    tmp_path.chmod(0o755)
    check = "import importlib.util as u; print([name for name in ('torch', 'transformers', 'kfp', 'pip', 'datasets') if u.find_spec(name)])"
    serve = ["asdfd", "serve", "tiny@production", "--registry", "/registry"]
    lent = f"--volume={tmp_path / 'registry'}:/registry:ro"
    found, refused = (
        podman.run("run", "--rm", *RESTRICTED, "--user=54321:54321", lent, image.serving, *words, check=False) for words in (["python3", "-c", check], serve)
    )
    assert found.stdout == "[]\n", found.stderr
    assert (refused.returncode, refused.stdout) == (2, ""), refused.stderr
    assert "has no export, and PyTorch is not installed here" in refused.stderr, "all of it was fetched and verified before"
    size = {name: int(podman.run("image", "inspect", "--format", "{{.Size}}", name).stdout) for name in (image.name, image.serving)}
    assert size[image.serving] < size[image.name] / 2


def local_form(text: str) -> str:
    """A compiled pipeline as the runner for containers can take it: without resources, which it has no use for, and without a second try of a failed task."""
    specification: dict[str, Any] = next(yaml.safe_load_all(text))
    for executor in specification["deploymentSpec"]["executors"].values():
        executor["container"].pop("resources", None)
    dags = [specification["root"]["dag"], *(component["dag"] for component in specification["components"].values() if "dag" in component)]
    for task in (task for dag in dags for task in dag["tasks"].values()):
        task.pop("retryPolicy", None)
    return yaml.safe_dump(specification, sort_keys=False)


@contextlib.contextmanager
def shared_folders() -> Any:
    """Let the image's user write to the folders that the runner makes."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def containers_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the runner not remove a container when it ends: podman forgets its log and its exit code then, and the runner would take a failure for a success."""
    from docker.models.containers import ContainerCollection

    run = ContainerCollection.run
    monkeypatch.setattr(ContainerCollection, "run", lambda self, *words, **options: run(self, *words, **(options | {"auto_remove": False})))


@pytest.mark.usefixtures("containers_that_stay")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of the runner's connections to the service
def test_kubeflow_runs_the_whole_pipeline_in_containers(
    podman: Podman, image: Image, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from docker.types import Mount
    from kfp import components, local

    from asdfd.base.form import filled_in
    from asdfd.base.loading import load_run
    from asdfd.kubeflow.compilation import compiled_text

    root = tmp_path / "root"
    places = {"teacher.reference": root / "teacher-source", "evaluation.data": root / "test.csv", "registry.location": root / "registry"}
    settings = TINY | places | {"gate.minimum_agreement": "0", "gate.largest_drop": "1"}
    values = filled_in(load_run(settings=[f"{name}={value}" for name, value in settings.items()]))
    with podman.service(tmp_path) as address, shared_folders(), contextlib.redirect_stdout(io.StringIO()) as log:
        monkeypatch.setenv("DOCKER_HOST", address)
        root.mkdir()
        for path in shutil.copytree(teacher_folder, root / "teacher-source").iterdir():
            path.chmod(0o644)  # safetensors lets nobody else read what it writes
        (root / "test.csv").write_text("text,label\nwonderful movie,praise\ndelivery late again,complaint\nwhere is my order,question\n")
        lent = [Mount(place, folder, type="bind", read_only=True) for folder, place in image.lent.items()]
        allowed = {"network_mode": "none", "read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
        runner = local.DockerRunner(**allowed, tmpfs={"/tmp": "", "/scratch": ""}, mounts=lent)
        local.init(runner, pipeline_root=str(root), raise_on_error=True)
        try:
            components.load_component_from_text(local_form(compiled_text(image.name)))(**values)
        except RuntimeError as error:
            pytest.fail(f"{error}\n{log.getvalue()[-8000:]}")
    done = {path.parent.name: path.stat().st_uid for path in root.glob("compress-*/**/executor_output.json")}
    tasks = ("plan", "fetch-teacher", "synthesize", "distill", "evaluate", "push", "report-status")
    assert done == dict.fromkeys(tasks, USER), "each in a container of the image, by its user"
    student = artifacts.read(next(root.glob("compress-*/distill/student")), "student")
    assert student.recipe.config["distillation"]["steps"] == int(TINY["distillation.steps"])
    status = json.loads(next(root.glob("compress-*/report-status/ending")).read_text())
    assert status["outcome"] == "succeeded"
    stored = [json.loads(path.read_text()) for path in (root / "registry").rglob("manifest.json")]
    assert student.digest in json.dumps(stored), "the student is in the registry"
