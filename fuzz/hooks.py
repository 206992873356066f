"""What schemathesis cannot know of the service: which rooms and users there are, and where callbacks may go.

Most of the names that it thinks of are replaced by those of rooms and users that exist, or nearly every call would end at one
that does not. What is chosen depends on nothing but the name, so that a call is the same whenever it is made.
"""

import atexit
import json
import os
import urllib.error
import urllib.request
from collections import Counter
from zlib import crc32

import schemathesis

BASE = f"{os.environ['FUZZ_URL']}/fuzz/fuzz"
TOKEN = os.environ["FUZZ_TOKEN"]
ROOMS = [f"room{number}" for number in range(6)]
USERS = [f"user{number}" for number in range(12)]

# Calls after which rooms and users are made anew, since calls delete them.
ROUND = 200

calls = 0
statuses = Counter()


def post(path, body):
    request = urllib.request.Request(BASE + path, json.dumps(body).encode(), {"Authorization": f"Bearer {TOKEN}"}, method="POST")
    try:
        urllib.request.urlopen(request, timeout=30).read()
    except urllib.error.HTTPError as error:
        # What is there already stays.
        assert error.code < 500, error.read()


def furnish():
    post("/users", [{"username": user, "password": "password"} for user in USERS])
    for number, room in enumerate(ROOMS):
        people = USERS[number : number + 6]
        post("/chatrooms", {"roomid": room, "name": room, "description": "", "owner": people[0], "members": people[1:]})
        post(f"/chatrooms/{room}/users", {"usernames": people[1:]})


def known(name, names):
    """A name that exists, for three of four."""
    choice = crc32(str(name).encode(errors="replace"))
    return name if choice % 4 == 0 else names[choice // 4 % len(names)]


@schemathesis.hook
def before_call(context, case, kwargs):
    global calls
    if calls % ROUND == 0:
        furnish()
    calls += 1
    path = case.path_parameters or {}
    # Some strangers' apps, too.
    for key in ("org_name", "app_name"):
        if key in path and crc32(str(path[key]).encode(errors="replace")) % 64:
            path[key] = "fuzz"
    if "chatroom_id" in path:
        path["chatroom_id"] = known(path["chatroom_id"], ROOMS)
    if "usernames" in path:
        several = [",".join(USERS[number : number + 3]) for number in range(0, len(USERS), 3)]
        path["usernames"] = known(path["usernames"], USERS + several)
    body = case.body
    if isinstance(body, dict):
        for key in ("owner", "newadmin", "superadmin", "newowner", "username"):
            if isinstance(body.get(key), str):
                body[key] = known(body[key], USERS)
        for key in ("usernames", "members"):
            if isinstance(body.get(key), list):
                body[key] = [known(name, USERS) if isinstance(name, str) else name for name in body[key]]
        if isinstance(body.get("room"), str):
            body["room"] = known(body["room"], ROOMS)
        # Nothing is sent to another machine.
        if "url" in body and isinstance(body["url"], str) and ":" in body["url"]:
            body["url"] = "http://127.0.0.1:9/"


@schemathesis.hook
def after_call(context, case, response):
    statuses[response.status_code] += 1


@atexit.register
def report():
    print(f"fuzz: {sum(statuses.values())} calls, by status:", ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items())))
