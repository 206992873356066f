"""What a run is made on: PostgreSQL on a small disk of its own, three instances that reach it through proxies, an app."""

import contextlib
import http.client
import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from proxy import Network, Proxy
from receiver import Receiver

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
INSTANCES, ROOMS, CALLERS, USERS = 3, 8, 24, 10
APP = "chaos/chaos"

# Names in one call to register users.
AT_ONCE = 60

# Those who are added all at once, and one of them whom the database refuses.
BURST = [f"b{number}" for number in range(59)]
REFUSED = "refused"

# Durable, as delivered. Little WAL is kept, so that a full disk is felt soon.
SETTINGS = ["fsync=on", "full_page_writes=on", "synchronous_commit=on", "min_wal_size=32MB", "max_wal_size=64MB",
            "wal_recycle=off"]

# The rest is as delivered. Short times make short rounds: of a call, of a dead instance's claims, of a callback that hangs.
SERVICE = {
    "DATABASE__MAX_CONNECTIONS": "8", "SERVER__WORKERS": "1", "SERVER__REQUEST_TIMEOUT_MS": "5000",
    "IDEMPOTENCY__CLAIM_SECONDS": "2", "CALLBACKS__TIMEOUT_MS": "500", "CALLBACKS__ALLOW_PRIVATE_TARGETS": "true",
    "PASSWORDS__MEMORY_KIB": "8", "PASSWORDS__ITERATIONS": "1", "LOG__FILTER": "info,actix_http::h1::dispatcher=off",
}


# In the short form nothing is waited for long, connections that are lost above all.
HASTE = {"DATABASE__STATEMENT_TIMEOUT_MS": "2000", "DATABASE__LOCK_TIMEOUT_MS": "1500", "SERVER__REQUEST_TIMEOUT_MS": "3000"}


class Disk:
    """A file system in a file, small enough to be filled. Only root may mount one: without, PostgreSQL is on a common disk."""

    def __init__(self, megabytes):
        self.folder, self.image = Path(tempfile.mkdtemp(prefix="roomward-chaos-")), LOCAL / "chaos.img"
        # PostgreSQL's user goes through it.
        self.folder.chmod(0o755)
        self.is_own = False
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            with open(self.image, "wb") as image:
                image.truncate(megabytes * 2**20)
            quietly("mkfs.ext4", "-q", "-F", "-m", "0", self.image)
            quietly("mount", "-o", "loop", self.image, self.folder)
            self.is_own = True

    def fill(self):
        with open(self.folder / "filler", "wb") as filler, contextlib.suppress(OSError):
            free = os.statvfs(self.folder)
            os.posix_fallocate(filler.fileno(), 0, free.f_bavail * free.f_frsize)
            while True:
                filler.seek(0, os.SEEK_END)
                filler.write(b"0" * 4096)
                filler.flush()

    def empty(self):
        (self.folder / "filler").unlink(missing_ok=True)

    def remove(self):
        if self.is_own:
            subprocess.run(["umount", self.folder], check=False)
        self.image.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def quietly(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Postgres:
    def __init__(self, disk):
        self.disk, self.folder = disk, disk.folder / "pg"
        self.psql = shutil.which("psql") or Path(self.script("bin").stdout.strip()) / "psql"

    def script(self, *arguments):
        # In a session of its own: Ctrl-C is for this program, which then stops PostgreSQL.
        command = [ROOT / "scripts/postgres", *arguments]
        return subprocess.run(command, text=True, capture_output=True, start_new_session=True)

    def start(self):
        """Starts it, and again until it answers: while the disk was full it may have given up in the middle."""
        deadline = time.monotonic() + 60
        while True:
            started = self.script("start", self.folder, *SETTINGS)
            self.url = (self.folder / "url").read_text().strip() if started.returncode == 0 else None
            if self.url and self.query("select 1", check=False) == "1":
                self.port = int(self.url.rpartition(":")[2].partition("/")[0])
                return
            if time.monotonic() > deadline:
                raise SystemExit(f"chaos: PostgreSQL does not start: {started.stderr}")
            time.sleep(0.2)

    def kill(self):
        self.script("kill", self.folder)

    def remove(self):
        self.script("remove", self.folder)

    def through(self, port):
        return self.url.replace(f":{self.port}/", f":{port}/")

    def query(self, sql, check=True, seconds=60):
        """What a statement prints, columns with | between them."""
        command = [self.psql, self.url, "-XAqt", "-v", "ON_ERROR_STOP=1", "-c", sql]
        done = subprocess.run(command, text=True, capture_output=True, timeout=seconds)
        if check and done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    @contextlib.contextmanager
    def session(self, sql):
        """Runs statements in a session that stays open, in whatever transaction they have begun."""
        command = [self.psql, self.url, "-XAqt"]
        session = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            session.stdin.write(f"{sql};\n\\echo done\n")
            session.stdin.flush()
            while session.stdout.readline() != "done\n":
                pass
            yield
        finally:
            session.stdin.close()
            session.stdout.close()
            session.wait()

    def backends(self, condition="true"):
        sql = f"select pid from pg_stat_activity where application_name = 'roomward' and {condition}"
        return [int(pid) for pid in self.query(sql).split()]


class Instance:
    """A service in a process of its own, behind its own proxy."""

    def __init__(self, number, binary, url, secret, settings):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.number, self.binary, self.process = number, binary, None
        self.log = LOCAL / f"chaos-instance-{number}.log"
        self.log.unlink(missing_ok=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ROOMWARD")}
        own = SERVICE | settings | {"DATABASE__URL": url, "AUTH__SECRET": secret, "SERVER__PORT": str(self.port)}
        self.environment = inherited | {f"ROOMWARD__{name}": value for name, value in own.items()}

    def command(self, *arguments):
        return subprocess.run([self.binary, *arguments], env=self.environment, check=True, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.strip()

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen([self.binary, "serve"], env=self.environment, start_new_session=True,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def is_up(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def wait_until_up(self):
        deadline = time.monotonic() + 30
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"chaos: an instance does not start; see {self.log}")
            time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """As an operator does it: calls under way are answered."""
        self.process.terminate()
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SystemExit(f"chaos: an instance does not stop; see {self.log}") from None


class Api:
    """Calls of the harness itself."""

    def __init__(self, app, token):
        self.path, self.headers = "/" + app, {"Authorization": "Bearer " + token, "X-Audit-Reason": "stage"}

    def call(self, port, method, path, body=None, timeout=30):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            connection.request(method, self.path + path, None if body is None else json.dumps(body), self.headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
        return json.loads(text)


class Stage:
    """All of it, set up and running."""

    def __init__(self, binary, seed, settings, disk_megabytes):
        self.dice, self.rooms = random.Random(f"{seed}/stage"), [f"room{number}" for number in range(ROOMS)]
        self.undo = contextlib.ExitStack()
        LOCAL.mkdir(exist_ok=True)
        self.disk = Disk(disk_megabytes)
        self.undo.callback(self.disk.remove)
        self.postgres = Postgres(self.disk)
        self.undo.callback(self.postgres.remove)
        try:
            self.set_up(binary, seed, settings)
        except BaseException:
            self.undo.close()
            raise

    def set_up(self, binary, seed, settings):
        self.postgres.start()
        network, secret = Network(), secrets.token_hex(32)
        self.proxies = [Proxy(network, self.postgres.port, f"{seed}/proxy/{number}") for number in range(INSTANCES)]
        self.receiver = Receiver(network, f"{seed}/receiver")
        self.instances = [Instance(number, binary, self.postgres.through(proxy.port), secret, settings)
                          for number, proxy in enumerate(self.proxies)]
        self.instances[0].command("migrate")
        self.instances[0].command("app", "create", APP)
        self.token = self.instances[0].command("token", "--ttl", "0", APP)
        self.app = int(self.postgres.query("select id from apps"))
        for instance in self.instances:
            instance.start()
            self.undo.callback(instance.kill)
        for instance in self.instances:
            instance.wait_until_up()
        self.api = Api(APP, self.token)
        call = lambda *arguments: self.api.call(self.instances[0].port, *arguments)
        users = [f"c{caller}u{user}" for caller in range(CALLERS) for user in range(USERS)] + ["owner", REFUSED, *BURST]
        for first in range(0, len(users), AT_ONCE):
            call("POST", "/users", [{"username": user, "password": "1"} for user in users[first : first + AT_ONCE]])
        self.rule = call("POST", "/callbacks/rules", {"url": self.receiver.url, "secret": "s"})["data"]["id"]
        for room in self.rooms:
            call("POST", "/chatrooms", {"roomid": room, "name": "n", "description": "d", "owner": "owner", "maxusers": 1000})
        # Stands for any mistake in the data that only the database sees.
        self.postgres.query(f"""
            create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not this one'; end $$;
            create trigger refuse before insert on members for each row when (new.username = '{REFUSED}')
            execute function refuse()""")

    def call(self, method, path, body=None):
        """A call through any instance."""
        return self.api.call(self.dice.choice(self.instances).port, method, path, body)

    def close(self):
        self.undo.close()
