"""One cell of the tables: so many connections that do one thing for some seconds, and what it cost."""

import math
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field

from machine import CORES, LOCAL, ROOT, Reading, ticks_since_boot

# Statements are planned anew the first few times on each connection; that is over before pgbench is measured.
WARM_SECONDS, WARM_SECONDS_PER_CLIENT = 0.5, 0.01


@dataclass
class Draws:
    """Which rooms are drawn, and which people in them; see bench/wrk/calls.lua. `next` is the first draw not used yet."""

    rooms: int
    first_room: int
    base: int = 0
    people: int = 10**9
    next: int = 0


@dataclass
class Cell:
    """What one measurement has shown. Times in milliseconds, CPU in microseconds for each call."""

    calls: int = 0
    rate: float = 0
    p50: float = 0
    p99: float = 0
    mean: float = 0
    errors: int = 0
    postgres: float = 0
    service: float = 0
    wal: float = 0
    statements: float = 0
    foreign: float = 0
    steal: float = 0
    why_invalid: list = field(default_factory=list)

    @property
    def cpu(self):
        return self.postgres + self.service

    def costs(self, calls, before, after):
        """`calls` are those that were made between the readings."""
        calls, elapsed = max(calls, 1), after.time - before.time
        ours = after.postgres - before.postgres + after.service - before.service + after.mine - before.mine
        self.postgres = (after.postgres - before.postgres) * 1e6 / calls
        self.service = (after.service - before.service) * 1e6 / calls
        # Cores that other programs have used meanwhile, and that the machine's host has given to others.
        self.foreign = max(0, (after.busy - before.busy - ours) / elapsed)
        self.steal = (after.steal - before.steal) / elapsed

    def writes(self, before, after):
        """WAL and statements of all calls of the run."""
        self.wal, self.statements = ((late - early) / max(self.calls, 1) for early, late in zip(before, after))


def wrk(service, call, draws, connections, seconds, users, page=1, ordered=False):
    """The service over HTTP. `ordered`: each connection makes the steps of a call one after the other."""
    threads = connections if ordered else min(connections, CORES)
    environment = os.environ | {"BENCH_" + name: str(value) for name, value in {
        "CALL": call, "APP": service.app_name, "TOKEN": service.token, "USERS": users, "PAGE": page, "THREADS": threads,
        "FIRST": draws.next, "ROOMS": draws.rooms, "FIRST_ROOM": draws.first_room, "BASE": draws.base, "PEOPLE": draws.people,
    }.items()}
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "15s",
               "-s", ROOT / "bench/wrk/calls.lua", f"http://127.0.0.1:{service.port}"]
    written, before = service.written(), Reading.take(service)
    run = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    after, cell = Reading.take(service), Cell()
    service.wait_until_idle()
    measured = re.search(r"^measured (.*)$", run.stdout, re.M)
    if not measured:
        cell.why_invalid.append(f"wrk failed: {run.stdout[-200:]} {run.stderr[-200:]}")
        return cell
    requests, microseconds, cell.errors, p50, p99, mean, used = map(int, measured[1].split())
    draws.next += used
    cell.calls, cell.rate = requests, requests / microseconds * 1e6
    cell.p50, cell.p99, cell.mean = p50 / 1000, p99 / 1000, mean / 1000
    cell.costs(requests, before, after)
    cell.writes(written, service.written())
    if cell.errors:
        cell.why_invalid.append(f"{cell.errors} errors; see {service.log.name}")
    return cell


def pgbench(service, script, draws, connections, seconds, users):
    """The same by one statement for each call, straight to PostgreSQL."""
    folder = LOCAL / "bench-pgbench"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    warm = WARM_SECONDS + WARM_SECONDS_PER_CLIENT * connections
    command = [service.postgres.pgbench, service.postgres.address(service.database),
               "-n", "-M", "prepared", "-c", connections, "-j", min(connections, CORES), "-T", math.ceil(warm + seconds + 1),
               "-f", ROOT / "bench/pgbench" / f"{script}.sql", "-l", "--log-prefix", folder / "log"]
    variables = {"app": service.app, "clients": connections, "users": users, "i": -1, "first": draws.next, "rooms": draws.rooms,
                 "first_room": draws.first_room, "base": draws.base, "people": draws.people}
    for name, value in variables.items():
        command += ["-D", f"{name}={value}"]
    written, started = service.written(), ticks_since_boot()
    run = subprocess.Popen(list(map(str, command)), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        # It begins when all its connections are made.
        while run.poll() is None and service.postgres.processes_since(started) < connections:
            time.sleep(0.02)
        time.sleep(warm)
        if run.poll() is not None:
            return Cell(why_invalid=[f"pgbench failed: {run.stdout.read()[-300:]}"])
        # Both readings are taken while it runs: that connections come and go has a cost, which is not that of the calls.
        before = Reading.take(service, load=run.pid)
        time.sleep(seconds)
        after = Reading.take(service, load=run.pid)
        output = run.communicate()[0]
    finally:
        run.kill()
    cell = Cell()
    if run.returncode:
        cell.why_invalid.append(f"pgbench failed: {output[-300:]}")
        return cell

    # A line for each transaction: client, number, microseconds, script, and when it ended.
    lines = [line.split() for path in folder.iterdir() for line in path.open()]
    shutil.rmtree(folder)
    draws.next += (max(int(line[1]) for line in lines) + 1) * connections
    ends = [(int(line[4]) + int(line[5]) / 1e6, int(line[2]) / 1000) for line in lines]
    times = sorted(time for end, time in ends if before.time <= end <= after.time) or [0]
    cell.calls = len(lines)
    cell.rate = len(times) / (after.time - before.time)
    cell.p50, cell.p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    cell.mean = sum(times) / len(times)
    cell.costs(len(times), before, after)
    cell.writes(written, service.written())
    if max(end for end, _ in ends) < after.time:
        cell.why_invalid.append("pgbench ended before it was measured")
    return cell
