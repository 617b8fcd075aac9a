#!/usr/bin/env bash
# Promotion for any CI: what .github/workflows/promote.yaml and examples/gitlab/promote.gitlab-ci.yml run, in plain shell.
#
#   ci/promote.sh check models/NAME.yaml...        verify every byte, evaluate again, judge; moves and writes nothing
#   ci/promote.sh move  models/NAME.yaml...        the same, and move the stage
#   ci/promote.sh check --changed BASE COMMIT      of the files models/NAME.yaml that COMMIT changed since it left BASE
#   ci/promote.sh move  --changed BEFORE COMMIT    of those that differ between the two; BEFORE is all zeros where there was nothing before: then of all
#
# With --changed nothing but the text of models/NAME.yaml is taken from COMMIT. Everything else, this script, the code, params.yaml and the data, is of the folder
# that it runs in: in CI a checkout of the target branch, so that a pull request cannot bring its own judge along. Links stay links' texts, subfolders are left out.
#
# The tables of all verdicts go to the file REPORT (default: promotion.md), for a comment on the pull request. Parameters come from the file PARAMS
# (default: params.yaml), the registry's credentials from S3_ENDPOINT, AWS_ACCESS_KEY_ID and so on; `check` needs a key that may read only.
# Exit code: 0 all passed, 3 a rule rejected one, 2 wrong input or a version that cannot be verified, which goes before 3; as `asdfd promote` has them.
set -uo pipefail

usage() {
  echo "usage: ci/promote.sh check|move models/NAME.yaml... | --changed BEFORE COMMIT" >&2
  exit 2
}

[ $# -ge 2 ] || usage
case "$1" in
  check) options=(--check) between=... ;;
  move) options=() between=.. ;;
  *) usage ;;
esac
shift

report="${REPORT:-promotion.md}"
params="${PARAMS:-params.yaml}"
work="$(mktemp -d)" || exit 2
trap 'rm -rf "$work"' EXIT
: > "$report" || exit 2

# The files that a commit changed, as texts in $work/models; their names go into `files`. A removed file moves nothing.
take_changed() {
  local before="$1" commit="$2" range
  if [[ "$before" =~ ^0+$ ]]; then
    range=("$(git hash-object -t tree /dev/null)" "$commit")
  else
    range=("$before$between$commit")
  fi
  if ! git diff -z --no-renames --name-only --diff-filter=d --end-of-options "${range[@]}" -- ':(glob)models/*.yaml' > "$work/changed" 2> "$work/errors"; then
    echo "promote: what was changed between $before and $commit cannot be told: $(head -n 1 "$work/errors"); fetch both with their history" >&2
    exit 2
  fi
  mkdir "$work/models" && mapfile -d '' -t files < "$work/changed" || exit 2
  for name in "${files[@]}"; do
    git cat-file blob "$commit:$name" > "$work/$name" || exit 2
  done
}

from=""
if [ "$1" = --changed ]; then
  [ $# -eq 3 ] || usage
  take_changed "$2" "$3"
  from="$work/"
else
  files=("$@")
fi

worst=0
for wanted in "${files[@]}"; do
  rm -f "$work/verdict"
  status=0
  asdfd promote --params "$params" --wanted "$from$wanted" --report "$work/verdict" "${options[@]+"${options[@]}"}" 2> "$work/errors" || status=$?
  said="$(cat "$work/errors")"
  said="${said//"$work/"/}"
  [ -z "$said" ] || printf '%s\n' "$said" >&2
  if [ -s "$work/verdict" ]; then
    cat "$work/verdict" >> "$report"
  else
    # shellcheck disable=SC2016  # the backticks are Markdown
    printf '### `%s`\n\n**Not judged**: %s\n' "$wanted" "$(grep '^asdfd: ' <<< "$said" | tail -n 1)" >> "$report"
  fi
  echo >> "$report"
  # A rejection is a result; whatever else went wrong is told before it.
  if [ "$worst" -eq 0 ] || { [ "$worst" -eq 3 ] && [ "$status" -ne 0 ]; }; then
    worst="$status"
  fi
done
[ "${#files[@]}" -gt 0 ] || echo "promote: no file models/NAME.yaml was changed; nothing is to be done"
exit "$worst"
