#!/usr/bin/env bash
# Shows neap on two real system images. First: diff, apply onto a block device, a kill on the way,
# resume, verify. Then, in demo/site.sh: a signed release crosses a satellite link to a ship with
# three devices; last, in demo/stick.sh, a stick goes to a device without a link. Changes nothing on
# this system; needs about 1 GB in $TMPDIR (or /tmp) and a few minutes. As root there are loop
# devices, an emulated link and a FAT32 stick; without, files, loopback and a folder.
#
#   ./demo.sh           images made of Debian packages, fetched by name
#   ./demo.sh --local   images made of files of this machine: no network
#
# NEAP and LINK_EMULATOR name programs that are built already.
set -Eeuo pipefail
cd "$(dirname "$0")"

LINK=88000                  # bit/s: a maritime satellite link in practice
work=$(mktemp -d "${TMPDIR:-/tmp}/neap-demo.XXXXXX")
log=$work/log
loops=() namespaces=() mounts=()

cleanup() {
    local job
    # What runs in the background, some with a process group of its own.
    for job in $(jobs -p); do
        kill -9 -- "-$job" 2>/dev/null || kill -9 "$job" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    for job in "${namespaces[@]}"; do ip netns delete "$job" 2>/dev/null || true; done
    for job in "${mounts[@]}"; do umount -l "$job" 2>/dev/null || true; done
    for job in "${loops[@]}"; do losetup --detach "$job" || true; done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
trap 'echo "demo.sh: failed in line $LINENO; the log ends:" >&2; tail -n 5 "$log" >&2' ERR

step() { printf '\n== %s\n' "$*"; }
say() { printf '   %s\n' "$@"; }
show() { printf '   $ %s\n' "$*"; "$@" 2>>"$log" | sed 's/^/   | /'; }
grouped() { printf '%s' "$1" | sed -e ':a' -e 's/^\([0-9][0-9]*\)\([0-9]\{3\}\)/\1,\2/;ta'; }
# The number (or word) after a key in one line of JSON.
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p"; }
# How long bytes take on the link.
on_link() { awk -v b="$1" -v r="$LINK" 'BEGIN { m = b * 8 / r / 60
    if (m < 1.5) printf "%.1f seconds", m * 60; else if (m < 90) printf "%.1f minutes", m
    else printf "%.1f hours", m / 60 }'; }

# Two ext4 images of files that this machine has: the second has some changed, gone and new.
local_images() {
    command -v mkfs.ext4 >/dev/null || { say 'mkfs.ext4 is missing (package e2fsprogs)'; exit 1; }
    local tree=$work/tree count=0 size=0 new=0 file
    mkdir -p "$tree/usr" "$work/later"
    # Readable files below 4 MiB: every sixth is kept for the target, as a new one.
    find /usr/bin /usr/lib/*-linux-gnu -maxdepth 1 -type f -size -4M -readable |
        LC_ALL=C sort >"$work/files"
    while read -r file && { [ $size -lt 48000 ] || [ $new -lt 10000 ]; }; do
        count=$((count + 1))
        if [ $((count % 6)) = 0 ] && [ $new -lt 10000 ]; then
            cp "$file" "$work/later/"; new=$((new + $(du -k "$file" | cut -f1)))
        elif [ $size -lt 48000 ]; then
            cp "$file" "$tree/usr/"; size=$((size + $(du -k "$file" | cut -f1)))
        fi
    done <"$work/files"
    truncate -s 96M "$work/source" "$work/target"
    mkfs.ext4 -q -F -d "$tree" "$work/source" 2>>"$log"
    count=0
    for file in "$tree"/usr/*; do
        count=$((count + 1))
        case $((count % 10)) in
        3) rm "$file" ;;
        7) printf 'changed by the demonstration' >>"$file" ;;
        esac
    done
    cp "$work"/later/* "$tree/usr/"
    mkfs.ext4 -q -F -d "$tree" "$work/target" 2>>"$log"
    source=$work/source target=$work/target
    say 'Source: files of this machine. Target: a tenth of them changed, a tenth gone, some new.'
}

debian_images() {
    local cache=${NEAP_CORPUS_CACHE:-.cache/corpus} pair=debian-small-ext4
    say 'A small Debian root file system, and the same after its security updates: fetched through'
    say 'apt by package name, unpacked into two ext4 images. Nothing is installed.'
    if ! cargo run --quiet --release -p neap-corpus -- build $pair >>"$log" 2>&1; then
        sed 's/^/   | /' "$log" | tail -n 5
        say 'The packages cannot be reached, so files of this machine have to do.'
        return 1
    fi
    source=$cache/pairs/$pair/source target=$cache/pairs/$pair/target
    join "$cache/pairs/$pair/packages-source.txt" "$cache/pairs/$pair/packages-target.txt" | awk '
        $2 != $3 { if (++n <= 5) printf "   | %s %s -> %s\n", $1, $2, $3 }
        END { if (n > 5) printf "   | and %d packages more\n", n - 5 }'
}

step 'Build neap (a minute or two, the first time)'
neap=${NEAP:-}
if [ -z "$neap" ]; then
    cargo build --quiet --release -p neap
    neap=${CARGO_TARGET_DIR:-target}/release/neap
fi
neap=$(realpath "$neap")
say "$("$neap" --version)"
neap() { "$neap" "$@"; }
emulator=''
if [ "$(id -u)" = 0 ] && [ -e /dev/net/tun ] && command -v ip >/dev/null; then
    emulator=${LINK_EMULATOR:-}
    if [ -z "$emulator" ]; then
        cargo build --quiet --release -p neap-tests --bin link-emulator
        emulator=${CARGO_TARGET_DIR:-target}/release/link-emulator
    fi
    emulator=$(realpath "$emulator")
fi
. demo/site.sh
. demo/stick.sh

step 'Two system images'
if [ "${1:-}" = --local ]; then local_images; else debian_images || local_images; fi
source=$(realpath "$source") target=$(realpath "$target")
size=$(stat -c %s "$target")
say "Each is $(grouped "$size") bytes."

step 'On shore: make the patch'
ln -s "$source" "$work/base.img"
ln -s "$target" "$work/new.img"
cd "$work"
begin_release
show neap diff base.img new.img --output update.neap
patch_size=$(stat -c %s update.neap)

step 'On the device: apply it to a block device, and be killed on the way'
truncate -s $((size + (8 << 20))) disk
if [ "$(id -u)" = 0 ] && device=$(losetup --find --show disk 2>>"$log"); then
    loops+=("$device")
    say "$device is a real block device (a loop device over a file of $(stat -c %s disk) bytes)."
else
    device=$work/device.img
    say 'Loop devices need root and are not to be had here: a plain file stands in for the device.'
fi
say 'Four fifths of the patch arrive, then the link stalls; then the process gets SIGKILL.'
mkfifo link
{ head -c $((patch_size * 4 / 5)) update.neap; exec sleep 600; } >link &
feeder=$!
printf '   $ neap apply - --source base.img --target %s --state state <link\n' "$device"
"$neap" apply - --source base.img --target "$device" --state state --quiet <link >>"$log" 2>&1 &
applier=$!
for _ in $(seq 300); do
    if ls state/*.journal >/dev/null 2>&1 || ! kill -0 "$applier" 2>/dev/null; then break; fi
    sleep 0.1
done
sleep 1
kill -9 "$applier" 2>>"$log" || { say 'It ended before it could be killed:'; cat "$log"; exit 1; }
code=0
{ wait "$applier"; } 2>/dev/null || code=$?
kill "$feeder" && { wait "$feeder"; } 2>/dev/null || true
say "Killed: exit code $code, which is 128 + 9. What the device holds now is not the new image:"
if neap verify "$device" --patch update.neap --quiet >>"$log" 2>torn; then
    say 'It was complete already, so this run shows nothing of resuming.'
else
    head -n 1 torn | sed 's/^/   | /'
fi

step 'Power is back: the same command again'
say 'It hashes what its journal claims, believes what is right, and goes on from there.'
printf '   $ neap apply update.neap --source base.img --target %s --state state\n' "$device"
neap apply update.neap --source base.img --target "$device" --state state --json >result 2>>"$log"
resumed=$(field windows_resumed <result) windows=$(field windows <result)
say "$resumed of $windows windows were on the device and verified; only the other" \
    "$((windows - resumed)) were made. The device was then read back past the page cache."

step 'Is it the new image, byte for byte?'
show neap verify "$device" --patch update.neap
cmp -n "$size" new.img "$device"
say 'cmp, which knows nothing of neap, finds no difference either.'

step 'What crossed the wire'
row() {
    printf '   %-34s %14s bytes   %s at %s kbit/s\n' "$1" "$(grouped "$2")" "$(on_link "$2")" \
        $((LINK / 1000))
}
say 'To compare, this waits for the whole image: it is packed in the background, which takes two' \
    'minutes of computing.'
await_release
full_size=$(whole_size)
row 'the image as it is' "$size"
row 'the image, compressed (zstd -19)' "$full_size"
row 'the patch' "$patch_size"
awk -v p="$patch_size" -v f="$full_size" \
    'BEGIN { printf "   The patch is %.1f %% of the compressed image.\n", 100 * p / f }'

ship
stick
say '' 'The demonstration has removed all it made; fetched packages stay in .cache/corpus.'
