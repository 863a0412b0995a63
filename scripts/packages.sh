#!/bin/sh
# The one list of what dray needs from Debian 12, and its installation. Does nothing when all is there.
# Usage: packages.sh [fuzz|ci]     also what only `make fuzz` or .ci/run needs
set -eu
build="gcc make meson ninja-build pkg-config libc6-dev liburing-dev libnbd-dev libblkid-dev libjansson-dev
  libfyaml-dev libsqlite3-dev libmicrohttpd-dev libcurl4-openssl-dev libsystemd-dev libxxhash-dev libcmocka-dev"
# What the tests, the demo and the bench talk to and look with.
peers="libnbd-bin nbdkit nbdkit-plugin-dev qemu-utils qemu-system-common fio mandoc python3 sqlite3 curl procps e2fsprogs util-linux"
fuzz="clang llvm libclang-rt-14-dev"
ci="shellcheck"
case ${1:-} in
  fuzz) more=$fuzz ;;
  ci) more=$ci ;;
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
