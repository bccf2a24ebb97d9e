#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# PID 1 of a guest: changes to the host's root file system, runs one command, powers off.
#
# initramfs.py packs it as /init with busybox and the modules that it loads. boot.py shares by 9p:
#   root     the host's /, read-only; writes go to an overlay in memory
#   modules  the guest's /lib/modules, read-only
#   control  a folder of this guest: it reads `command`, and writes `started`, `dmesg` and `status`
#   results  a folder that the command may write to, at the same path as on the host; the file
#            control/results has the path
PATH=/bin
/bin/busybox --install -s /bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order

share() {
    mount -t 9p -o "trans=virtio,version=9p2000.L,msize=1048576,$3" "$1" "$2"
}

share root /host ro,cache=loose
mount -t tmpfs overlay /overlay
mkdir /overlay/upper /overlay/work
mount -t overlay -o lowerdir=/host,upperdir=/overlay/upper,workdir=/overlay/work root /guest
mkdir -p /guest/lib/modules
share modules /guest/lib/modules ro,cache=loose

for place in proc sys dev; do mount --move /$place /guest/$place; done
mkdir -p /guest/dev/pts /guest/dev/shm
mount -t devpts devpts /guest/dev/pts
mount -t tmpfs tmpfs /guest/dev/shm
mount -t tmpfs tmpfs /guest/run
mkdir -p /guest/run/control /guest/run/lock
share control /guest/run/control rw,cache=none
if [ -e /guest/run/control/results ]; then
    results=/guest$(cat /guest/run/control/results)
    mkdir -p "$results"
    share results "$results" rw,cache=none
fi
ip link set lo up
hostname guest

until output=$(ls /guest/dev/vport*p1 2>/dev/null); do sleep 0.1; done
cp /bin/busybox /guest/run/busybox
cat >/guest/run/main <<END
busybox() { /run/busybox "\$@"; }
echo '<6>ctwsgi: command' >/dev/kmsg
busybox cat /proc/uptime >/run/control/started
/bin/bash /run/control/command </dev/null >${output#/guest} 2>&1
status=\$?
busybox dmesg -r >/run/control/dmesg
echo \$status >/run/control/status
busybox sync
busybox poweroff -f
END

# PID 1 itself changes its root, because kernel threads share it: otherwise request_module() would
# look for modprobe in the initramfs. The new root is mounted over the old one, because the kernel
# lets no process make a user namespace whose root is not that of its mounts.
cd /guest
mount --move . /
exec chroot . /run/busybox sh /run/main
