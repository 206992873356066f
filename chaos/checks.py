"""What must be so when a fault is healed and no call is under way.

The ledger says what the callers know; everything else is asked of the service and, for what it does not show, of the
database: no acknowledged change is missing, none is there twice, no refused one at all. The events have no gap, and whoever
knows only them knows the lists: a mute that ends twice, or does not end, is a contradiction. The callbacks of a room have come
in its order, each once at least.
"""

import json
import time
from collections import Counter, defaultdict

from stage import REFUSED, ROOT

# How long what goes on by itself may take: ends of mutes, callbacks, the rows of deleted rooms.
SETTLED_IN_SECONDS = 60

INVARIANTS = (ROOT / "tests/api/invariants.sql").read_text()

LISTS = {"members": "/users?pagenum=1&pagesize=1000", "admins": "/admin", "whitelist": "/white/users",
         "blocks": "/blocks/users", "mutes": "/mute"}

# Which list an event changes, and whether its users are on it then.
EFFECTS = {
    "CREATE": ("members", True), "JOIN/DIRECT": ("members", True), "LEAVE/KICK": ("members", False),
    "LEAVE/BLOCK": ("members", False), "LEAVE/DELETE": ("members", False),
    "ADMIN/ADD": ("admins", True), "ADMIN/REMOVE": ("admins", False),
    "WHITE/ADD": ("whitelist", True), "WHITE/REMOVE": ("whitelist", False),
    "BLOCK/ADD": ("blocks", True), "BLOCK/REMOVE": ("blocks", False), "BLOCK/EXPIRE": ("blocks", False),
    "MUTE/ADD": ("mutes", True), "MUTE/REMOVE": ("mutes", False), "MUTE/EXPIRE": ("mutes", False),
}

# What a change leaves besides its own event.
BESIDES = {"BLOCK/ADD": {"LEAVE/BLOCK"}, "DELETE": {"LEAVE/DELETE"}}


class Room:
    """What a reader of only its events knows of a room."""

    def __init__(self):
        self.last, self.lists = 0, {list: set() for list in LISTS}

    def hear(self, event):
        """Returns what is wrong with an event after those before it."""
        kind, users = event["kind"], event.get("users", [])
        if event["n"] != self.last + 1:
            yield f"event {event['n']} comes after {self.last}"
        self.last = event["n"]
        if kind == "DELETE":
            if self.lists["members"]:
                yield f"{event} leaves {self.lists['members']}"
            return
        list, is_on = EFFECTS[kind]
        for user in users:
            # An end that is moved changes no list.
            was_on = is_on == (user in (event.get("before") or {})) if kind in ("MUTE/ADD", "BLOCK/ADD") else not is_on
            if (user in self.lists[list]) != was_on:
                yield f"{event} contradicts those before: {list} has {sorted(self.lists[list])}"
        change = set.update if is_on else set.difference_update
        change(self.lists[list], users)
        if kind.startswith("LEAVE/"):
            self.lists["admins"].difference_update(users)
            self.lists["whitelist"].difference_update(users)


class Checks:
    def __init__(self, stage, ledger):
        self.stage, self.ledger = stage, ledger
        self.rooms, self.cursor = defaultdict(Room), ""
        self.told = defaultdict(list)                             # id of a change → its events
        self.deliveries, self.ended = {}, "epoch"                 # id of a callback → (room, n); up to which moment
        self.heard, self.taken = 0, Counter()                     # how many arrivals were looked at; room → the last n taken
        self.events, self.ends = 0, 0
        self.reported = set()
        # Before the first change.
        self.read_events()
        assert not self.told, self.told

    def run(self):
        """All of it. Returns what is wrong and was not before: sentences, those of lost and of doubled changes first."""
        wrong = {"lost": [], "doubled": [], "other": []}
        wrong["other"] += self.settle()
        wrong["other"] += self.read_events()
        wrong["other"] += self.compare_lists()
        wrong["other"] += self.ask_database()
        wrong["other"] += self.compare_callbacks()
        for which, sentence in self.compare_ledger():
            wrong[which].append(sentence)
        for sentences in wrong.values():
            sentences[:] = [sentence for sentence in sentences if sentence not in self.reported]
            self.reported.update(sentences)
        return wrong

    def settle(self):
        """Waits for what comes by itself."""
        waits = {
            "ends of mutes and blocks": "select count(*) from (select ends_at from mutes union all select ends_at from blocks) "
                                        "ends where ends_at < '2100-01-01'",
            "rows of deleted rooms": "select count(*) from chatrooms where deleted_at is not null",
            "transactions": "select count(*) from pg_stat_activity where application_name = 'roomward' "
                            "and state in ('active', 'idle in transaction')",
            "callbacks": "select count(*) from deliveries where state = 'pending'",
        }
        deadline = time.monotonic() + SETTLED_IN_SECONDS
        for what, count in waits.items():
            while (left := int(self.stage.postgres.query(count))) > 0:
                if time.monotonic() > deadline:
                    yield f"{left} {what} are not over {SETTLED_IN_SECONDS} s after the fault"
                    break
                if what == "callbacks":
                    # Those that wait to be tried again are tried at once.
                    self.stage.call("PUT", f"/callbacks/rules/{self.stage.rule}", {"paused": False})
                time.sleep(0.05)

    def read_events(self):
        """Reads on in the feed of the app."""
        while True:
            page = self.stage.call("GET", f"/events?limit=1000&since={self.cursor}")
            for event in page["data"]:
                yield from (f"{event['chatroom']}: {wrong}" for wrong in self.rooms[event["chatroom"]].hear(event))
                self.events += 1
                self.ends += event["kind"].endswith("/EXPIRE")
                reason = event.get("reason")
                if reason and reason != "stage":
                    self.told[reason].append(event)
                elif not reason and not event["kind"].endswith("/EXPIRE"):
                    yield f"nobody has asked for {event}"
            self.cursor = page["next"]
            if not page["data"]:
                return

    def compare_lists(self):
        for room in self.stage.rooms:
            for list, path in LISTS.items():
                data = self.stage.call("GET", f"/chatrooms/{room}{path}")["data"]
                shown = {entry if isinstance(entry, str) else entry.get("user") or entry.get("member") or entry["owner"]
                         for entry in data}
                told = self.rooms[room].lists[list]
                if shown != told:
                    yield f"{list} of {room}: {sorted(shown - told)} are shown and not told, {sorted(told - shown)} told and not shown"

    def ask_database(self):
        postgres, app = self.stage.postgres, self.stage.app
        yield from filter(None, postgres.query(INVARIANTS.replace("$1", str(app))).splitlines())
        last = dict(line.split("|") for line in postgres.query("select chatroom, last_event from room_counters").splitlines())
        for room, n in last.items():
            if int(n) != self.rooms[room].last:
                yield f"{room} has {n} events, and the feed of the app {self.rooms[room].last}"

    def compare_ledger(self):
        """Yields ("lost" | "doubled" | "other", sentence)."""
        last = defaultdict(int)  # (caller, room) → number of the event of the last acknowledged change
        for change in sorted(self.ledger.changes.values(), key=lambda change: change.place):
            events = self.told.get(change.id, [])
            kinds = Counter(event["kind"] for event in events)
            own = next((event for event in events if event["kind"] == change.kind), None)
            about = f"{change.kind} of {change.users} in {change.room} ({change.id}, {change.outcome})"
            if change.outcome == "acknowledged" and change.told is not None and own is None:
                yield "lost", f"{about} has left no event"
            elif own and change.told is not None and own.get("users", []) != change.told:
                yield "lost", f"{about} is told as {own}"
            if any(count > 1 for count in kinds.values()):
                yield "doubled", f"{about} was made more than once: {events}"
            if events and change.outcome in ("refused", "unsent"):
                yield "other", f"{about} was made: {events}"
            if set(kinds) - {change.kind} - BESIDES.get(change.kind, set()) or any(e["chatroom"] != change.room for e in events):
                yield "other", f"{about} has left {events}"
            if change.status == 500 and change.users != [REFUSED]:
                yield "other", f"{about} was answered with 500"
            if change.outcome == "acknowledged" and own:
                if own["n"] < last[change.place[0], change.room]:
                    yield "other", f"{about} comes before what the same caller had been told of already"
                last[change.place[0], change.room] = own["n"]
        for stranger in self.told.keys() - self.ledger.changes.keys():
            yield "other", f"no caller has sent {self.told[stranger]}"

    def compare_callbacks(self):
        rows = self.stage.postgres.query(f"""
            select json_build_array(call_id, chatroom, n, ended_at) from deliveries
            where state = 'done' and ended_at >= '{self.ended}' order by ended_at""")
        for row in rows.splitlines():
            id, room, n, self.ended = json.loads(row)
            self.deliveries[id] = room, n
        times = Counter(self.deliveries.values())
        for room, known in self.rooms.items():
            for n in range(1, known.last + 1):
                if times[room, n] != 1:
                    yield f"event {n} of {room} has {times[room, n]} callbacks"
        arrivals = self.stage.receiver.arrivals[self.heard :]
        self.heard += len(arrivals)
        for id, is_taken in arrivals:
            if id not in self.deliveries:
                yield f"callback {id} belongs to no event"
                continue
            room, n = self.deliveries[id]
            if n > self.taken[room] + 1:
                yield f"the callback of event {n} of {room} came when {self.taken[room]} was the last to be taken"
            if is_taken:
                self.taken[room] = max(self.taken[room], n)
        for room, known in self.rooms.items():
            if self.taken[room] < known.last:
                yield f"{room} has {known.last} events, and callbacks were taken up to {self.taken[room]}"
