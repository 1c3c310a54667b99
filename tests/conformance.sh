#!/bin/bash
# Runs our TUF client through the public conformance suite: tests/conformance.sh [SUITE] [all]
# SUITE is a copy of theupdateframework/tuf-conformance; without one it is installed by pip or
# cloned, if it can be had. With `all` the client is built with keys of every kind and must pass
# everything; else the suite signs with Ed25519 keys and the tests of other kinds are expected to
# fail. Says SKIPPED, and why, where the suite or what it needs is not to be had.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
url=https://github.com/theupdateframework/tuf-conformance
# Seconds that whatever comes over the network may take.
FETCH_S=60
suite= features=()
for argument in "$@"; do
    if [ "$argument" = all ]; then features=(--features all-key-types); else suite=$argument; fi
done

skip() {
    echo "SKIPPED: TUF conformance: $1"
    exit 0
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/log
command -v faketime >/dev/null || skip 'faketime is not installed'
python3 -m venv "$work/venv" >"$log" 2>&1 || skip "python3 has no venv: $(tail -n 1 "$log")"
install() {
    timeout "$FETCH_S" "$work/venv/bin/pip" install -q --disable-pip-version-check "$@" >"$log" 2>&1
}
if [ -z "$suite" ] && install tuf-conformance; then
    suite=$("$work/venv/bin/python" -c 'import tuf_conformance as t; print(t.__path__[0])')/..
else
    if [ -z "$suite" ]; then
        suite=$work/suite
        GIT_TERMINAL_PROMPT=0 timeout "$FETCH_S" git clone -q --depth 1 "$url" "$suite" >"$log" 2>&1 ||
            skip "pip has no suite, and it cannot be cloned: $(tail -n 1 "$log")"
    fi
    # Without its own build: only what it depends on.
    wanted=$(sed -n '/^dependencies = \[/,/^\]/s/^ *"\(.*\)",\{0,1\}$/\1/p' "$suite/pyproject.toml")
    # shellcheck disable=SC2086  # one requirement a word
    install $wanted || skip "what the suite needs cannot be installed: $(tail -n 1 "$log")"
fi

(cd "$root" && cargo build -q -p neap-trust --example tuf-client "${features[@]}")
client=${CARGO_TARGET_DIR:-$root/target}/debug/examples/tuf-client
cp "$client" "$work/tuf-client"
plugins=()
if [ ${#features[@]} -eq 0 ]; then
    # The suite signs with ECDSA by default, and takes the kind of key as an argument.
    cat >"$work/ed25519_by_default.py" <<'PYTHON'
from tuf_conformance._internal.repository_simulator import RepositorySimulator

RepositorySimulator.new_signer.__defaults__ = ("ed25519", "ed25519")
PYTHON
    plugins=(-p ed25519_by_default)
    # Keys of other kinds, in a test of their own and in repositories of others.
    printf '%s\n' 'test_keytype_and_scheme[rsa/rsassa-pss-sha256]' \
        'test_keytype_and_scheme[ecdsa/ecdsa-sha2-nistp256]' \
        'test_static_repository[tuf-on-ci-0.11]' \
        'test_static_repository[sigstore-root-signing]' >"$work/tuf-client.xfails"
fi
cd "$suite"
PYTHONPATH=$work:. PYTHONDONTWRITEBYTECODE=1 "$work/venv/bin/pytest" -q -p no:cacheprovider \
    tuf_conformance "${plugins[@]}" --entrypoint "$work/tuf-client"
