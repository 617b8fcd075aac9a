#!/usr/bin/env bash
# Install the servers and programs that the tests start: the Debian packages of packages.txt that are not there yet. Needs root for that, and says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
missing=()
while read -r package; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done <packages.txt
if [ ${#missing[@]} = 0 ]; then
  exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "servers: the tests need ${missing[*]}; on Debian 12, install them as root: sudo bash tests/servers/install.sh" >&2
  exit 1
fi
echo "servers: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
