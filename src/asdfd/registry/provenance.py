"""What the surroundings tell about where a version was made, for its manifest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from asdfd.base.artifacts import sha256_of

VARIABLES: Mapping[str, tuple[str, ...]] = {
    "git_commit": ("ASDFD_GIT_COMMIT", "GITHUB_SHA", "CI_COMMIT_SHA"),
    "image": ("ASDFD_IMAGE",),
    "pipeline_run": ("ASDFD_RUN_ID", "GITHUB_RUN_ID", "CI_PIPELINE_ID"),
}
"""Variables that tell a fact, the first one that is set counts. ASDFD_IMAGE names the image with its digest."""


def surroundings(folder: Path) -> dict[str, str]:
    """Git commit, hash of dvc.lock, image and run, as far as the environment and the folder (a checkout of the project, usually) tell them."""
    facts = {fact: next((value for name in names if (value := os.environ.get(name))), "") for fact, names in VARIABLES.items()}
    if not facts["git_commit"]:
        facts["git_commit"] = _git(folder, "rev-parse", "HEAD")
        if facts["git_commit"] and _git(folder, "status", "--porcelain", "--untracked-files=no"):
            facts["git_commit"] += " with changes"
    if (folder / "dvc.lock").is_file():
        facts["dvc_lock"] = sha256_of(folder / "dvc.lock")
    return {fact: value for fact, value in facts.items() if value}


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    except OSError:  # no Git on this machine
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
