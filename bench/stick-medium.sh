#!/bin/bash
# stick-medium.sh READ WRITE COMMAND...: runs COMMAND with $STICK, where ext4 is mounted on a medium
# that reads READ and writes WRITE megabytes a second over one bus that does one at a time. Needs
# root, nbdkit with its Python plugin, libnbd-bin (nbdfuse) and a loop device.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read_mb=$1 write_mb=$2
shift 2
work=$(mktemp -d)
export STICK=$work/stick
cleanup() {
    umount "$STICK" 2>/dev/null || true
    [ -z "${loop:-}" ] || losetup --detach "$loop" || true
    # Whoever made a namespace of mounts meanwhile holds the medium: it need not be whole any more.
    fusermount3 -u "$work/nbd" 2>/dev/null || umount "$work/nbd" 2>/dev/null ||
        umount --lazy "$work/nbd" 2>/dev/null || true
    [ -z "${server:-}" ] || kill "$server" 2>/dev/null || true
    [ -z "${server:-}" ] || wait "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
mkdir "$work/nbd" "$STICK"
truncate -s "${STICK_SIZE:-1G}" "$work/image"
# Made at full speed, and all of it at once: no inode tables are written while it is measured.
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$work/image"
nbdfuse "$work/nbd" --command nbdkit -s --exit-with-parent python "$here/stick-medium.py" \
    file="$work/image" read=$((read_mb * 1000000)) write=$((write_mb * 1000000)) &
server=$!
for _ in $(seq 100); do
    [ -s "$work/nbd/nbd" ] && break
    sleep 0.1
done
loop=$(losetup --find --show --direct-io=on "$work/nbd/nbd")
mount "$loop" "$STICK"
"$@"
