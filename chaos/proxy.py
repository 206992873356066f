"""The network between the instances and PostgreSQL: a proxy for each instance, which can stall and cut.

All of it runs in one thread of its own; the methods may be called from any.
"""

import asyncio
import contextlib
import random
import threading

# COMMIT as a message of PostgreSQL's protocol: a simple query.
COMMIT = b"Q\x00\x00\x00\x0bcommit\x00"


class Network:
    """The thread in which all sockets of the harness live."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def do(self, action, *arguments):
        self.loop.call_soon_threadsafe(action, *arguments)


class Link:
    """One connection of an instance, and that of the proxy to PostgreSQL for it."""

    def __init__(self, *writers):
        self.writers = writers
        self.is_silent = False  # nothing passes any more, and nobody is told
        self.eats_answer = False

    def cut(self):
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """The way of one instance to PostgreSQL."""

    def __init__(self, network, server_port, seed):
        self.network, self.server_port, self.dice = network, server_port, random.Random(seed)
        self.links, self.cuts_statements, self.cuts_commits = set(), 0.0, 0.0
        self.cut_statements, self.cut_commits = 0, 0
        self.server = network.run(self.listen())
        self.port = self.server.sockets[0].getsockname()[1]

    async def listen(self):
        self.flows = asyncio.Event()
        self.flows.set()
        return await asyncio.start_server(self.connect, "127.0.0.1", 0)

    def stall(self):
        """Nothing passes, in either direction, until it flows again."""
        self.network.do(self.flows.clear)

    def flow(self):
        self.network.do(self.flows.set)

    def silence(self):
        """The connections that there are carry nothing any more, and neither end is told, as when a machine on the way has
        lost its memory. New ones work."""
        def silence():
            for link in self.links:
                link.is_silent = True
        self.network.do(silence)

    async def connect(self, reader, writer):
        with contextlib.suppress(OSError):
            await self.flows.wait()
            try:
                server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
            except OSError:
                return writer.transport.abort()
            link = Link(writer, server_writer)
            self.links.add(link)
            try:
                await asyncio.gather(self.pass_on(link, reader, server_writer, self.query),
                                     self.pass_on(link, server_reader, writer, self.answer))
            finally:
                link.cut()
                self.links.discard(link)

    async def pass_on(self, link, reader, writer, meddle):
        while data := await reader.read(65536):
            await self.flows.wait()
            if link.is_silent:
                continue
            rest = meddle(link, data)
            writer.write(rest)
            if rest != data:
                with contextlib.suppress(OSError):
                    await asyncio.wait_for(writer.drain(), 1)
                # The other side reads what was let through before it hears of the end.
                await asyncio.sleep(0.01)
                return link.cut()
            await writer.drain()
        if not link.is_silent:
            link.cut()

    def query(self, link, data):
        if COMMIT in data:
            if self.dice.random() < self.cuts_commits:
                self.cut_commits += 1
                # It reaches PostgreSQL, or it does not: the instance cannot tell.
                if self.dice.random() < 0.3:
                    return b""
                link.eats_answer = True
        elif data[:1] in (b"P", b"B") and self.dice.random() < self.cuts_statements:
            self.cut_statements += 1
            return data[: len(data) // 2]
        return data

    def answer(self, link, data):
        return b"" if link.eats_answer else data
