#!/bin/busybox sh
# shellcheck shell=dash
# The first process of the emulated machine (scripts/vm-guest.sh puts it there as /init). Ends in vm-guest, by which the test
# on the host drives the machine; words of the kernel's command line: noudev.
export PATH=/usr/bin:/usr/sbin
export HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts /dev/mapper
for d in /dev/shm /run /tmp; do mount -t tmpfs tmpfs $d; done
mkdir -p /run/lock /run/lvm /run/udev
ln -sf /proc/self/fd /dev/fd
echo 3 >/proc/sys/kernel/printk
modprobe -a virtio_pci virtio_blk virtio_scsi sd_mod virtio_console dm-mod ext4
case " $(cat /proc/cmdline) " in
  *" noudev "*) export DM_DISABLE_UDEV=1 ;;
  *)
    /usr/lib/systemd/systemd-udevd --daemon
    udevadm trigger --action=add --subsystem-match=block --subsystem-match=misc --subsystem-match=virtio-ports
    udevadm settle
    ;;
esac
if modprobe virtio_net && [ -e /sys/class/net/eth0 ]; then
  ip link set lo up
  ip link set eth0 up
  ip addr add 10.0.2.15/24 dev eth0
fi
echo 0 >/proc/sys/kernel/panic # a crash stays, until the test has seen it
port=
while [ -z "$port" ]; do
  for p in /dev/vport*; do [ -e "$p" ] && port=$p; done
done
echo "up after $(cut -d' ' -f1 /proc/uptime) s: $(uname -r)"
vm-guest "$port"
echo "vm-guest ended: $?"
poweroff -f
