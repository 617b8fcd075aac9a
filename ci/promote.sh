#!/usr/bin/env bash
# Promotion for any CI: what .github/workflows/promote.yaml runs, in plain shell.
#
#   ci/promote.sh check models/NAME.yaml...   on a pull request: verify every byte, evaluate again, judge; moves and writes nothing
#   ci/promote.sh move  models/NAME.yaml...   after the merge: the same, and move the stage
#
# The tables of all verdicts go to the file REPORT (default: promotion.md), for a comment on the pull request. Parameters come from the file PARAMS
# (default: params.yaml), the registry's credentials from S3_ENDPOINT, AWS_ACCESS_KEY_ID and so on; `check` needs a key that may read only.
# Exit code: 0 all passed, 3 a rule rejected one, 2 wrong input or a version that cannot be verified.
set -uo pipefail

usage() {
  echo "usage: ci/promote.sh check|move models/NAME.yaml..." >&2
  exit 2
}

[ $# -ge 2 ] || usage
case "$1" in
  check) options=(--check) ;;
  move) options=() ;;
  *) usage ;;
esac
shift

report="${REPORT:-promotion.md}"
params="${PARAMS:-params.yaml}"
one="$(mktemp)"
errors="$(mktemp)"
trap 'rm -f "$one" "$errors"' EXIT
: > "$report" || exit 2

worst=0
for wanted in "$@"; do
  : > "$one"
  status=0
  asdfd promote --params "$params" --wanted "$wanted" --report "$one" "${options[@]+"${options[@]}"}" 2> "$errors" || status=$?
  cat "$errors" >&2
  if [ -s "$one" ]; then
    cat "$one" >> "$report"
  else
    printf '### `%s`\n\n**Not judged**: %s\n' "$wanted" "$(grep '^asdfd: ' "$errors" | tail -n 1)" >> "$report"
  fi
  echo >> "$report"
  if [ "$status" -ne 0 ] && [ "$worst" -ne 2 ]; then
    worst="$status"
  fi
done
exit "$worst"
