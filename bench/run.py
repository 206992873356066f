"""`make bench`: what each call costs, beside what PostgreSQL alone would take for it.

In one run, so that the machine and its mood are the same for all: a fixed reply, pgbench with the same change as one
statement, and the service over HTTP, at several numbers of connections; then each call in rooms of several sizes, and
among several numbers of rooms. Writes docs/performance.md.

BENCH_SECONDS=4          seconds for each cell
BENCH_CONNECTIONS="1 16 64 256"
BENCH_SCALE=full         or small: less of everything, and the report goes to .local/bench-report.md
"""

import contextlib
import http.client
import itertools
import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import report
from ending import end_in_order
from load import Draws, pgbench, wrk
from machine import LOCAL, Postgres, ROOT, Service, description


@dataclass
class Scale:
    """How much there is."""

    users: int            # of the app
    rooms: int            # r1, r2, …: all alike
    members: int          # of each of them
    hot: int              # members of the room that all clients enter at once
    large: int            # members of the room that is read page by page
    sizes: list           # of rooms, to compare their costs; the last one is the large room
    rooms_in_app: list    # to compare their costs
    idle: int             # connections


SCALES = {
    "full": Scale(1_500_000, 2_000, 500, 100_000, 1_000_000, [100, 1_000, 10_000, 100_000, 1_000_000],
                  [1_000, 10_000, 100_000, 1_000_000], 10_000),
    "small": Scale(300_000, 200, 500, 10_000, 100_000, [100, 1_000, 10_000, 100_000], [1_000, 10_000], 1_000),
}
SCALE_NAME = os.environ.get("BENCH_SCALE", "full")
SCALE = SCALES[SCALE_NAME]
SECONDS = int(os.environ.get("BENCH_SECONDS", "4"))
CONNECTIONS = [int(number) for number in os.environ.get("BENCH_CONNECTIONS", "1 16 64 256").split()]

# Cells of the second table are short, at so many connections.
SIZE_SECONDS, SIZE_CONNECTIONS = max(1, SECONDS // 2), 16
MEMBERS_OF_SMALL_ROOMS = 3

# For so long so many connections change the room in which mutes of so many people end, over and over.
ENDS_SECONDS, ENDS_CONNECTIONS, ENDS_PEOPLE = 10, 300, 20

# So many are muted, and so many blocked, in each room when nothing else is said.
FEW = 3


@dataclass
class Operation:
    """A row of the first table."""

    name: str
    title: str
    call: str                  # in bench/wrk/calls.lua
    draws: Draws
    pgbench: str = ""          # the script that does the same
    events: int = 0            # that each call leaves; 0 = not counted
    afresh: bool = False       # whether the lists are made anew before
    all_muted: bool = False    # whether all members but the owner are muted then
    all_blocked: bool = False  # whether as many outsiders as there are members are blocked then
    supply: int = 0            # how many draws there are before these people are used up; 0 = no end


def say(text):
    print(text, flush=True)


def operations():
    s = SCALE
    everywhere = dict(rooms=s.rooms, first_room=1)
    people = dict(everywhere, people=s.members)
    newcomers, hot = Draws(**everywhere, base=s.members), Draws(1, s.rooms + 1, base=s.hot)
    members = lambda: Draws(**everywhere, base=1)
    large = Draws(1, s.rooms + 2, people=s.large)
    supply = s.rooms * (s.members - 1)
    return [
        Operation("fixed", "a fixed reply (`/healthz`)", "fixed", Draws(**people)),
        Operation("speak", "may this user speak?", "speak", Draws(**people), "speak"),
        Operation("list_500", "list 500 members", "list_500", Draws(**people), "list_500"),
        Operation("page_1", f"page 1 (1,000 a page) of a room of {s.large:,}", "page_1", large),
        Operation("page_deep", f"page {deep_page():,} of the same room", "page_deep", large),
        Operation("add", f"add one, {s.rooms:,} rooms", "add", newcomers, "add", events=1),
        Operation("add_hot", "add one, all to one room", "add", hot, "add", events=1),
        Operation("add_60", f"add 60 in one call, {s.rooms:,} rooms", "add_60", Draws(**everywhere, base=s.users // 2), "add_60",
                  events=1),
        Operation("mute", "mute one", "mute", members(), events=1, afresh=True, supply=supply),
        Operation("unmute", "unmute one", "unmute", members(), events=1, afresh=True, all_muted=True, supply=supply),
        Operation("block", "block one", "block", members(), events=2, afresh=True, supply=supply),
        Operation("unblock", "unblock one", "unblock", Draws(**everywhere, base=outsiders()), events=1, afresh=True,
                  all_blocked=True, supply=supply),
        Operation("remove", "remove one", "remove", members(), events=1, afresh=True, supply=supply),
        Operation("mix", "a day's mix (80 % reads)", "mix", Draws(**people, base=s.users * 3 // 4), afresh=True),
    ]


def deep_page():
    """The page behind nine tenths of the large room."""
    return SCALE.large * 9 // 10 // 1_000


def outsiders():
    """The first place of those who are blocked to be unblocked; no other cell draws so far behind."""
    return SCALE.users - SCALE.members


def load(service):
    """The rooms of the first table are r1 to r:rooms, then the hot one, the large one, and one of each other size."""
    say(f"bench: loading {SCALE.users:,} users and {SCALE.rooms + 1 + len(SCALE.sizes):,} rooms")
    service.sql("users", users=SCALE.users)
    room = lambda first, last, members: service.sql("rooms", users=SCALE.users, first=first, last=last, members=members)
    room(1, SCALE.rooms, SCALE.members)
    for place, members in enumerate([SCALE.hot, SCALE.large, *SCALE.sizes[:-1]], 1):
        room(SCALE.rooms + place, SCALE.rooms + place, members)
    lists(service, 1, SCALE.rooms, SCALE.members)
    settle(service)


def settle(service):
    service.postgres.run("vacuum analyze", service.database)
    service.postgres.run("checkpoint")


def prepare(service, operation):
    if operation.afresh:
        service.sql("reset", users=SCALE.users, rooms=SCALE.rooms, members=SCALE.members)
        lists(service, 1, SCALE.rooms, SCALE.members, operation.all_muted, operation.all_blocked)
        settle(service)
        operation.draws.next = 0


def lists(service, first, last, members, all_muted=False, all_blocked=False):
    service.sql("lists", users=SCALE.users, first=first, last=last, members=members, outsiders=outsiders(),
                muted_from=1 if all_muted else outsiders(), muted=members - 1 if all_muted else FEW,
                blocked=members - 1 if all_blocked else FEW)


def measure(service, operation, connections, seconds):
    """pgbench's cell, where there is one, and right behind it the service's."""
    cells = {}
    for side in ["pgbench"] * bool(operation.pgbench) + ["roomward"]:
        events = changes(service)
        if side == "pgbench":
            cell = pgbench(service, operation.pgbench, operation.draws, connections, seconds, SCALE.users)
        else:
            cell = wrk(service, operation.call, operation.draws, connections, seconds, SCALE.users, page=deep_page())
        if operation.events:
            check(cell, changes(service) - events, operation.events, connections)
        if operation.supply and operation.draws.next > operation.supply:
            cell.why_invalid.append("there were too few people for so many calls")
        cells[side] = cell
        say(f"{operation.name:10} {connections:4} {side:9} {cell.rate:9,.0f}/s  p50 {cell.p50:7.2f}  p99 {cell.p99:7.2f} ms  CPU "
            f"{cell.postgres:6.0f} + {cell.service:4.0f} µs  WAL {cell.wal:6.0f} B  {cell.statements:5.2f} statements  "
            f"others {cell.foreign:.2f} {'; '.join(cell.why_invalid)}")
    return cells


def changes(service):
    return int(service.sql("changes") or 0)


def check(cell, events, each, connections):
    """Every call has made its change, and left its events: a call that changes nothing would look fast. When wrk stops,
    calls under way are made and not counted."""
    if not cell.calls * each <= events <= (cell.calls + connections) * each:
        cell.why_invalid.append(f"{cell.calls} calls left {events} events, not {each} each")


def first_table(service):
    table = {}
    for operation in operations():
        prepare(service, operation)
        # Caches are filled, plans made, and each room's pages written once since the checkpoint.
        say(f"bench: {operation.title}; the first at 16 connections is not kept")
        measure(service, operation, 16, 1)
        last = 0
        for connections in CONNECTIONS:
            if operation.supply and operation.draws.next + 2 * last > operation.supply:
                prepare(service, operation)
            first = operation.draws.next
            table[operation.name, connections] = measure(service, operation, connections, SECONDS)
            last = max(last, operation.draws.next - first)
    return table


# Rows of the second table: the title, the call, and whether those who are drawn are members.
SIZE_ROWS = [
    ("add, then remove", "add_remove", False),
    ("mute, then unmute", "mute_unmute", True),
    ("add, block, then unblock", "add_block_unblock", False),
    ("may this user speak?", "speak", True),
    ("the first 50 members", "first_50", True),
    ("50 members from the middle", "middle_50", True),
    ("the last 50, by cursor", "slice_50", True),
]
ROOM_ROWS = [row for row in SIZE_ROWS if row[1] != "middle_50"] + [("50 rooms of the app", "all_rooms", True)]


def size_cell(service, call, draws, users, page=1):
    changing = call in ("add_remove", "mute_unmute", "add_block_unblock")
    for seconds in (1, SIZE_SECONDS):  # the first is not kept
        cell = wrk(service, call, draws, SIZE_CONNECTIONS, seconds, users, page, ordered=changing)
    say(f"{call:18} {cell.rate:9,.0f}/s  CPU {cell.postgres:6.0f} + {cell.service:4.0f} µs  {'; '.join(cell.why_invalid)}")
    return cell


def sizes_table(service):
    """One room of each size."""
    table = {}
    for place, size in enumerate(SCALE.sizes):
        say(f"bench: a room of {size:,}")
        room = SCALE.rooms + (2 if size == SCALE.large else 3 + place)
        members, newcomers = Draws(1, room, 1, size - 1), Draws(1, room, size)
        for title, call, of_members in SIZE_ROWS:
            draws = members if of_members else newcomers
            table[title, size] = size_cell(service, call, draws, SCALE.users, max(1, size // 100))
    return table


def rooms_table(service):
    """Small rooms, more and more of them; every draw is for another one."""
    users, made, table = SCALE.users, 0, {}
    service.sql("users", users=users)
    for stage, rooms in enumerate(SCALE.rooms_in_app):
        say(f"bench: {rooms:,} rooms in the app")
        service.sql("rooms", users=users, first=made + 1, last=rooms, members=MEMBERS_OF_SMALL_ROOMS)
        lists(service, made + 1, rooms, MEMBERS_OF_SMALL_ROOMS)
        settle(service)
        made, size = rooms, MEMBERS_OF_SMALL_ROOMS
        # Others than before: when a cell ends, a user may have been added and not been removed yet.
        members, newcomers = Draws(rooms, 1, 1, size - 1), Draws(rooms, 1, size + 50_000 * stage)
        for title, call, of_members in ROOM_ROWS:
            draws = members if of_members else newcomers
            table[title, rooms] = size_cell(service, call, draws, users)
    return table


def idle_memory(service):
    """Memory of the service: at rest after all the load, and with many connections that have asked once and wait."""
    at_rest, connections = service.memory(), []
    headers = {"Authorization": "Bearer " + service.token}
    for _ in range(SCALE.idle):
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        connection.request("GET", f"/{service.app_name}/chatrooms/r1/users/u1/speak", headers=headers)
        connection.getresponse().read()
        connections.append(connection)
    time.sleep(1)
    idle = service.memory()
    for connection in connections:
        connection.close()
    say(f"memory {at_rest / 2**20:.0f} MiB at rest, {idle / 2**20:.0f} MiB with {SCALE.idle:,} idle connections")
    return SCALE.idle, at_rest, idle


def ends_of_mutes(service):
    """How late ends are told in the hot room while many change it: how many there were, the median and the latest in ms."""
    room, over = SCALE.rooms + 1, threading.Event()
    muted = [f"u{(room * 7919 + place) % SCALE.users + 1}" for place in range(1, ENDS_PEOPLE + 1)]

    def mute():
        """One after the other: each is muted anew when the last mute of theirs is over."""
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        headers = {"Authorization": "Bearer " + service.token}
        for user in itertools.cycle(muted):
            if over.wait(2 / ENDS_PEOPLE):
                return connection.close()
            body = json.dumps({"usernames": [user], "mute_duration": 1_000})
            connection.request("POST", f"/{service.app_name}/chatrooms/r{room}/mute", body, headers)
            connection.getresponse().read()

    muting = threading.Thread(target=mute)
    muting.start()
    cell = wrk(service, "add", Draws(1, room, base=SCALE.users // 2), ENDS_CONNECTIONS, ENDS_SECONDS, SCALE.users)
    over.set()
    muting.join()
    time.sleep(2)
    told, median, latest = map(float, service.sql("ends", room=f"r{room}").split("|"))
    say(f"ends of mutes in a room that {ENDS_CONNECTIONS} connections change {cell.rate:,.0f} times a second: {told:.0f} told, "
        f"{median:.0f} ms late in the median, the latest {latest:.0f} ms {'; '.join(cell.why_invalid)}")
    return None if cell.why_invalid or not told else (told, median, latest)


@contextlib.contextmanager
def serving(binary, postgres, database):
    service = Service(binary, postgres, database)
    try:
        service.start()
        yield service
    finally:
        service.stop()


def main():
    end_in_order()
    LOCAL.mkdir(exist_ok=True)
    binary, started, postgres = Path(sys.argv[1]), time.time(), Postgres()
    say("bench: starting PostgreSQL")
    try:
        postgres.start()
        results = report.Results(scale=SCALE, seconds=SECONDS, size_seconds=SIZE_SECONDS, size_connections=SIZE_CONNECTIONS,
                                 connections=CONNECTIONS, machine=description(postgres))
        with serving(binary, postgres, "bench") as service:
            load(service)
            results.operations = operations()
            results.first = first_table(service)
            results.ends = ends_of_mutes(service)
            results.sizes = sizes_table(service)
            results.memory = idle_memory(service)
        with serving(binary, postgres, "bench_rooms") as service:
            results.rooms = rooms_table(service)
    finally:
        postgres.remove()
    path = ROOT / "docs/performance.md" if SCALE_NAME == "full" else LOCAL / "bench-report.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(report.document(results, time.time() - started))
    print(report.ratios(results))
    say(f"bench: {time.time() - started:.0f} s; the report is in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("bench: stopped")
