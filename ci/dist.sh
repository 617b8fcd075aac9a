#!/usr/bin/env bash
# The sdist and the wheel of a release, in dist/: what .github/workflows/release.yaml publishes.
#
#   ci/dist.sh v0.1.0
#
# The tag must be the version that src/asdfd/__init__.py holds, and CHANGELOG.md must have a section for it. Where REPOSITORY_URL is set (the address of the repository
# on its host), the packages' pages link to it: the repository itself does not know where it lives. Needs setuptools, and no network.
# Exit code: 0 built, 2 the tag does not fit.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: ci/dist.sh vVERSION" >&2; exit 2; }
version="$(python -c 'import ast, pathlib; print(ast.parse(pathlib.Path("src/asdfd/__init__.py").read_text()).body[-1].value.value)')"
if [ "$1" != "v$version" ]; then
  echo "dist: the tag is $1 and src/asdfd/__init__.py holds $version; change __version__ and tag that commit v$version" >&2
  exit 2
fi
if ! grep -q "^## \[$version\]" CHANGELOG.md; then
  echo "dist: CHANGELOG.md has no section [$version]; give what stands under [Unreleased] that title and a date" >&2
  exit 2
fi

source="$(mktemp -d)"
trap 'rm -rf "$source"' EXIT
git archive HEAD | tar -x -C "$source"
if [ -n "${REPOSITORY_URL:-}" ]; then
  sed -i "s|^\[project.urls\]$|&\nSource = \"$REPOSITORY_URL\"\nIssues = \"$REPOSITORY_URL/issues\"\nChangelog = \"$REPOSITORY_URL/blob/v$version/CHANGELOG.md\"|" "$source/pyproject.toml"
fi
out="$PWD/dist"
mkdir -p "$out"
# The wheel is made of the unpacked sdist, as everybody makes it who has only that.
(cd "$source" && python -c 'import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])' "$out" >&2)
tar -x -z -C "$source" -f "$out/asdfd-$version.tar.gz"
(cd "$source/asdfd-$version" && python -c 'import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])' "$out" >&2)
ls "$out"
