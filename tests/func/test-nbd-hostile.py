#!/usr/bin/env python3
# Clients that mean no good, or that break down in the middle: the server gives each its due, keeps its bounds, and goes on
# serving everybody else.
import os, select, signal, socket, struct, subprocess, sys, tempfile, threading, time

OPT = b"IHAVEOPT"
REPLY = 0x0003e889045565a9
PATIENCE = 120  # seconds; nobody is held to a time here but the clients whose time is over, by the server


class Server:
    def __init__(self, *args):
        self.dir = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.dir.name, "s")
        self.proc = subprocess.Popen(["nbd-memory", self.path, *args], stdout=subprocess.PIPE, text=True)
        assert self.proc.stdout.readline().strip() == "ready"
        self.idle = self.files()

    def connect(self, timeout=PATIENCE):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(timeout)
        s.connect(self.path)
        return s

    def rss(self):
        """Memory in use. Always 0 under a sanitizer, whose own memory would be measured."""
        if "san.so" in open(f"/proc/{self.proc.pid}/maps").read():
            return 0
        for line in open(f"/proc/{self.proc.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        return 0

    def files(self):
        return len(os.listdir(f"/proc/{self.proc.pid}/fd"))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            self.proc.kill()
            self.proc.wait()
        else:
            self.stop()
        self.dir.cleanup()

    def stop(self):
        """An orderly stop, whose status says whether everything was given back."""
        self.proc.send_signal(signal.SIGTERM)
        try:
            rc = self.proc.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            raise AssertionError("the server does not stop")
        assert rc == 0, f"the server ended with {rc}"


def exactly(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise EOFError(f"closed after {len(data)} of {n} bytes")
        data += more
    return data


def closed(s, within=PATIENCE):
    """Reads until the server hangs up; returns what came."""
    s.settimeout(within)
    data = b""
    try:
        while True:
            more = s.recv(65536)
            if not more:
                return data
            data += more
    except ConnectionResetError:
        return data


def option(code, data=b"", length=None):
    return OPT + struct.pack(">II", code, len(data) if length is None else length) + data


def go(name, code=7):
    return option(code, struct.pack(">I", len(name)) + name + struct.pack(">H", 0))


def answer(s):
    magic, code, kind, length = struct.unpack(">QIII", exactly(s, 20))
    assert magic == REPLY
    return code, kind, exactly(s, length)


def greet(s, flags=3):
    assert exactly(s, 18) == b"NBDMAGICIHAVEOPT\0\3"
    s.sendall(struct.pack(">I", flags))


def negotiated(server, name=b"disk", structured=True):
    s = server.connect()
    greet(s)
    if structured:
        s.sendall(option(8))
        assert answer(s)[1] == 1
    s.sendall(go(name))
    while answer(s)[1] != 1:
        pass
    return s


def request(kind, offset, length, cookie=1, flags=0, data=b"", magic=0x25609513):
    return struct.pack(">IHHQQI", magic, flags, kind, cookie, offset, length) + data


def read_reply(s, structured=True):
    """(cookie, error, content) of one reply."""
    magic = struct.unpack(">I", exactly(s, 4))[0]
    if magic == 0x67446698:
        error, cookie = struct.unpack(">IQ", exactly(s, 12))
        return cookie, error, b""
    assert magic == 0x668E33EF, hex(magic)
    flags, kind, cookie, length = struct.unpack(">HHQI", exactly(s, 16))
    data = exactly(s, length)
    assert flags == 1
    if kind == 0x8001:
        error, n = struct.unpack(">IH", data[:6])
        assert n == len(data) - 6
        return cookie, error, data[6:]
    return cookie, 0, data[8:] if kind == 1 else data


def works(server, name=b"disk"):
    s = negotiated(server, name)
    s.sendall(request(1, 4096, 4096, 7, data=b"w" * 4096) + request(0, 4096, 4096, 8))
    assert read_reply(s) == (7, 0, b"")
    assert read_reply(s) == (8, 0, b"w" * 4096)
    s.sendall(request(2, 0, 0))
    assert closed(s) == b""


def wait_for(what, condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.02)


def cut_off(s):
    """The server has hung up, whatever of its answers is still to be read."""
    look = select.poll()
    look.register(s, select.POLLRDHUP)
    return bool(look.poll(0))


def test_garbage_instead_of_flags(server):
    for junk in (b"\xff" * 4, b"GET / HTTP/1.0\r\n\r\n", os.urandom(70000)):
        s = server.connect()
        exactly(s, 18)
        try:
            s.sendall(junk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        closed(s)


def test_garbage_instead_of_an_option(server):
    s = server.connect()
    greet(s)
    s.sendall(b"IHAVEOPS" + bytes(8))
    assert closed(s) == b""


def test_truncated_handshakes(server):
    whole = struct.pack(">I", 3) + option(8) + go(b"disk")
    for cut in range(0, len(whole), 3):
        s = server.connect()
        exactly(s, 18)
        s.sendall(whole[:cut])
        s.close()


def test_a_huge_option_is_hung_up_on(server):
    s = server.connect()
    greet(s)
    s.sendall(option(7, length=0xFFFFFFFF))
    assert closed(s) == b""


def test_a_long_option_is_refused_and_the_next_one_served(server):
    s = server.connect()
    greet(s)
    s.sendall(option(6, b"x" * 1000000) + option(3))
    assert answer(s)[:2] == (6, 0x80000009)
    assert answer(s)[:2] == (3, 2)
    s.close()


def test_long_names_are_unknown(server):
    for n in (255, 256, 4095, 4096):
        s = server.connect()
        greet(s)
        s.sendall(go(b"n" * n))
        assert answer(s)[:2] == (7, 0x80000006), n
        s.close()
    s = server.connect()
    greet(s)
    s.sendall(option(1, b"n" * 4096))
    assert closed(s) == b""


def test_a_flood_of_options_ends(server):
    s = server.connect()
    greet(s)
    before = server.rss()
    flood = option(3) * 10000

    def send():
        try:
            s.sendall(flood)
        except OSError:
            pass

    t = threading.Thread(target=send)
    t.start()
    got = closed(s)
    t.join()
    assert got.count(struct.pack(">QIII", REPLY, 3, 1, 0)) == 4096
    assert server.rss() - before < 32 << 20


def unread_options(server):
    """A client that asks and asks and reads none of the answers."""
    s = server.connect()
    try:
        greet(s)
        s.setblocking(False)
        for _ in range(4000):
            s.send(option(3))
    except (BlockingIOError, BrokenPipeError, ConnectionResetError):  # there is no room for more, or its time is over
        pass
    return s


def test_options_whose_answers_nobody_reads(server):
    """The server stops reading, and keeps little."""
    before = server.rss()
    s = unread_options(server)
    works(server)
    assert server.rss() - before < 32 << 20
    s.close()


def handshakes_without_an_end_are_ended(server):
    """Those that are begun, those that go on slowly, those whose answers are not read. (Whoever is held up here for that long is ended, too.)"""
    silent = server.connect()
    late = server.connect()
    try:
        exactly(late, 18)
        late.sendall(struct.pack(">I", 3) + OPT[:5])
    except BrokenPipeError:
        pass
    start = time.monotonic()
    drip = server.connect()
    try:
        greet(drip)
        for b in option(99, b"?" * 1000):  # a byte now and then, all of it correct
            drip.sendall(bytes([b]))
            if select.select([drip], [], [], 0.05)[0] and drip.recv(1) == b"":
                break
        else:
            raise AssertionError("a slow handshake is never ended")
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert time.monotonic() - start > 0.9, "before its time"
    assert closed(silent) == b"NBDMAGICIHAVEOPT\0\3"
    assert closed(late) == b""
    unread = unread_options(server)
    unread.setblocking(True)
    closed(unread)


def test_a_broken_request_ends_the_connection(server):
    s = negotiated(server)
    s.sendall(request(0, 0, 512, 1) + request(0, 0, 512, 2, magic=0x25609514) + request(0, 0, 512, 3))
    got = closed(s)
    assert len(got) in (0, 28 + 512), len(got)


def test_refused_writes_are_thrown_away(server):
    s = negotiated(server)
    before = server.rss()
    for length, offset, error, words in ((64 << 20, 0, 22, b"longer"), (1 << 20, 64 << 20, 28, b"past the end"), (4096, (1 << 64) - 4096, 28, b"past the end")):
        sender = threading.Thread(target=s.sendall, args=(request(1, offset, length, 5) + bytes(length) + request(3, 0, 0, 6),))
        sender.start()
        cookie, got, text = read_reply(s)
        assert (cookie, got) == (5, error) and words in text, (cookie, got, text)
        assert read_reply(s) == (6, 0, b"")
        sender.join()
    assert server.rss() - before < 24 << 20, "the payload was kept"
    s.close()


def test_vanishing_in_the_middle_of_a_payload(server):
    for sent in (0, 1, 4096, 300000):
        s = negotiated(server)
        s.sendall(request(0, 0, 65536, 1) + request(1, 8 << 20, 1 << 20, 2) + b"v" * sent)
        s.close()
    s = negotiated(server)
    s.sendall(request(0, 8 << 20, 4096, 1))
    assert read_reply(s) == (1, 0, bytes(4096)), "a piece of a write that never came was written"
    s.close()


def test_vanishing_with_requests_under_way(server):
    before = server.files()
    for _ in range(20):
        s = negotiated(server, b"slow")
        s.sendall(b"".join(request(0, i * 4096, 4096, i) for i in range(20)) + request(1, 0, 4096, 99, data=b"z" * 4096))
        s.close()
    wait_for("the sockets are closed", lambda: server.files() <= before)


def test_half_closed_clients_get_their_answers(server):
    s = negotiated(server, b"slow")
    s.sendall(request(0, 0, 4096, 1) + request(3, 0, 0, 2))
    s.shutdown(socket.SHUT_WR)
    assert sorted(read_reply(s)[:2] for _ in range(2)) == [(1, 0), (2, 0)]
    assert closed(s) == b""


def test_disconnecting_with_requests_under_way(server):
    s = negotiated(server, b"slow")
    s.sendall(request(0, 0, 4096, 1) + request(2, 0, 0, 2))
    assert read_reply(s)[:2] == (1, 0)
    assert closed(s) == b""


def test_a_client_that_never_reads(server):
    """It comes to a stop at its own limits while another client's requests are served."""
    lazy = negotiated(server)
    before = server.rss()
    lazy.setblocking(False)
    sent = 0
    wish = b"".join(request(0, 0, 1 << 20, i) for i in range(1000))
    for _ in range(30):
        if select.select([], [lazy], [], 0.1)[1]:
            try:
                sent += lazy.send(wish[sent:sent + 28 * 50])
            except BlockingIOError:
                pass
        works(server)
    assert server.rss() - before < 100 << 20, server.rss() - before
    # Once it reads, it gets every answer.
    lazy.setblocking(True)
    lazy.settimeout(PATIENCE)
    rest = threading.Thread(target=lazy.sendall, args=(wish[sent:],))
    rest.start()
    cookies = sorted(read_reply(lazy)[0] for _ in range(1000))
    rest.join()
    assert cookies == list(range(1000))
    lazy.close()


def test_a_client_that_never_reads_does_not_hold_up_the_end(server):
    lazy = negotiated(server)
    lazy.sendall(b"".join(request(0, 0, 1 << 20, i) for i in range(40)) + request(2, 0, 0))
    wait_for("it is cut off", lambda: cut_off(lazy))
    lazy.close()


def test_ending_the_connections_of_one_export(server):
    a, b, other = negotiated(server), negotiated(server), negotiated(server, b"plain")
    server.proc.send_signal(signal.SIGUSR1)
    assert server.proc.stdout.readline().strip() == "disconnected"
    assert closed(a) == b"" and closed(b) == b""
    other.sendall(request(0, 0, 16, 1))
    assert read_reply(other)[:2] == (1, 0)
    other.close()


def test_many_connections(server):
    """64 are allowed here; the next is hung up on, and one that leaves makes room."""
    wait_for("earlier clients are gone", lambda: server.files() <= server.idle)
    held = [negotiated(server) for _ in range(64)]
    s = server.connect()
    assert closed(s) == b""
    for h in held:
        h.sendall(request(0, 0, 512, 3))
    for h in held:
        assert read_reply(h)[0] == 3
    held.pop().close()

    def room():
        try:
            works(server)
            return True
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return False

    wait_for("there is room again", room)
    for h in held:
        h.close()
    wait_for("there is room again", room)


def little_memory(server):
    """Two clients that want more than there is take turns; all is answered."""
    clients = [negotiated(server) for _ in range(2)]
    for c in clients:
        threading.Thread(target=c.sendall, args=(b"".join(request(0, 0, 700000, i) for i in range(50)),)).start()
    for c in clients:
        assert sorted(read_reply(c)[0] for _ in range(50)) == list(range(50))
        c.close()


def memory_held_by_clients_that_do_not_read(server):
    """The others go on while those are there, and have it all again when they are cut off."""
    lazy = [negotiated(server) for _ in range(6)]
    for c in lazy:
        c.sendall(b"".join(request(0, 0, 1 << 20, i) for i in range(6)))
    works(server)
    assert not any(map(cut_off, lazy)), "the small ones had to wait, too"
    for _ in range(20):
        works(server)
    big = negotiated(server)
    big.sendall(b"".join(request(0, 0, 4 << 20, i) for i in range(4)))
    assert sorted(read_reply(big)[0] for _ in range(4)) == [0, 1, 2, 3]
    assert any(map(cut_off, lazy)), "memory was not short at all"
    big.close()
    for c in lazy:
        c.close()


def run(args, tests):
    with Server(*args) as server:
        for test in tests:
            print(test.__name__, *args, flush=True)
            test(server)
            assert server.proc.poll() is None, "the server is gone"
            if "timeout=1" in args:  # its clients may be too late as well
                exactly(server.connect(), 18)
            else:
                works(server)


def main():
    tests = [f for name, f in globals().items() if name.startswith("test_")]
    run(["timeout=600", "connections=64", "size=32M"], tests)
    run(["timeout=1", "size=1M"], [handshakes_without_an_end_are_ended])
    run(["timeout=600", "buffers=1M", "requests=8", "loops=2", "size=16M"], [little_memory])
    run(["timeout=600", "buffers=8M", "size=16M"], [memory_held_by_clients_that_do_not_read])


if __name__ == "__main__":
    sys.exit(main())
