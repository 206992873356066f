"""Receives callbacks, and notes them in the order in which they come. It can fail, hang and break off."""

import asyncio
import random


class Receiver:
    def __init__(self, network, seed):
        self.arrivals = []       # (id of the delivery, whether it was to be answered with 200)
        self.trouble, self.dice = 0.0, random.Random(seed)
        server = network.run(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    async def serve(self, reader, writer):
        try:
            while await self.take(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def take(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        await reader.readexactly(int(headers["content-length"]))
        mood = self.dice.choice(["fails", "hangs", "breaks off"]) if self.dice.random() < self.trouble else "takes"
        self.arrivals.append((headers["x-roomward-delivery"], mood == "takes"))
        if mood == "hangs":
            await asyncio.sleep(5)
        if mood in ("hangs", "breaks off"):
            return False
        status = "200 OK" if mood == "takes" else "500 Oh"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        return True
