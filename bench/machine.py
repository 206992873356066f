"""What is measured, and where: PostgreSQL and the service as processes of this run, their CPU time, and the machine."""

import contextlib
import os
import resource
import secrets
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
TICKS = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count()

SETTINGS = ["shared_buffers=2GB", "max_wal_size=8GB", "checkpoint_timeout=30min", "max_connections=400"]
COUNT_STATEMENTS = "shared_preload_libraries=pg_stat_statements"


def stat(pid):
    """The fields of /proc/PID/stat behind the name; they begin with the third one."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def seconds(fields, *numbers):
    """Fields of /proc/PID/stat that are times, by their numbers in proc(5)."""
    return sum(int(fields[number - 3]) for number in numbers) / TICKS


def script(*arguments):
    """scripts/postgres, in a session of its own: Ctrl-C is for this program, which then stops PostgreSQL."""
    command = [ROOT / "scripts/postgres", *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, start_new_session=True).stdout.strip()


def ticks_since_boot():
    return int(float(Path("/proc/uptime").read_text().split()[0]) * TICKS)


class Server:
    """A PostgreSQL server on this machine."""

    # What the service wants to be told of it, and how its schema is made.
    service_settings, migrate = {}, ["migrate"]

    def __init__(self, url):
        """That of a database which is there."""
        self.url, self.servers = urlsplit(url), [self]
        programs = Path(script("bin"))
        self.psql, self.pgbench = (shutil.which(name) or programs / name for name in ("psql", "pgbench"))
        data = self.run("show data_directory", self.database)
        self.pid = int(Path(data, "postmaster.pid").read_text().split()[0])

    @property
    def database(self):
        return self.url.path[1:]

    def address(self, database):
        return self.url._replace(path="/" + database).geturl()

    def create(self, database):
        self.run(f"create database {database}")

    def run(self, sql, database="postgres", **variables):
        """Runs statements, or a file of them, and returns what they print."""
        command = [self.psql, self.address(database), "-XAqt", "-v", "ON_ERROR_STOP=1"]
        for name, value in variables.items():
            command += ["-v", f"{name}={value}"]
        command += ["-f", sql] if isinstance(sql, Path) else ["-c", sql]
        return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()

    def ask(self, sql, database="postgres", **variables):
        return int(float(self.run(sql, database, **variables) or 0))

    def cpu(self):
        """Seconds used so far. Backends that have ended are in the postmaster's sums over its children; one that ends
        while this looks would be in neither, so it looks again."""
        while True:
            ended = seconds(stat(self.pid), 16, 17)
            used = seconds(stat(self.pid), 14, 15) + sum(seconds(child, 14, 15) for child in self.processes())
            if seconds(stat(self.pid), 16, 17) == ended:
                return used + ended

    def processes(self):
        """What /proc/PID/stat says of the postmaster's children, backends among them."""
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and (child := stat(entry.name))[1] == str(self.pid):
                    yield child

    def processes_since(self, ticks):
        """How many of them have started since."""
        return sum(int(child[22 - 3]) >= ticks for child in self.processes())


class Postgres(Server):
    """A server of its own, durable, taken away at the end."""

    folder = LOCAL / "bench-pg"

    def __init__(self):
        """It runs only once it is started."""

    def start(self):
        self.remove()
        try:
            self.settings = [*SETTINGS, COUNT_STATEMENTS]
            script("start", self.folder, *self.settings)
        except subprocess.CalledProcessError:
            print("bench: without pg_stat_statements: statements are not counted", flush=True)
            self.settings = SETTINGS
            script("start", self.folder, *self.settings)
        self.counts_statements = COUNT_STATEMENTS in self.settings
        super().__init__((self.folder / "url").read_text().strip())
        if self.counts_statements:
            self.run("create extension pg_stat_statements")

    def remove(self):
        script("remove", self.folder)

    def written(self, database):
        """Bytes of WAL and statements so far. The statements of this program run in another database, and do not count."""
        statements = "0"
        if self.counts_statements:
            statements = f"""(select sum(calls) from pg_stat_statements join pg_database on dbid = pg_database.oid
                              where datname = '{database}')"""
        wal, calls = self.run(f"select pg_current_wal_lsn() - '0/0', coalesce({statements}, 0)").split("|")
        return int(wal), int(calls)


class Service:
    """roomward on a database of its own, with an app and a token for it."""

    app_name = "bench/bench"

    def __init__(self, binary, postgres, database):
        self.postgres, self.database = postgres, database
        postgres.create(database)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # All else that the caller has set of ROOMWARD__… is passed on.
        self.environment = os.environ | {
            "ROOMWARD__DATABASE__URL": postgres.address(database),
            "ROOMWARD__AUTH__SECRET": secrets.token_hex(32),
            "ROOMWARD__SERVER__HOST": "127.0.0.1",
            "ROOMWARD__SERVER__PORT": str(self.port),
            "ROOMWARD__LIMITS__MEMBERS_PER_ROOM": "2000000",
        } | postgres.service_settings
        self.log = open(LOCAL / f"bench-{database}.log", "w")
        self.binary, self.process = binary, None
        self.command(*postgres.migrate)
        self.command("app", "create", self.app_name)
        self.token = self.command("token", self.app_name).strip()
        self.app = postgres.ask(f"select id from apps where org || '/' || name = '{self.app_name}'", database)

    def command(self, *arguments):
        return subprocess.run([self.binary, *arguments], check=True, text=True, env=self.environment,
                              stdout=subprocess.PIPE, stderr=self.log).stdout

    def start(self):
        self.process = subprocess.Popen([self.binary, "serve"], env=self.environment, start_new_session=True,
                                        stdout=self.log, stderr=self.log)
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"bench: the service does not start; see {self.log.name}")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def cpu(self):
        return seconds(stat(self.process.pid), 14, 15)

    def written(self):
        return self.postgres.written(self.database)

    def memory(self):
        """Bytes of it that are in memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def wait_until_idle(self):
        """Calls whose clients have gone may still be under way, and would count for what comes next."""
        for _ in range(50):
            before = self.cpu()
            time.sleep(0.2)
            if self.cpu() - before < 0.02:
                return

    def sql(self, name, **variables):
        """Runs a file of bench/sql on the service's database."""
        return self.postgres.run(ROOT / "bench/sql" / f"{name}.sql", self.database, app=self.app, **variables)


@dataclass
class Reading:
    """The kernel's meters at one moment, in seconds."""

    time: float
    postgres: float
    service: float
    mine: float
    busy: float
    steal: float

    @classmethod
    def take(cls, service, load=None):
        """`load` is a program of ours that still runs."""
        user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        mine = sum(u.ru_utime + u.ru_stime for u in used) + (seconds(stat(load), 14, 15) if load else 0)
        return cls(time.time(), service.postgres.cpu(), service.cpu(), mine,
                   (user + nice + system + irq + softirq) / TICKS, steal / TICKS)


def description(postgres):
    """The machine, as lines of name and value."""
    def first(path, key):
        lines = (line.partition(":") for line in Path(path).read_text().splitlines())
        return next((value.strip() for name, _, value in lines if name.strip() == key), "unknown")

    memory = int(first("/proc/meminfo", "MemTotal").split()[0]) / 2**20
    return {
        "CPU": f"{first('/proc/cpuinfo', 'model name')}, {CORES} cores",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"Linux {os.uname().release}",
        "PostgreSQL": postgres.run("show server_version"),
        "its settings": "as delivered, all durability on, but " + ", ".join(postgres.settings),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }
