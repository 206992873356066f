"""`scripts/bench citus`: what it costs to distribute. The same rooms on one PostgreSQL, and over 1, 2 and more workers of the
cluster whose coordinator ROOMWARD_TEST_DATABASE_URL names.

All servers are on this machine, and share its cores: more workers bring nothing here. What can be seen is the work of each
server. Prints three tables.
"""

import contextlib
import http.client
import json
import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from ending import end_in_order
from load import Draws, wrk
from machine import LOCAL, Postgres, Server, Service, description
from report import number, table

SINGLE = "one PostgreSQL"
SECONDS, TURNS = 2, 3
USERS, ROOMS, MEMBERS = 100_000, 200, 100

# Rows: the title, the call, and how many connections; people are drawn from among the members, or are new.
ROWS = [
    ("may this user speak?", "speak", (1, 16)),
    ("the first 50 members", "first_50", (1, 16)),
    ("add one", "add", (1, 16, 64)),
    ("ten events of the app", "feed", (1, 16)),
]


class Cluster:
    """A coordinator, and the first of its workers. Databases are made on all of them."""

    migrate = ["migrate", "--distribute"]
    service_settings = {"ROOMWARD__WRITES__LANES": "16", "ROOMWARD__DATABASE__MAX_CONNECTIONS": "32"}

    def __init__(self, coordinator, workers):
        self.coordinator, self.workers = coordinator, workers
        self.servers = [coordinator, *workers]
        self.address, self.run, self.ask = coordinator.address, coordinator.run, coordinator.ask

    def create(self, database):
        self.drop(database)
        for server in self.servers:
            server.create(database)
            server.run("create extension citus", database)
        place = lambda server: server.run("select quote_literal('127.0.0.1') || ', ' || current_setting('port')")
        self.run(f"select citus_set_coordinator_host({place(self.coordinator)})", database)
        for worker in self.workers:
            self.run(f"select citus_add_node({place(worker)})", database)

    def drop(self, database):
        for server in self.servers:
            server.run(f"drop database if exists {database} with (force)")

    def cpu(self):
        return sum(server.cpu() for server in self.servers)

    def written(self, _):
        return sum(server.ask("select pg_current_wal_lsn() - '0/0'") for server in self.servers), 0


@dataclass
class Turn:
    rate: float
    p50: float
    service: float       # CPU in microseconds for each call, as the others
    first: float         # of the one PostgreSQL, or the coordinator
    workers: float       # of all of them


def workers_of(coordinator):
    """In the order in which the cluster knows them."""
    known = "select nodeport from pg_dist_node where groupid > 0 order by nodeid"
    host, url = coordinator.url.netloc.rpartition(":")[0], coordinator.url._replace(path="/postgres")
    return [Server(url._replace(netloc=f"{host}:{port}").geturl()) for port in coordinator.run(known, coordinator.database).split()]


def fill(service):
    """The rooms of bench/sql/rooms.sql, made by calls: on a cluster a file of statements cannot leave the keys unchecked."""
    service.sql("users", users=USERS)
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    headers = {"Authorization": "Bearer " + service.token, "Content-Type": "application/json"}

    def post(path, body):
        connection.request("POST", f"/{service.app_name}/{path}", json.dumps(body), headers)
        answer = connection.getresponse()
        if (text := answer.read()) and answer.status != 200:
            raise SystemExit(f"bench: {path} is answered with {answer.status}: {text.decode()}")

    for room in range(1, ROOMS + 1):
        people = [f"u{(room * 7919 + place) % USERS + 1}" for place in range(MEMBERS)]
        post("chatrooms", {"roomid": f"r{room}", "name": "r", "description": "d", "owner": people[0], "maxusers": 1_000_000})
        for first in range(1, MEMBERS, 60):
            post(f"chatrooms/r{room}/users", {"usernames": people[first:first + 60]})


def measure(service, call, draws, connections):
    servers = service.postgres.servers
    for seconds in (1, SECONDS):  # the first is not kept
        before = [server.cpu() for server in servers]
        cell = wrk(service, call, draws, connections, seconds, USERS)
        first, *workers = [(server.cpu() - used) * 1e6 / max(cell.calls, 1) for server, used in zip(servers, before)]
    if cell.why_invalid:
        raise SystemExit(f"bench: {call}: {'; '.join(cell.why_invalid)}")
    return Turn(cell.rate, cell.p50, cell.service, first, sum(workers))


def turn(layout, service, newcomers, results):
    """All rows once. `newcomers` were not added yet."""
    for title, call, numbers in ROWS:
        for connections in numbers:
            result = measure(service, call, newcomers if call == "add" else Draws(ROOMS, 1, people=MEMBERS), connections)
            results.setdefault((layout, title, connections), []).append(result)
            print(f"{layout:20} {title:22} {connections:3}  {result.rate:9,.0f}/s  p50 {result.p50:6.2f} ms  CPU "
                  f"{result.service:5.0f} + {result.first:5.0f} + {result.workers:5.0f} µs", flush=True)


def tables(results, layouts):
    of = lambda layout, title, connections, what: number(statistics.median(
        getattr(result, what) for result in results[layout, title, connections]))
    single = [[title, *(of(layout, title, 1, "p50") + " ms" for layout in layouts)] for title, _, _ in ROWS]
    many = [[f"{title}, {connections} connections", *(of(layout, title, connections, "rate") for layout in layouts)]
            for title, _, numbers in ROWS for connections in numbers[1:]]
    meters = lambda layout: ("service", "first") if layout == SINGLE else ("service", "first", "workers")
    cpu = [[title, *(" + ".join(of(layout, title, numbers[-1], what) for what in meters(layout)) for layout in layouts)]
           for title, _, numbers in ROWS]
    print(table(["one connection; median", *layouts], single), end="\n\n")
    print(table(["calls a second", *layouts], many), end="\n\n")
    print(table(["CPU of a call in µs: service + PostgreSQL or coordinator + workers", *layouts], cpu))


def main():
    end_in_order()
    url = os.environ.get("ROOMWARD_TEST_DATABASE_URL") or sys.exit(
        "bench: set ROOMWARD_TEST_DATABASE_URL to the URL of a coordinator on this machine (docs/scaling.md)")
    LOCAL.mkdir(exist_ok=True)
    postgres, coordinator, services = Postgres(), Server(url), {}
    workers = workers_of(coordinator)
    try:
        postgres.start()
        for number_of_workers in range(len(workers) + 1):
            layout = f"{number_of_workers} worker{'s' * (number_of_workers > 1)}" if number_of_workers else SINGLE
            there = Cluster(coordinator, workers[:number_of_workers]) if number_of_workers else postgres
            service = services[layout] = Service(Path(sys.argv[1]), there, f"bench_{number_of_workers}")
            print(f"bench: filling {layout}", flush=True)
            service.start()
            fill(service)
            service.stop()
        results, newcomers = {}, {layout: Draws(ROOMS, 1, base=MEMBERS) for layout in services}
        for _ in range(TURNS):
            for layout, service in services.items():
                service.start()
                turn(layout, service, newcomers[layout], results)
                service.stop()
        print("\n".join(f"{name}: {value}" for name, value in description(postgres).items()))
        print("Citus: " + coordinator.run("select extversion from pg_extension where extname = 'citus'",
                                          services["1 worker"].database))
        tables(results, list(services))
    finally:
        for service in services.values():
            service.stop()
            if isinstance(service.postgres, Cluster):
                with contextlib.suppress(Exception):
                    service.postgres.drop(service.database)
        postgres.remove()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("bench: stopped")
