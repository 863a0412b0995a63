#!/bin/bash
# The clients people use, against the NBD server: nbdinfo, nbdcopy, qemu-img, qemu-io and fio, over unix and TCP sockets.
set -euo pipefail
dir=$(mktemp -d)
pid=
finish()
{
  [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
  rm -rf "$dir"
}
trap finish EXIT
for p in nbdinfo nbdcopy qemu-img qemu-io fio; do
  command -v $p >/dev/null || { echo "skipped: $p is not installed"; exit 77; }
done
fail()
{
  echo "FAILED: $*"
  exit 1
}

nbd-memory "$dir/s" size=16M tcp=0 loops=2 >"$dir/out" &
pid=$!
for _ in $(seq 200); do
  grep -q ready "$dir/out" && break
  sleep 0.05
done
grep -q ready "$dir/out" || fail "the server does not come up"
port=$(sed -n 's/^port //p' "$dir/out")
unix()
{
  echo "nbd+unix:///$1?socket=$dir/s"
}
tcp()
{
  echo "nbd://127.0.0.1:$port/$1"
}

# nbdinfo
nbdinfo --json "$(unix disk)" >"$dir/json"
python3 - "$dir/json" <<'P'
import json, sys
e = json.load(open(sys.argv[1]))["exports"][0]
want = {"export-name": "disk", "description": "disk in memory", "export-size": 16 << 20, "is_read_only": False,
  "is_rotational": False, "can_cache": True, "can_df": True, "can_fast_zero": True, "can_flush": True, "can_fua": True,
  "can_multi_conn": True, "can_trim": True, "can_zero": True, "block_size_minimum": 1,
  "block_size_preferred": 4096, "block_size_maximum": 33554432, "contexts": ["base:allocation"]}
bad = {k: e.get(k) for k in want if e.get(k) != want[k]}
assert not bad, bad
P
[ "$(nbdinfo --size "$(tcp disk)")" = 16777216 ] || fail "nbdinfo --size over TCP"
[ "$(nbdinfo --list --json "$(unix '')" | grep -c '"export-name"')" = 6 ] || fail "nbdinfo --list"
nbdinfo --is read-only "$(unix ro)" >/dev/null || fail "the read-only export is not"
if nbdinfo "$(unix nothing)" 2>/dev/null; then fail "an export that does not exist was opened"; fi

# qemu-io
qemu-io -f raw -c 'write -P 0x5a 4k 64k' -c 'read -P 0x5a 4k 64k' -c 'write -z 8k 4k' -c 'read -P 0 8k 4k' \
  -c 'write -z -u 12k 4k' -c 'discard 16k 4k' -c 'read -P 0 16k 4k' -c 'write -f -P 1 1M 512' -c 'read -P 1 1M 512' \
  -c flush "$(unix disk)" >"$dir/log" || { cat "$dir/log"; fail "qemu-io"; }
if grep -qi 'pattern verification failed' "$dir/log"; then cat "$dir/log"; fail "qemu-io read back something else"; fi
if qemu-io -f raw -c 'write 0 4k' "$(unix ro)" >/dev/null 2>&1; then fail "the read-only export was written"; fi
qemu-io -f raw -c 'read 4k 4k' -c 'write 8k 4k' "$(unix errors)" >"$dir/log" 2>&1 || true
grep -q 'read failed: Input/output error' "$dir/log" || { cat "$dir/log"; fail "EIO does not come across"; }
grep -q 'write failed: No space left' "$dir/log" || { cat "$dir/log"; fail "ENOSPC does not come across"; }
map=$(nbdinfo --map "$(unix disk)" | awk '{ print $1, $2, $3 }' | head -n 2 | tr '\n' ';')
[ "$map" = "0 4096 3;4096 8192 0;" ] || fail "nbdinfo --map says $map"
nbdinfo --map --totals "$(unix disk)" | grep -q 'hole,zero' || fail "nbdinfo --map --totals"

# nbdcopy and qemu-img, both ways
head -c 8M /dev/urandom >"$dir/a"
truncate -s 16M "$dir/a"
printf end | dd of="$dir/a" bs=1 seek=$((16 * 1048576 - 3)) conv=notrunc status=none
nbdcopy --connections=4 --requests=32 "$dir/a" "$(unix disk)"
nbdcopy "$(tcp disk)" "$dir/b"
cmp "$dir/a" "$dir/b"
nbdcopy --request-size=65536 "$(unix disk)" "$(unix blocks)"
nbdcopy --request-size=65536 "$(unix blocks)" "$dir/b"
cmp "$dir/a" "$dir/b"
nbdcopy --synchronous "$(unix plain)" "$dir/b" # no structured things needed either
qemu-img info "$(unix disk)" | grep -q 'virtual size: 16 MiB' || fail "qemu-img info"
qemu-img convert -f raw -O raw "$(unix disk)" "$dir/c"
cmp "$dir/a" "$dir/c"
tr '\0-\377' '\1-\377\0' <"$dir/a" >"$dir/d"
qemu-img convert -n -W -m16 -f raw -O raw "$dir/d" "$(tcp disk)"
nbdcopy "$(unix disk)" "$dir/b"
cmp "$dir/d" "$dir/b"
qemu-img compare -f raw -F raw "$dir/d" "$(unix disk)" >/dev/null || fail "qemu-img compare"

# fio, verifying what it wrote
if fio --enghelp=nbd >/dev/null 2>&1; then
  (cd "$dir" && fio --name=v --ioengine=nbd --uri="$(unix disk)" --rw=randrw --bsrange=512-128k --iodepth=16 --size=16M \
    --io_size=64M --verify=crc32c --do_verify=1 --verify_fatal=1 --output="$dir/fio") ||
    { cat "$dir/fio"; fail "fio found other data"; }
  grep -q 'err= 0' "$dir/fio" || { cat "$dir/fio"; fail "fio reports errors"; }
fi

# An orderly end: status 0 means that everything the clients took was given back.
kill "$pid"
rc=0
wait "$pid" || rc=$?
pid=
[ "$rc" = 0 ] || fail "the server ended with status $rc"
