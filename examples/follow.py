#!/usr/bin/env python3
"""Follows the events of a room, and misses none and repeats none however often the connection breaks.

    URL=http://127.0.0.1:8080/demo/chat TOKEN=$(roomward token demo/chat) examples/follow.py lobby

Nothing but Python's own library is needed. Each event is printed, a line of JSON each. The number of the last one is kept in a
file (POSITION=FILE), so that the next start goes on behind it.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

URL, TOKEN = os.environ["URL"], os.environ["TOKEN"]
POSITION = os.environ.get("POSITION")

# The service says that it is alive every 15 s; a connection that is silent for longer is dead.
PATIENCE_SECONDS = 40


def read_position():
    try:
        return open(POSITION).read().strip() if POSITION else ""
    except FileNotFoundError:
        return ""


def keep_position(number):
    """Whole or not at all: another name first, and then the right one."""
    if POSITION:
        with open(POSITION + ".new", "w") as file:
            file.write(number)
        os.replace(POSITION + ".new", POSITION)


def stream(room, last):
    """The events behind `last`, or from now on, as (number, text), until the connection ends."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"}
    if last:
        headers["Last-Event-ID"] = last
    request = urllib.request.Request(f"{URL}/chatrooms/{room}/events", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        number, data = "", []
        for line in answer:
            line = line.decode().rstrip("\n")
            if line.startswith("id: "):
                number = line[4:]
            elif line.startswith("data: "):
                data.append(line[6:])
            elif not line and data:
                yield number, "\n".join(data)
                data = []


def follow(room):
    last = read_position()
    while True:
        try:
            for last, event in stream(room, last):
                print(event, flush=True)
                keep_position(last)
        except urllib.error.HTTPError as error:
            if error.code == 410:
                sys.exit(f"follow: events are gone that were not read: {json.load(error)['error_description']}")
            if error.code < 500 and error.code != 429:
                sys.exit(f"follow: {error.code}: {error.read().decode()}")
        except (OSError, TimeoutError):
            pass
        time.sleep(1)


if __name__ == "__main__":
    try:
        follow(sys.argv[1])
    except KeyboardInterrupt:
        pass
