"""The load: an independent client with a ledger of its own. It knows the service by its calls alone.

    load.py LEDGER PLAN     PLAN is JSON: see Plan

Each caller changes one room, one change after the other, through whichever instance; some calls carry an Idempotency-Key and
are repeated until they are answered. A caller's users are its own, so that it knows what an answer means for them.

Takes commands on standard input and answers each by a line: `pause` (when no call is under way any more), `resume`,
`burst ROOM INSTANCE USER…` (adds each by a call of its own, all at once).
"""

import http.client
import json
import random
import select
import sys
import threading
import time
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field

from ledger import Ledger

# Longer than the service takes for any answer that it gives at all.
TIMEOUT_SECONDS = 6

# How long a call with a key is repeated without an answer that tells its outcome.
PATIENCE_SECONDS = 20


@dataclass
class Plan:
    ports: list            # of the instances
    app: str               # the path that all calls begin with
    token: str
    rooms: list
    owner: str             # of the rooms that callers make
    callers: int
    users: int             # of each caller
    pause: float           # of a caller between two changes, in seconds
    seed: int


@dataclass
class Call:
    """A change that is to be made. Whether its 200 means that `kind` was told of exactly `users`: `is_certain`; or of those
    whom the answer names: `is_told`."""

    kind: str
    users: list
    method: str
    path: str
    body: dict = None
    effects: dict = field(default_factory=dict)  # list → whether the users are on it afterwards
    is_certain: bool = True
    is_told: bool = False
    room: str = ""


class Client:
    """One caller's connections, one to each instance."""

    def __init__(self, name, plan, ledger):
        self.name, self.plan, self.ledger, self.number, self.connections = name, plan, ledger, 0, {}

    def make(self, call, instance, key=None):
        """Makes a change, and again while nothing is known of it if it has a key. Returns its outcome and the answer."""
        self.number += 1
        id = f"{self.name}-{self.number}"
        known, began, outcome, status, body = "unsent", time.monotonic(), "unsent", 0, None
        while True:
            self.ledger.sent(id, instance, call.room, call.kind, call.users)
            outcome, status, body = self.attempt(call, id, instance, key)
            # The answer to the creation of a room is kept behind it, not with it: one whose answer was lost is refused the
            # second time, since the room is there.
            if outcome != "unsent" and not (known == "unknown" and outcome == "refused" and call.kind == "CREATE"):
                known = outcome
            told = self.told(call, body) if known == "acknowledged" else None
            self.ledger.answered(id, known, status, told)
            if outcome not in ("unknown", "unsent") or known == "unsent" or not key or time.monotonic() - began > PATIENCE_SECONDS:
                return known, body
            time.sleep(0.1)
            instance = (instance + 1) % len(self.plan.ports)

    def told(self, call, body):
        if call.is_told:
            return [result["user"] for result in body["data"] if result["result"]]
        return call.users if call.is_certain else None

    def attempt(self, call, id, instance, key):
        headers = {"Authorization": "Bearer " + self.plan.token, "X-Audit-Reason": id}
        if key:
            headers["Idempotency-Key"] = id
        body = None if call.body is None else json.dumps(call.body)
        try:
            connection = self.connect(instance)
        except OSError:
            return "unsent", 0, None
        try:
            connection.request(call.method, self.plan.app + call.path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self.connections.pop(instance).close()
            return "unknown", 0, None
        if answer.status == 200:
            return "acknowledged", 200, json.loads(text)
        # 409: the same call is still under way.
        return ("unknown" if answer.status >= 500 or answer.status == 409 else "refused"), answer.status, None

    def connect(self, instance):
        # One that the service has closed meanwhile is no good any more; clients look.
        if instance in self.connections:
            socket = self.connections[instance].sock
            if not socket or select.select([socket], [], [], 0)[0]:
                self.connections.pop(instance).close()
        if instance not in self.connections:
            connection = http.client.HTTPConnection("127.0.0.1", self.plan.ports[instance], timeout=TIMEOUT_SECONDS)
            connection.connect()
            self.connections[instance] = connection
        return self.connections[instance]


class Gate:
    """Lets callers through, or waits until none is under way."""

    def __init__(self):
        self.condition, self.is_open, self.under_way = threading.Condition(), False, 0

    def __enter__(self):
        with self.condition:
            self.condition.wait_for(lambda: self.is_open)
            self.under_way += 1

    def __exit__(self, *_):
        with self.condition:
            self.under_way -= 1
            self.condition.notify_all()

    def open(self):
        with self.condition:
            self.is_open = True
            self.condition.notify_all()

    def close(self):
        with self.condition:
            self.is_open = False
            self.condition.wait_for(lambda: self.under_way == 0)


class Caller(threading.Thread):
    def __init__(self, number, plan, ledger, gate):
        super().__init__(daemon=True)
        self.plan, self.gate, self.dice = plan, gate, random.Random(f"{plan.seed}/{number}")
        self.client = Client(f"c{number}", plan, ledger)
        self.room = plan.rooms[number % len(plan.rooms)]
        self.users = [f"c{number}u{user}" for user in range(plan.users)]
        # (list, user) → whether the user is on it; missing: nobody knows.
        self.known = {(list, user): False for user in self.users for list in ("members", "admins", "whitelist", "forever")}
        self.own, self.rooms_made = None, 0

    def run(self):
        while True:
            with self.gate:
                self.change()
            time.sleep(self.dice.uniform(0, 2 * self.plan.pause))

    def change(self):
        call = self.choose()
        call.room = call.room or self.room
        outcome, _ = self.client.make(call, self.dice.randrange(len(self.plan.ports)), key=self.dice.random() < 0.3)
        for list, is_on in call.effects.items():
            for user in call.users:
                if outcome == "acknowledged":
                    self.known[list, user] = is_on
                elif outcome == "unknown":
                    self.known.pop((list, user), None)
        if call.kind in ("CREATE", "DELETE"):
            # One whose creation or deletion is unknown is left alone from now on.
            is_there = {"acknowledged": call.kind == "CREATE", "unknown": False}.get(outcome, call.kind == "DELETE")
            self.own = call.room if is_there else None

    def are(self, list, users, is_on):
        return all(self.known.get((list, user)) is is_on for user in users)

    def choose(self):
        """A change that mostly succeeds, to judge by what is known."""
        one, some = [self.dice.choice(self.users)], self.dice.sample(self.users, self.dice.randint(2, 5))
        inside = [user for user in self.users if self.known.get(("members", user)) is not False]
        outside = [user for user in self.users if self.known.get(("members", user)) is not True]
        if len(inside) > len(self.users) / 2:
            one = [self.dice.choice(inside)]
        duration = self.dice.randint(100, 1200)
        at = lambda path: f"/chatrooms/{self.room}{path}"
        out = dict(members=False, admins=False, whitelist=False)
        join = lambda: Call("JOIN/DIRECT", one, "POST", at(f"/users/{one[0]}"), effects=dict(members=True))
        match self.dice.randrange(24):
            case 0 | 1 | 2 | 3 if outside:
                one = [self.dice.choice(outside)]
                return join()
            case 4 | 5:
                return Call("JOIN/DIRECT", some, "POST", at("/users"), {"usernames": some}, dict(members=True),
                            is_certain=self.are("members", some, False))
            case 6:
                return Call("LEAVE/KICK", one, "DELETE", at(f"/users/{one[0]}"), effects=out)
            case 7:
                return Call("LEAVE/KICK", some, "DELETE", at(f"/users/{','.join(some)},"), effects=out, is_told=True)
            case 8 | 9 | 10 | 11:
                names = [user for user in some if user in inside] or one
                return Call("MUTE/ADD", names, "POST", at("/mute"), {"usernames": names, "mute_duration": duration},
                            dict(forever=False))
            case 12 | 13:
                return Call("MUTE/ADD", one, "POST", at("/mute"), {"usernames": one, "mute_duration": -1}, dict(forever=True))
            case 14 | 15:
                muted = [user for user in self.users if self.known.get(("forever", user))][:3] or one
                return Call("MUTE/REMOVE", muted, "DELETE", at(f"/mute/{','.join(muted)}"), effects=dict(forever=False),
                            is_certain=self.are("forever", muted, True))
            case 16:
                return Call("BLOCK/ADD", one, "POST", at(f"/blocks/users/{one[0]}"), {"block_duration": duration}, out)
            case 17:
                return Call("BLOCK/ADD", one, "POST", at(f"/blocks/users/{one[0]}"), effects=out)
            case 18:
                return Call("BLOCK/REMOVE", one, "DELETE", at(f"/blocks/users/{one[0]}"))
            case 19:
                return Call("ADMIN/ADD", one, "POST", at("/admin"), {"newadmin": one[0]}, dict(admins=True),
                            is_certain=self.are("admins", one, False))
            case 20:
                return Call("ADMIN/REMOVE", one, "DELETE", at(f"/admin/{one[0]}"), effects=dict(admins=False))
            case 21:
                return Call("WHITE/ADD", one, "POST", at(f"/white/users/{one[0]}"), effects=dict(whitelist=True),
                            is_certain=self.are("whitelist", one, False))
            case 22 if self.own:
                return Call("DELETE", [], "DELETE", f"/chatrooms/{self.own}", room=self.own)
            case 22:
                self.rooms_made += 1
                room = f"{self.client.name}r{self.rooms_made}"
                body = {"roomid": room, "name": "n", "description": "d", "maxusers": 9, "owner": self.plan.owner}
                return Call("CREATE", [self.plan.owner], "POST", "/chatrooms", body, room=room)
        return join()


def burst(plan, ledger, room, instance, users, number):
    """Adds all at once, each by a caller of its own, and then removes those who have come in by a single call. Returns how
    many additions had which outcome."""
    def add(place, user):
        call = Call("JOIN/DIRECT", [user], "POST", f"/chatrooms/{room}/users/{user}", room=room)
        outcomes[user] = Client(f"b{number}x{place}", plan, ledger).make(call, instance)[0]

    outcomes = {}
    threads = [threading.Thread(target=add, args=pair) for pair in enumerate(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    added = [user for user, outcome in outcomes.items() if outcome == "acknowledged"]
    if added:
        path = urllib.parse.quote(",".join(added) + ",", safe=",")
        call = Call("LEAVE/KICK", added, "DELETE", f"/chatrooms/{room}/users/{path}", is_told=True, room=room)
        Client(f"b{number}", plan, ledger).make(call, instance, key=True)
    return json.dumps(Counter(outcomes.values()))


def main():
    ledger, plan, gate = Ledger(sys.argv[1]), Plan(**json.loads(sys.argv[2])), Gate()
    for number in range(plan.callers):
        Caller(number, plan, ledger, gate).start()
    for number, line in enumerate(sys.stdin):
        command, *arguments = line.split()
        answer = "done"
        if command == "pause":
            gate.close()
        elif command == "resume":
            gate.open()
        elif command == "burst":
            room, instance, *users = arguments
            answer = burst(plan, ledger, room, int(instance), users, number)
        print(answer, flush=True)


if __name__ == "__main__":
    main()
