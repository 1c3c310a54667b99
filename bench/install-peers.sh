#!/bin/bash
# Installs the tools that neap is compared with: Debian packages by apt, PyPI packages into a venv of
# their own (.cache/peers/venv, or NEAP_BENCH_PEERS). Run it again to complete what is missing.
# A tool that cannot be had is named; the comparison then shows its row as not installed.
set -uo pipefail

folder=${NEAP_BENCH_PEERS:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.cache/peers}
export DEBIAN_FRONTEND=noninteractive
missing=()

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# A package of its own call each: one that is not to be had does not keep the others away.
for package in xdelta3 bsdiff zstd rdiff casync zchunk time python3-venv; do
    if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
        as_root apt-get install -y -q --no-install-recommends "$package" >/dev/null ||
            missing+=("$package (apt)")
    fi
done

if [ ! -x "$folder/venv/bin/python" ]; then python3 -m venv "$folder/venv" || missing+=("a venv"); fi
for package in detools hdiffpatch; do
    "$folder/venv/bin/python" -m pip install -q --disable-pip-version-check "$package" ||
        missing+=("$package (PyPI)")
done

if [ ${#missing[@]} -gt 0 ]; then
    printf 'not installed: %s\n' "${missing[@]}" >&2
    exit 1
fi
echo 'all peers are installed; hdiffz is used where it is in PATH or in the folder HDIFFZ'
