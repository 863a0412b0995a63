# SPDX-License-Identifier: BSD-3-Clause
"""A small NBD client with nothing of libnbd or of dray in it: simple replies, one request at a time.

    c = Client("/tmp/x.sock", "export")
    c.write(0, b"..."); c.flush(); c.read(0, 512)

A request that the server refuses raises NbdError with `errno`; a lost connection raises ConnectionError.
"""
import socket
import struct
import time

READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZERO = range(7)
FUA = 1


class NbdError(Exception):
    def __init__(self, errno):
        super().__init__(f"NBD error {errno}")
        self.errno = errno


class Client:
    def __init__(self, path, export="", wait=10):
        end = time.monotonic() + wait
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            try:
                self.sock.connect(path)
                break
            except OSError:
                self.sock.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        self.cookie = 0
        magic, version, _ = struct.unpack(">QQH", self._get(18))
        assert (magic, version) == (0x4E42444D41474943, 0x49484156454F5054)
        self.sock.sendall(struct.pack(">I", 3))
        name = export.encode()
        data = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
        self.sock.sendall(struct.pack(">QII", 0x49484156454F5054, 7, len(data)) + data)
        while True:
            _, _, kind, length = struct.unpack(">QIII", self._get(20))
            body = self._get(length)
            if kind == 1:
                break
            if kind & 0x80000000:
                raise NbdError(kind)
            if struct.unpack(">H", body[:2])[0] == 0:
                self.size, self.flags = struct.unpack(">QH", body[2:12])

    def _get(self, n):
        out = b""
        while len(out) < n:
            part = self.sock.recv(n - len(out))
            if not part:
                raise ConnectionError("the server closed the connection")
            out += part
        return out

    def send(self, kind, offset=0, length=0, data=b"", flags=0):
        """Without waiting for the answer, which is for receive(); returns what that is to be called with."""
        self.cookie += 1
        self.sock.sendall(struct.pack(">IHHQQI", 0x25609513, flags, kind, self.cookie, offset, length) + data)
        return self.cookie

    def request(self, kind, offset=0, length=0, data=b"", flags=0):
        return self.receive(self.send(kind, offset, length, data, flags), kind, length)

    def receive(self, sent, kind, length=0):
        magic, error, cookie = struct.unpack(">IIQ", self._get(16))
        assert (magic, cookie) == (0x67446698, sent)
        if error:
            raise NbdError(error)
        return self._get(length) if kind == READ else b""

    def read(self, offset, length):
        return self.request(READ, offset, length)

    def write(self, offset, data, flags=0):
        self.request(WRITE, offset, len(data), data, flags)

    def zero(self, offset, length, flags=0):
        self.request(ZERO, offset, length, flags=flags)

    def trim(self, offset, length):
        self.request(TRIM, offset, length)

    def flush(self):
        self.request(FLUSH)

    def close(self):
        try:
            self.sock.sendall(struct.pack(">IHHQQI", 0x25609513, 0, DISC, 0, 0, 0))
        except OSError:
            pass
        self.sock.close()
