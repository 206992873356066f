"""`make overload`: more than the service can do, from clients that behave and from those that do not.

What is accepted must come as fast as ever, the rest be refused at once, memory stay bounded, and all be as before within a
second. An addition that was acknowledged is there.

    overload.py BINARY [--short]     OVERLOAD_SECONDS=60 for each flood
"""

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ending import end_in_order
from flood import Flood, Result
from stage import APP, LOCAL, ROOT, Api, Disk, Instance, Postgres

ACKNOWLEDGED = LOCAL / "overload-acknowledged"

# So many changes may wait. As many again are being made, a batch in each of two lanes.
QUEUE = 250

# Times that are short, so that a run need not wait long for connections to be given up; else as delivered.
SETTINGS = {
    "SERVER__WORKERS": "0", "SERVER__KEEP_ALIVE_SECONDS": "5", "SERVER__REQUEST_TIMEOUT_MS": "15000",
    "WRITES__QUEUE": str(QUEUE), "DATABASE__MAX_CONNECTIONS": "16",
    "LOG__FILTER": "error",
}
HASTE = {"SERVER__REQUEST_TIMEOUT_MS": "5000"}


@dataclass
class Scale:
    seconds: float       # of a flood
    few: int             # connections that get the best rate
    many: int            # connections of a flood
    slow: int            # connections that never finish a request, or never read an answer
    streams: int
    users: int           # enough for all additions to one room
    within: float        # seconds in which all is normal again
    settings: dict
    is_strict: bool      # whether what is accepted must keep its rate


FULL = Scale(float(os.environ.get("OVERLOAD_SECONDS") or 60), 64, 2000, 1000, 5000, 2_000_000, 1, SETTINGS, True)
# Beside other work a second is soon gone, and a rate says little.
SHORT = Scale(3, 64, 1000, 200, 500, 200_000, 5, SETTINGS | HASTE, False)

# What must hold.
LEAST_SHARE_OF_BEST = 0.7
REFUSED_WITHIN_SECONDS = 1
MOST_MEGABYTES_MORE = 512


class Overload:
    def __init__(self, instance, postgres, api, token, scale):
        self.instance, self.postgres, self.api, self.token, self.scale = instance, postgres, api, token, scale
        self.calls, self.findings = Counter(), []

    def say(self, text):
        print(text, flush=True)

    def require(self, so, sentence):
        if not so:
            self.findings.append(sentence)
            self.say(f"   FINDING: {sentence}")

    def memory(self, which="VmRSS"):
        """Megabytes: at present, or (VmHWM) the most there were."""
        lines = Path(f"/proc/{self.instance.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024

    def cpu(self):
        return sum(map(int, Path(f"/proc/{self.instance.process.pid}/stat").read_text().rpartition(") ")[2].split()[11:13]))

    def wait_until_idle(self):
        """Work that was asked for is done, or waits for its readers."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            before = self.cpu()
            time.sleep(0.5)
            if self.cpu() - before <= 2:
                return

    def flood(self, rooms, connections, seconds):
        """Each goes on where the one before has ended in these rooms."""
        flood = Flood(self.instance.port, "/" + APP, self.token, rooms, self.scale.users, self.calls[rooms[0]], connections, seconds,
                      str(ACKNOWLEDGED))
        done = subprocess.run([sys.executable, ROOT / "chaos/flood.py", json.dumps(vars(flood))], check=True, text=True,
                              stdout=subprocess.PIPE)
        result = Result(**json.loads(done.stdout))
        self.calls[rooms[0]] = result.next
        return result

    def probe(self):
        """How long one addition takes; none: it was refused."""
        began, user = time.monotonic(), self.calls["probe"]
        self.calls["probe"] += 1
        with contextlib.suppress(RuntimeError, OSError):
            self.api.call(self.instance.port, "POST", f"/chatrooms/probe/users/u{user}", timeout=5)
            return time.monotonic() - began
        return None

    def calm(self):
        """The slowest of some additions, one after the other."""
        return max(self.probe() or 5 for _ in range(20))

    def until_normal(self, calm):
        """How long it takes from now until additions take no longer than in calm, as far as one can tell."""
        began = time.monotonic()
        while time.monotonic() - began < 30:
            if (took := self.probe()) is not None and took <= 2 * calm + 0.05:
                return time.monotonic() - began
            time.sleep(0.02)
        return 30.0

    def floods(self, title, rooms):
        calm, scale = self.calm(), self.scale
        best = self.flood(rooms, scale.few, scale.seconds / 3)
        flooded = self.flood(rooms, scale.many, scale.seconds)
        back = self.until_normal(calm)
        rates = [result.times.get("200", 0) / result.seconds for result in (best, flooded)]
        refused, share = flooded.times.get("503", 0), rates[1] / max(rates[0], 1)
        p99 = {status: flooded.p99.get(status, 0) for status in ("200", "503")}
        self.say(f"{title}: {rates[0]:,.0f} additions a second through {scale.few} connections; through {scale.many:,}, of which "
                 f"{QUEUE} may wait: {rates[1]:,.0f} ({share:.0%}), 99 % within {p99['200']:.2f} s; {refused:,} refused, 99 % within "
                 f"{p99['503']:.2f} s; memory {self.memory('VmHWM'):.0f} MB at most; normal again after {back:.2f} s")
        self.require(set(best.times) | set(flooded.times) <= {"200", "503"}, f"{title}: {best.times}, {flooded.times}")
        if scale.is_strict:
            self.require(share >= LEAST_SHARE_OF_BEST, f"{title}: accepted work falls to {share:.0%} of its best")
        self.require(p99["503"] <= REFUSED_WITHIN_SECONDS, f"{title}: refusals take {p99['503']:.2f} s")
        self.require(back <= scale.within, f"{title}: normal only after {back:.2f} s")
        self.require(flooded.broken == 0, f"{title}: {flooded.broken} connections broke")

    def acknowledged_are_there(self):
        acknowledged = {tuple(line.split()) for line in ACKNOWLEDGED.read_text().splitlines()}
        rows = self.postgres.query("select chatroom, username from members").splitlines()
        lost = acknowledged - {tuple(row.split("|")) for row in rows}
        self.say(f"{len(acknowledged):,} additions acknowledged, {len(lost)} lost")
        self.require(not lost, f"{len(lost)} acknowledged additions are not there: {sorted(lost)[:5]}")

    def connect(self, number):
        """Connections that are only held; of an answer that is not read the kernel takes little."""
        connections = []
        for _ in range(number):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", self.instance.port))
            connection.setblocking(False)
            connections.append(connection)
        return connections

    def among(self, title, connections, calm, before, what):
        """Judges calls beside such connections, and what these have added to the megabytes before. The allocator keeps what it
        has had: what comes later has that at hand."""
        slowest, memory = self.calm(), self.memory()
        self.say(f"{title}: {what}; additions beside them take {1000 * slowest:.0f} ms at most ({1000 * calm:.0f} ms without), "
                 f"memory {memory:.0f} MB, {before:.0f} MB before")
        self.require(slowest <= 10 * calm + 0.5, f"{title}: additions beside them take {slowest:.2f} s")
        self.require(memory - before <= MOST_MEGABYTES_MORE, f"{title}: {memory - before:.0f} MB more")
        for connection in connections:
            connection.close()

    def open_of(self, connections):
        """Those that the service has not ended."""
        still = 0
        for connection in connections:
            try:
                while data := connection.recv(65536):
                    pass
                still += data != b""
            except BlockingIOError:
                still += 1
            except OSError:
                pass
        return still

    def slowloris(self):
        """Requests that never end: half of them stop in their head, half in their body; a byte a second."""
        calm, before, connections = self.calm(), self.memory(), self.connect(self.scale.slow)
        head = f"POST /{APP}/chatrooms/one/users HTTP/1.1\r\nHost: localhost\r\n"
        body = f"{head}Authorization: Bearer {self.token}\r\nContent-Length: 1000\r\n\r\n{{"
        for place, connection in enumerate(connections):
            connection.send((body if place % 2 else head).encode())
        began = time.monotonic()
        slowest = self.calm()
        while (left := self.open_of(connections)) and time.monotonic() - began < 40:
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.send(b"a")
            time.sleep(1)
        took = time.monotonic() - began
        self.among("requests that never end", connections, calm, before,
                   f"of {len(connections):,}, {left} are left after {took:.0f} s")
        self.require(slowest <= 10 * calm + 0.5, f"additions beside requests that never end take {slowest:.2f} s")
        self.require(left == 0, f"{left} requests that never end are still served after {took:.0f} s")

    def unread(self):
        """Answers that nobody reads, many of them asked for at once."""
        calm, before, connections = self.calm(), self.memory(), self.connect(self.scale.slow)
        asked = (f"GET /{APP}/chatrooms/one/users?pagenum=1&pagesize=1000 HTTP/1.1\r\nHost: localhost\r\n"
                 f"Authorization: Bearer {self.token}\r\n\r\n").encode() * 50
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.send(asked)
        self.wait_until_idle()
        self.among("answers that nobody reads", connections, calm, before,
                   f"{len(connections):,} connections that each ask for 50 pages of 1,000 members")

    def streams(self):
        """Streams that nobody reads, while events come."""
        calm, before, connections = self.calm(), self.memory(), self.connect(self.scale.streams)
        asked = (f"GET /{APP}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
                 f"Authorization: Bearer {self.token}\r\n\r\n").encode()
        for connection in connections:
            connection.send(asked)
        deadline = time.monotonic() + 120
        while (open_now := self.streams_open()) < len(connections) and time.monotonic() < deadline:
            time.sleep(0.2)
        self.require(open_now == len(connections), f"only {open_now} of {len(connections)} streams were opened")
        result = self.flood(["told"], 16, self.scale.seconds / 3)
        told = result.times.get("200", 0)
        rate = told / result.seconds
        self.among("streams without readers", connections, calm, before,
                   f"{open_now:,} open while {told:,} events came ({rate:,.0f} a second)")
        began = time.monotonic()
        while self.streams_open() and time.monotonic() - began < 30:
            time.sleep(0.1)
        self.require(self.streams_open() == 0, "streams are counted 30 s after their clients have gone")

    def streams_open(self):
        with socket.create_connection(("127.0.0.1", self.instance.port)) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        return sum(int(float(line.split()[-1])) for line in text.splitlines() if line.startswith("roomward_streams "))


def main():
    end_in_order()
    binary, scale = Path(sys.argv[1]), SHORT if "--short" in sys.argv else FULL
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and most < scale.streams + 1000:
        sys.exit(f"overload: at most {most} open files are allowed here: raise the hard limit (ulimit -Hn)")
    LOCAL.mkdir(exist_ok=True)
    ACKNOWLEDGED.unlink(missing_ok=True)
    with contextlib.ExitStack() as undo:
        disk = Disk(8192)
        undo.callback(disk.remove)
        postgres = Postgres(disk)
        undo.callback(postgres.remove)
        postgres.start()
        instance = Instance(0, binary, postgres.url, "the secret of a service that is gone soon",
                            scale.settings | {"LIMITS__MEMBERS_PER_ROOM": str(scale.users)})
        instance.command("migrate")
        instance.command("app", "create", APP)
        token = instance.command("token", "--ttl", "0", APP)
        instance.start()
        undo.callback(instance.kill)
        instance.wait_until_up()
        api = Api(APP, token)
        for names in ("values ('owner')", f"select 'u' || n from generate_series(0, {scale.users - 1}) n"):
            postgres.query(f"insert into users (app, username) select id, u from apps, ({names}) names (u)", seconds=600)
        postgres.query("vacuum analyze users", seconds=600)
        many = [f"many{number}" for number in range(200)]
        for room in ["one", "probe", "told", *many]:
            room = {"roomid": room, "name": "n", "description": "d", "owner": "owner", "maxusers": scale.users}
            api.call(instance.port, "POST", "/chatrooms", room)
        overload = Overload(instance, postgres, api, token, scale)
        overload.floods("one room", ["one"])
        overload.floods("200 rooms", many)
        overload.slowloris()
        overload.unread()
        overload.streams()
        overload.acknowledged_are_there()
        overload.require("panicked" not in instance.log.read_text(), f"the service has panicked; see {instance.log}")
        overload.require(instance.process.poll() is None, f"the service has ended; see {instance.log}")
    if overload.findings:
        sys.exit(f"overload: {len(overload.findings)} findings")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("overload: stopped")
