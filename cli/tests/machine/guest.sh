#!/bin/sh
# The first process of the machine of stick_qemu.rs. It runs what comes on the wire,
# one command a line, each after its number, and answers with the output between `>N` and `<N code`.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for driver in $(cat /drivers); do modprobe "$driver" || echo "no driver $driver"; done

# Mounts the one stick that is plugged in, once the kernel has found it.
cat >/bin/mount-stick <<'END'
#!/bin/sh
i=0
while [ $i -lt 300 ]; do
    for disk in /dev/sd?; do
        # A size of 0 is a stick that was pulled and not let go of yet.
        if [ -b "$disk" ] && [ "$(cat /sys/block/${disk#/dev/}/size)" != 0 ]; then
            mount -t "$1" -o nosuid,nodev,noexec "$disk" /media/stick && exit 0
        fi
    done
    usleep 50000
    i=$((i + 1))
done
echo 'no stick came'
exit 1
END
# Lets go of a stick that was pulled.
cat >/bin/forget-stick <<'END'
#!/bin/sh
umount -l /media/stick
i=0
while ls /dev/sd? >/dev/null 2>&1; do
    [ $i -lt 300 ] || { echo 'the stick stays'; exit 1; }
    usleep 50000
    i=$((i + 1))
done
END
chmod 755 /bin/mount-stick /bin/forget-stick

exec 3<>/dev/vport0p1
exec <&3 >&3 2>&3
echo '>up'
while read -r number command; do
    # In the background: one that hangs holds up none that comes after it.
    {
        echo ">$number"
        sh -c "$command" </dev/null 2>&1
        echo "<$number $?"
    } &
done
