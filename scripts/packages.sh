#!/bin/sh
# The one list of what dray needs from Debian 12, and its installation. Does nothing when all is there.
# Usage: packages.sh [fuzz|ci|vm]  also what only `make fuzz`, .ci/run or `make vm-check` needs
#        packages.sh guest         prints what the emulated machine is made of (vm-guest.sh unpacks it; it is never installed)
set -eu
build="gcc make meson ninja-build pkg-config libc6-dev liburing-dev libnbd-dev libblkid-dev libjansson-dev
  libfyaml-dev libsqlite3-dev libmicrohttpd-dev libcurl4-openssl-dev libsystemd-dev libxxhash-dev libcmocka-dev"
# What the tests, the demo and the bench talk to and look with.
peers="libnbd-bin nbdkit nbdkit-plugin-dev qemu-utils qemu-system-common fio mandoc bsdextrautils file python3 sqlite3 curl procps e2fsprogs util-linux fdisk mount tzdata"
fuzz="clang llvm libclang-rt-14-dev"
ci="shellcheck"
vm="qemu-system-x86 cpio kmod"
guest="busybox-static bash coreutils util-linux mount kmod libkmod2 e2fsprogs fdisk libfdisk1 udev libsystemd-shared procps grep sed diffutils
  lvm2 dmsetup libdevmapper1.02.1 libdevmapper-event1.02.1 libaio1 libedit2 libbsd0 libmd0 mdadm nbd-client libnl-3-200 libnl-genl-3-200
  btrfs-progs liblzo2-2 libzstd1 xfsprogs libinih1 liburcu8"
case ${1:-} in
  fuzz) more=$fuzz ;;
  ci) more=$ci ;;
  vm) more=$vm ;;
  guest)
    # shellcheck disable=SC2086
    echo $guest
    exit 0
    ;;
  *) more= ;;
esac

missing=
for p in $build $peers $more; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
echo "Installing:$missing"
sudo=
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || {
    echo "These packages are missing, and neither root nor sudo is at hand:$missing" >&2
    exit 1
  }
  sudo=sudo
fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q
# shellcheck disable=SC2086
$sudo apt-get install -q -y --no-install-recommends $missing
