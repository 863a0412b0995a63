# SPDX-License-Identifier: BSD-3-Clause
"""Loop devices for tests; skips where they can't be made.

    with Loops() as loops:
        dev = loops.attach(file)            # "/dev/loop7"
        loops.detach(dev)
"""
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(__file__))
from dray import skip  # noqa: E402

os.environ["PATH"] += ":/usr/sbin:/sbin"


def run(*args):
    return subprocess.run(args, capture_output=True, text=True, check=True).stdout.strip()


def backing(dev):
    """The file behind it; None: it is not attached."""
    try:
        with open(f"/sys/block/{os.path.basename(dev)}/loop/backing_file", encoding="utf-8") as f:
            return f.read()
    except OSError:
        return None


class Loops:
    def __init__(self):
        if os.geteuid() != 0:
            skip("loop devices need root")
        if not shutil.which("losetup") or not os.path.exists("/dev/loop-control"):
            skip("no loop devices here")
        self.devices, self.mounts, self.nodes = [], [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for m in list(self.mounts):
            self.umount_soon(m)
        for d in list(self.devices):
            try:
                self.detach(d)
            except (OSError, subprocess.CalledProcessError) as e:
                print(f"{d}: {e}", file=sys.stderr)
        for n in self.nodes:
            if os.path.exists(n):
                os.unlink(n)

    def attach(self, path, sector=None, partitions=False, device=None):
        """A loop device over the file; of that name, if one is given: another test may have taken it, and has it for as long as it runs."""
        options = (["--sector-size", str(sector)] if sector else []) + (["--partscan"] if partitions else [])
        for _ in range(600 if device else 20):
            try:
                dev = device or run("losetup", "--find")
                run("losetup", *options, dev, path)
                self.devices.append(dev)
                return dev
            except subprocess.CalledProcessError as e:
                error = e.stderr
                time.sleep(0.1)  # another took it first
        if device:
            raise OSError(f"{device} over {path}: {error}")
        return skip(f"no loop device over {path}: {error}")

    def detach(self, dev):
        was = backing(dev)
        run("losetup", "--detach", dev)
        self.devices.remove(dev)
        # It may be let go a little later, by who held it; and be another test's right after that.
        for _ in range(1500):
            if backing(dev) != was:
                return
            time.sleep(0.02)
        raise OSError(f"{dev} stays attached")

    def partition(self, dev, number):
        """The node of a partition, made where nobody does; None: the kernel shows none."""
        name = f"{os.path.basename(dev)}p{number}"
        try:
            with open(f"/sys/block/{os.path.basename(dev)}/{name}/dev") as f:
                major, minor = map(int, f.read().split(":"))
        except OSError:
            return None
        node = f"/dev/{name}"
        if not os.path.exists(node):
            os.mknod(node, 0o600 | 0o060000, os.makedev(major, minor))
            self.nodes.append(node)
        return node

    def mount(self, dev, where):
        done = subprocess.run(["mount", dev, where], capture_output=True, text=True, check=False)
        if done.returncode:
            skip(f"can't mount: {done.stderr}")
        self.mounts.append(where)

    def umount(self, where):
        run("umount", where)
        self.mounts.remove(where)

    def umount_soon(self, where):
        """A process that was killed keeps its files for a moment, until the kernel has ended its requests; and anybody may look at one for a moment."""
        for _ in range(600):
            try:
                self.umount(where)
                return
            except subprocess.CalledProcessError:
                time.sleep(0.05)
        self.umount(where)


class DyingFs:
    """An ext4 on a loop device that can be shut down under its users, as when its disk is pulled, and mounted again; at .mnt."""

    EXT4_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2

    def __init__(self, loops, file, mnt):
        self.loops, self.mnt, self.dev = loops, mnt, loops.attach(file)
        run("mkfs.ext4", "-q", self.dev)
        os.mkdir(mnt)
        self.mount()

    def mount(self):
        """A living one: as long as another mount namespace has the dead one, which every program that makes itself one keeps alive, that is what is mounted."""
        for _ in range(600):
            self.loops.mount(self.dev, self.mnt)
            try:
                os.rmdir(tempfile.mkdtemp(dir=self.mnt))
                return
            except OSError as e:
                if e.errno not in (errno.EIO, errno.EROFS):
                    raise
            self.loops.umount_soon(self.mnt)
            time.sleep(0.1)
        raise AssertionError(f"the file system on {self.dev} stays dead: somebody has it mounted elsewhere")

    def die(self):
        """Without a sync: what was written since the last flush is gone, and the next mount knows nothing of it."""
        fd = os.open(self.mnt, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, self.EXT4_IOC_SHUTDOWN, struct.pack("I", self.NOLOGFLUSH))
        except OSError as e:
            skip(f"ext4 can't be shut down here: {e}")
        finally:
            os.close(fd)

    def unmounted(self):
        """Tries it, not lazily: it works only once nobody holds a file of it, and only then is the next mount a living one."""
        try:
            self.loops.umount(self.mnt)
        except subprocess.CalledProcessError:
            return False
        return True
