#!/bin/sh
# Makes what the emulated machine of `make vm-check` boots: BUILD/vm/vmlinuz and BUILD/vm/initrd, a small Debian in memory with a
# kernel of Debian's, the tools of `packages.sh guest`, and the programs of the build folder. Packages are fetched and unpacked,
# never installed; no root is needed. What was fetched is kept in BUILD/vm until the list changes.
# Usage: vm-guest.sh BUILD
set -eu
PATH=$PATH:/usr/sbin:/sbin # depmod, modprobe
cd "$(dirname "$0")/.."
case ${1:-} in -h | --help | '') sed -n '2,5s/^# //p' scripts/vm-guest.sh; [ -n "${1:-}" ] && exit 0; exit 2 ;; esac
mkdir -p "$1/vm"
build=$(cd "$1" && pwd)
vm=$build/vm
guest=$(scripts/packages.sh guest)
kernel=linux-image-cloud-amd64
modules="virtio_pci virtio_blk nvme virtio_scsi virtio_console virtio_net sd_mod scsi_debug loop brd nbd dm-mod dm-flakey dm-snapshot dm-mirror
  dm-multipath dm-thin-pool md-mod raid1 ext4 btrfs xfs crc32c_generic"
programs="drayd dray-iod dray tests/dray-stamp tests/nbd-holdback tests/vm-guest"
[ "$(uname -m)" = x86_64 ] || { echo "vm-guest.sh: the machine is an x86_64, $(uname -m) can't make it" >&2; exit 1; }

# apt with the system's lists, or, where those are missing or old, with lists of our own.
apt_own="-o Dir::State::Lists=$vm/apt/lists -o Dir::Cache=$vm/apt/cache -o Debug::NoLocking=1 -o APT::Sandbox::User="
fetch() { # options
  k=$(apt-cache "$@" depends $kernel | sed -n 's/^ *Depends: *\(linux-image-[0-9]\)/\1/p' | head -n 1)
  # shellcheck disable=SC2086
  [ -n "$k" ] && (cd "$vm/debs" && apt-get "$@" -q download "$k" $guest)
}
unpack() {
  rm -rf "$vm/debs" "$vm/root" "$vm/kernel" "$vm/base.cpio"
  mkdir -p "$vm/debs" "$vm/root" "$vm/kernel" "$vm/apt/lists/partial" "$vm/apt/cache/archives/partial"
  # shellcheck disable=SC2086
  fetch -o APT::Sandbox::User= >"$vm/fetch.log" 2>&1 || { rm -f "$vm"/debs/* && apt-get $apt_own -q update && fetch $apt_own; } >"$vm/fetch.log" 2>&1 || {
    cat "$vm/fetch.log" >&2
    echo "vm-guest.sh: apt-get could not fetch what the machine is made of ($kernel and what packages.sh guest lists): see above" >&2
    exit 1
  }
  dpkg-deb -x "$vm"/debs/linux-image-*.deb "$vm/kernel"
  rm "$vm"/debs/linux-image-*.deb
  # One /usr for all, as on an installed Debian.
  for d in bin sbin lib lib64; do mkdir -p "$vm/root/usr/$d" && ln -s "usr/$d" "$vm/root/$d"; done
  for p in "$vm"/debs/*.deb; do dpkg-deb --fsys-tarfile "$p" | tar -C "$vm/root" -x --keep-directory-symlink; done
  rm -rf "$vm/debs" "$vm/apt"
  (cd "$vm/root/usr/share" && rm -rf doc man locale info bug lintian bash-completion common-licenses initramfs-tools)
  rm -f "$vm"/root/usr/sbin/xfs_scrub* # would bring ICU, 36 MB, into the memory of each machine
  rm -rf "$vm/root/usr/lib/udev/hwdb.d" "$vm/root/usr/share/initramfs-tools"
}

# The libraries of programs, from the machine's packages where those have them, else from this host's.
libraries() { # files
  LD_LIBRARY_PATH=$vm/root/usr/lib/x86_64-linux-gnu:$vm/root/usr/lib/x86_64-linux-gnu/systemd ldd "$@" 2>/dev/null |
    grep -o '/[^ ]* (' | sed 's/ ($//' | grep -v "^$vm" | LC_ALL=C sort -u
}
copy_libraries() { # to-folder files: what the machine does not have yet
  to=$1
  shift
  libraries "$@" | while read -r l; do
    l=/usr/${l#/usr/}
    [ -e "$vm/root$l" ] || { mkdir -p "$to${l%/*}" && cp -L "$l" "$to$l"; }
  done
}

base() {
  r=$vm/root
  v=$(ls "$vm/kernel/lib/modules")
  cp "$vm"/kernel/boot/vmlinuz-* "$vm/vmlinuz"
  depmod -b "$vm/kernel" "$v"
  for m in $modules; do
    modprobe -d "$vm/kernel" -S "$v" --show-depends "$m" || echo "no module $m" >&2
  done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | LC_ALL=C sort -u | while read -r f; do
    mkdir -p "$r/lib/modules/$v"
    cp "$f" "$r/lib/modules/$v/"
  done
  cp "$vm/kernel/lib/modules/$v/"modules.builtin* "$vm/kernel/lib/modules/$v/modules.order" "$r/lib/modules/$v/"
  depmod -b "$r" "$v"
  mkdir -p "$r/proc" "$r/sys" "$r/dev" "$r/run" "$r/tmp" "$r/mnt" "$r/var/lib" "$r/root" "$r/etc/lvm"
  ln -sf /run "$r/var/run"
  # shellcheck disable=SC2046 # no name has a space
  copy_libraries "$r" $(find "$r/usr/bin" "$r/usr/sbin" "$r/usr/lib/udev" "$r/usr/lib/systemd" -type f -perm /111)
  applets=$("$r/usr/bin/busybox" --list) # its own: this host need not have one
  for a in $applets; do
    [ -e "$r/usr/bin/$a" ] || [ -e "$r/usr/sbin/$a" ] || ln -s busybox "$r/usr/bin/$a"
  done
  # Nothing watches snapshots in a machine that lives for a minute.
  printf 'activation { monitoring = 0 }\n' >"$r/etc/lvm/lvmlocal.conf"
  printf 'root:x:0:0:root:/root:/bin/bash\n' >"$r/etc/passwd"
  printf 'root:x:0:\ndisk:x:6:\ntty:x:5:\nkmem:x:15:\ninput:x:101:\nkvm:x:102:\nrender:x:103:\nlp:x:7:\ncdrom:x:24:\ntape:x:26:\nvideo:x:44:\naudio:x:29:\nsgx:x:104:\ndialout:x:20:\n' >"$r/etc/group"
  printf '127.0.0.1 localhost\n' >"$r/etc/hosts"
  cp scripts/vm-init.sh "$r/init"
  chmod 755 "$r/init"
  (cd "$r" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$vm/base.cpio"
}

# Fetched and unpacked once; made again when what is said here changes.
stamp=$(echo "$kernel $guest $modules"; cat scripts/vm-init.sh scripts/vm-guest.sh)
if [ "$stamp" != "$(cat "$vm/stamp" 2>/dev/null)" ]; then
  rm -f "$vm/stamp"
  unpack
  base
  printf '%s\n' "$stamp" >"$vm/stamp"
fi
p=$vm/programs
rm -rf "$p"
mkdir -p "$p/usr/bin"
for f in $programs; do
  cp "$build/$f" "$p/usr/bin/"
  strip "$p/usr/bin/${f##*/}" 2>/dev/null || :
done
copy_libraries "$p" "$p"/usr/bin/*
(cd "$p" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$vm/programs.cpio"
cat "$vm/base.cpio" "$vm/programs.cpio" >"$vm/initrd.new"
mv "$vm/initrd.new" "$vm/initrd"
rm -rf "$p" "$vm/programs.cpio"
