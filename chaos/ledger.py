"""What the load knows of its own changes, in a file: a line before a change is sent, and one when it is answered.

A change is `acknowledged` (200), `refused` (4xx), `unsent` (no connection was made) or `unknown`: no answer, or one that
promises nothing (5xx). Each has an id that the service writes into its events as their reason, so that each event tells
which change has made it.
"""

import json
import os
import time
from dataclasses import dataclass, field


@dataclass
class Change:
    """A change as its caller knows it."""

    id: str                       # CALLER-NUMBER; a caller makes one change after the other
    room: str
    kind: str                     # of the event that it leaves
    users: list
    outcome: str = "unknown"
    status: int = 0               # of the last answer; 0 = none came
    instance: int = 0             # the last that was asked
    sent: float = 0.0             # the first and the last time, in seconds of the monotonic clock
    sent_again: float = 0.0
    answered: float = 0.0
    told: list = field(default=None)  # whom its event names, where the answer makes that certain

    @property
    def place(self):
        caller, number = self.id.rsplit("-", 1)
        return caller, int(number)


class Ledger:
    """Writes the lines, each at once: they outlive whatever happens to this process."""

    def __init__(self, path):
        self.file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)

    def write(self, *line):
        os.write(self.file, (json.dumps(line) + "\n").encode())

    def sent(self, id, instance, room, kind, users):
        self.write("sent", id, time.monotonic(), instance, room, kind, users)

    def answered(self, id, outcome, status, told):
        self.write("answered", id, time.monotonic(), outcome, status, told)


class Reader:
    """Reads on as the file grows."""

    def __init__(self, path):
        self.file, self.rest, self.changes = open(path, "rb"), b"", {}

    def read(self):
        """Returns the changes about which a line has come."""
        *lines, self.rest = (self.rest + self.file.read()).split(b"\n")
        return {id: self.changes[id] for id in map(self.take, lines)}

    def take(self, line):
        what, id, at, *rest = json.loads(line)
        if what == "sent":
            instance, room, kind, users = rest
            change = self.changes.setdefault(id, Change(id, room, kind, users, sent=at))
            change.instance, change.sent_again, change.outcome = instance, at, "unknown"
        else:
            change = self.changes[id]
            change.outcome, change.status, change.told = rest
            change.answered = at
        return id
