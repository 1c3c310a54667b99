#!/bin/bash
# bed.sh FOLDER NEAP FLEET: FOLDER/vmlinuz and FOLDER/initramfs, for the machine of stick_qemu.rs and
# plugged_qemu.rs.
# The kernel is Debian's own, for its drivers of USB sticks, FAT32 and exFAT; it is unpacked, not
# installed, and kept in FOLDER for the next time. NEAP and the folder FLEET come along, the latter
# at its own path. Exit status 77: something is not there and cannot be had; the last line says what.
set -euo pipefail
bed=$1 neap=$2 fleet=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH=$PATH:/usr/sbin:/sbin DEBIAN_FRONTEND=noninteractive
DRIVERS="virtio_pci virtio_blk virtio_console xhci-pci usb-storage sd_mod vfat exfat
    nls_cp437 nls_ascii nls_utf8 nls_iso8859-1 ledtrig-timer"
RULES="50-udev-default 60-block 60-persistent-storage 99-systemd"

cannot() {
    echo "$1"
    exit 77
}

# Tools by the package that brings them; whatever it takes, nothing is removed for it.
for pair in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio \
    mkfs.vfat:dosfstools mkfs.exfat:exfatprogs modprobe:kmod udevadm:udev; do
    tool=${pair%%:*} package=${pair#*:}
    command -v "$tool" >/dev/null ||
        apt-get install -y -qq --no-remove --no-install-recommends "$package" >/dev/null 2>&1 ||
        cannot "$tool is not there, and apt-get cannot install $package"
done

mkdir -p "$bed"
cd "$bed"
if [ ! -s vmlinuz ]; then
    rm -rf kernel ./*.deb
    # linux-image-amd64 depends on the package of the version that is current.
    package=$(apt-cache depends linux-image-amd64 2>/dev/null |
        awk '/Depends: linux-image/ { print $2; exit }')
    [ -n "$package" ] || cannot 'apt-cache does not know linux-image-amd64'
    apt-get download -qq "$package" 2>/dev/null || cannot "apt-get cannot download $package"
    dpkg -x "$package"_*.deb kernel
    rm ./*.deb
    depmod -b kernel "$(ls kernel/lib/modules)"
    cp kernel/boot/vmlinuz-* vmlinuz
fi
version=$(ls kernel/lib/modules)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,proc,run,sys,tmp,media/stick,lib/udev/rules.d,"lib/modules/$version"}
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $(busybox --list | grep -vx busybox); do
    ln -s busybox "$root/bin/$applet"
done
for driver in $DRIVERS; do
    modprobe -d "$bed/kernel" -S "$version" --show-depends "$driver" 2>/dev/null |
        awk '$1 == "insmod" { print $2 }'
done | sort -u | while read -r file; do
    to=$root/lib/modules/${file#*/lib/modules/}
    mkdir -p "$(dirname "$to")"
    cp "$file" "$to"
done
cp kernel/lib/modules/"$version"/modules.builtin* "$root/lib/modules/$version/"
cp kernel/lib/modules/"$version"/modules.order "$root/lib/modules/$version/"
depmod -b "$root" "$version"
cp "$neap" "$root/bin/neap"
strip "$root/bin/neap" 2>/dev/null || true
udevadm=$(command -v udevadm)
cp -L "$udevadm" "$root/bin/udevadm"
ln -s udevadm "$root/bin/systemd-udevd"
for rules in $RULES; do
    cp "/lib/udev/rules.d/$rules.rules" "$root/lib/udev/rules.d/"
done
cp "$here/../../../packaging/udev/70-neap-stick.rules" "$root/lib/udev/rules.d/"
{ ldd "$neap"; ldd "$udevadm"; } | grep -o '/[^ )]*' | sort -u | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
mkdir -p "$root$(dirname "$fleet")"
cp -r "$fleet" "$root$fleet"
echo "$DRIVERS" >"$root/drivers"
cp "$here/guest.sh" "$root/init"
chmod 755 "$root/init"
(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet) >initramfs
