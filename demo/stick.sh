# The third part of demo.sh, which sources this file: a device that no link reaches is updated by a
# stick, which is pulled on the way, and what the device signed comes back to shore.
#
# Uses of demo.sh and demo/site.sh: $neap, $work (the current folder), $size, $log, the depot, the
# authority of the fleet, certify, make_target. What is mounted here is unmounted in their cleanup.

medium=stick                                    # where the stick is mounted

# A stick with FAT32, which every machine reads; through FUSE, since that needs no driver of the
# kernel. Where it cannot be had a folder stands in.
make_stick() {
    mkdir "$medium"
    fat=no
    command -v fusefat >/dev/null && command -v mkfs.vfat >/dev/null && [ -w /dev/fuse ] || return 0
    truncate -s 256M fat.img
    mkfs.vfat -F 32 fat.img >>"$log" 2>&1 || return 0
    plug && fat=yes
}

plug() {
    fusefat -o rw+ fat.img "$medium" >>"$log" 2>&1 || return 1
    mounts+=("$work/$medium")
}

unplug() {
    [ $fat = yes ] || return 0
    umount "$medium" 2>>"$log"
}

# Begins to take what is on the stick, and pulls it when something has come.
import_and_pull() {
    local code=0 importer
    "$neap" stick import "$medium" --config dev4.toml --quiet >import.out 2>&1 &
    importer=$!
    for _ in $(seq 3000); do
        if ls dev4.depot/blobs/*.partial >/dev/null 2>&1; then break; fi
        kill -0 $importer 2>/dev/null || break
        sleep 0.01
    done
    if [ $fat = yes ]; then
        # The file system is gone from one moment to the next, with all that was open on it.
        pkill -9 -f "fusefat.*fat.img" || true
        { wait $importer; } 2>/dev/null || code=$?
        umount -l "$medium" 2>>"$log" || true
        say "The stick is pulled while it is read: exit code $code."
    else
        kill -9 $importer 2>/dev/null || true
        { wait $importer; } 2>/dev/null || code=$?
        say "A folder cannot be pulled; the process gets SIGKILL instead: exit code $code."
    fi
    head -n 3 import.out | sed 's/^/   | /'
}

stick() {
    step 'A device without a link: a stick goes there and back'
    certify dev4
    cat >dev4.toml <<TOML
depot = "$work/dev4.depot"
state = "$work/dev4.state"
listen = "none"
groups = ["bridge"]
product = "radar"
root = "$work/depot/metadata/1.root.json"

[identity]
certificate = "$work/dev4.pem"
key = "$work/dev4.key"
authority = "$work/ca/ca.pem"

[discovery]
mdns = false
TOML
    make_target dev4
    make_stick
    if [ $fat = yes ]; then
        say 'The stick is a FAT32 image, mounted through FUSE.'
    else
        say 'fusefat and mkfs.vfat (packages fusefat, dosfstools) or /dev/fuse are missing: a folder' \
            'stands in for the stick.'
    fi
    say 'On shore nobody knows yet what dev4 runs: the stick gets the whole image, to be sure.'
    show neap stick export depot "$medium" --quiet
    say 'Its first visit only collects: dev4 signs what it runs.'
    show neap stick import "$medium" --config dev4.toml --receipts-only --image base.img --version 1.0
    say 'On shore: the receipt is verified, and the stick gets exactly what dev4 needs besides.'
    show neap stick collect "$medium" depot --ca ca/ca.pem --certificate dev4.pem
    show neap stick export depot "$medium" --full --quiet

    step 'On site: import, pulled on the way, and again'
    printf '   $ neap stick import %s --config dev4.toml\n' "$medium"
    import_and_pull
    say 'It is put back; the same command goes on.'
    if [ $fat = yes ]; then plug; fi
    show neap stick import "$medium" --config dev4.toml
    say 'And straight from the stick onto the block device, without a copy in between:'
    show neap stick install "$medium" --config dev4.toml --source base.img --target "${targets[dev4]}"
    cmp -n "$size" new.img "${targets[dev4]}"
    say 'cmp finds no difference to the new image.'

    step 'On shore again: what dev4 signed'
    show neap stick collect "$medium" depot --ca ca/ca.pem --certificate dev4.pem
    unplug
}
