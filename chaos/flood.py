"""Many connections that add users, each as fast as it is answered, and after a refusal only a while later, as clients do.

    flood.py FLOOD     FLOOD is JSON: see Flood; prints what came of it, as JSON

Writes each acknowledged addition to a file: ROOM USER.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field

# How long a connection rests after anything but a success.
REST_SECONDS = 0.2


@dataclass
class Flood:
    port: int
    app: str              # the path that all calls begin with
    token: str
    rooms: list           # taken in turn
    users: int            # their names are u0, u1 and so on; taken in turn as well
    first: int            # number of the first call; no two calls have the same user and room
    connections: int
    seconds: float
    acknowledged: str     # the file


@dataclass
class Result:
    seconds: float = 0.0
    times: dict = field(default_factory=dict)  # status → how many
    p50: dict = field(default_factory=dict)    # status → seconds until the answer
    p99: dict = field(default_factory=dict)
    broken: int = 0                            # connections that ended in the middle of a call
    next: int = 0                              # number of the first call that was not made


class Connection(asyncio.Protocol):
    def __init__(self, crowd):
        self.crowd, self.buffer, self.call, self.transport = crowd, b"", None, None

    def connection_made(self, transport):
        self.transport = transport
        self.send()

    def send(self):
        if self.crowd.is_over or self.transport.is_closing():
            return self.transport.close()
        flood, (room, user) = self.crowd.flood, self.crowd.pair()
        self.call = room, user, time.monotonic()
        self.transport.write(f"POST {flood.app}/chatrooms/{room}/users/{user} HTTP/1.1\r\nHost: localhost\r\n"
                             f"Authorization: Bearer {flood.token}\r\nContent-Length: 0\r\n\r\n".encode())

    def data_received(self, data):
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        if len(body) < length:
            return
        self.buffer, (room, user, began), self.call = b"", self.call, None
        status = int(lines[0].split()[1])
        self.crowd.note(status, time.monotonic() - began)
        if status == 200:
            self.crowd.file.write(f"{room} {user}\n")
            return self.send()
        asyncio.get_running_loop().call_later(REST_SECONDS, self.send)

    def connection_lost(self, _):
        if self.call and not self.crowd.is_over:
            self.crowd.broken += 1
        if not self.crowd.is_over:
            asyncio.get_running_loop().call_later(REST_SECONDS, self.crowd.connect)


class Crowd:
    def __init__(self, flood):
        self.flood, self.next, self.is_over, self.broken, self.latencies = flood, flood.first, False, 0, {}
        self.file = open(flood.acknowledged, "a", buffering=1)

    def pair(self):
        """A room and a user for the next call. In each turn of the users, each comes to the room after the one before."""
        turn, user = divmod(self.next, self.flood.users)
        self.next += 1
        return self.flood.rooms[(user + turn) % len(self.flood.rooms)], f"u{user}"

    def connect(self):
        if not self.is_over:
            loop = asyncio.get_running_loop()
            loop.create_task(self.try_to_connect(loop))

    async def try_to_connect(self, loop):
        try:
            await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.flood.port)
        except OSError:
            loop.call_later(REST_SECONDS, self.connect)

    def note(self, status, latency):
        self.latencies.setdefault(status, []).append(latency)

    async def run(self):
        for _ in range(self.flood.connections):
            self.connect()
        # Connecting is no part of it.
        await asyncio.sleep(min(2, self.flood.connections / 1000))
        self.latencies.clear()
        began = time.monotonic()
        await asyncio.sleep(self.flood.seconds)
        result = Result(time.monotonic() - began, broken=self.broken)
        for status, latencies in self.latencies.items():
            latencies = sorted(latencies)
            result.times[status] = len(latencies)
            result.p50[status], result.p99[status] = (latencies[int(len(latencies) * part)] for part in (0.5, 0.99))
        # Calls under way are let go: what is not made yet is not made.
        self.is_over, result.next = True, self.next
        return result


def main():
    print(json.dumps(asdict(asyncio.run(Crowd(Flood(**json.loads(sys.argv[1]))).run()))))


if __name__ == "__main__":
    main()
