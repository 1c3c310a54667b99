#!/bin/bash
# Runs every fuzz target on its seeds for so many seconds: fuzz/smoke.sh SECONDS [TARGET ...]
# New inputs go to fuzz/corpus, a finding to fuzz/artifacts; neither is kept in git. FUZZ_SANITIZER
# is `address`, or `none`, which builds faster.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
seconds=${1:?usage: fuzz/smoke.sh SECONDS [TARGET ...]}
shift
# The toolchain is stable; the sanitizers' flags are not.
export RUSTC_BOOTSTRAP=1 RAYON_NUM_THREADS=1
export sanitizer=${FUZZ_SANITIZER:-address}

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo 'fuzz/smoke.sh: cargo-fuzz is missing; nothing was run. cargo install --locked cargo-fuzz' >&2
    exit 1
fi
if [ $# -eq 0 ]; then
    mapfile -t targets < <(cargo fuzz list)
    set -- "${targets[@]}"
fi
cargo fuzz build --sanitizer "$sanitizer"

smoke() {
    local target=$1 log runs
    mkdir -p "corpus/$target"
    log=$(mktemp)
    if ! cargo fuzz run --sanitizer "$sanitizer" "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -max_len=8192 -len_control=20 -timeout=20 -rss_limit_mb=1024 \
        -print_final_stats=1 >"$log" 2>&1; then
        tail -n 60 "$log"
        echo "fuzz/smoke.sh: $target failed; its log is $log" >&2
        return 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "$target: $runs runs in $seconds s"
    rm "$log"
}
export -f smoke
export seconds
printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" bash -c 'set -euo pipefail; smoke "$1"' smoke
