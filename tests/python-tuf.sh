#!/bin/bash
# Makes a repository with `neap repo`, twice signed and with a rotated root, and reads it with
# python-tuf, which is installed into a folder of its own. Says SKIPPED, and why, if it cannot be.
# Usage: tests/python-tuf.sh NEAP
set -euo pipefail
neap=$(realpath "${1:?usage: tests/python-tuf.sh NEAP}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

if ! python3 -m venv venv >venv.log 2>&1 ||
    ! timeout 300 venv/bin/pip install -q 'tuf>=6,<7' >>venv.log 2>&1; then
    echo "SKIPPED: python-tuf cannot be installed: $(tail -n 1 venv.log)"
    exit 0
fi

export NEAP_KEYS=$work/keys NEAP_PASSPHRASE='a passphrase for a test'
for name in alice bob carol online; do "$neap" key new "$name" >/dev/null; done

sign() {
    local role=$1 name
    shift
    for name in "$@"; do
        "$neap" repo sign "depot/staged/$role.json" --key "$name" -o "$role.$name.sig" --yes -q >/dev/null
        "$neap" repo merge depot "$role.$name.sig" >/dev/null
        rm "$role.$name.sig"
    done
}

"$neap" repo init depot --root-key alice --root-key bob --targets-key alice --targets-key bob \
    --snapshot-key online --timestamp-key online >/dev/null
"$neap" repo add group depot fleet --key alice --key bob --threshold 2 >/dev/null
for role in root targets g.fleet; do sign "$role" alice bob; done
"$neap" repo publish depot --key online >/dev/null

echo 'a document' >notes.txt
"$neap" repo add file depot fleet notes.txt --product display --version 1.5 >/dev/null
sign g.fleet alice bob
"$neap" repo rotate depot root --remove bob --add carol >/dev/null
sign root alice bob carol
"$neap" repo publish depot --key online >/dev/null

venv/bin/python "$here/python_tuf.py" depot g/fleet/display/1.5/notes.txt
