#!/usr/bin/env python3
"""A receiver of callbacks that verifies both signatures, and passes over what it has seen.

    SECRET="my secret" PORT=9000 examples/receiver.py

Nothing but Python's own library is needed. Each callback that is new is printed, a line of JSON each.
"""

import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["SECRET"]
PORT = int(os.environ.get("PORT", "9000"))

# A signature that is older was kept by somebody who sends it again. Clocks may differ by some of it.
MAX_AGE_SECONDS = 300

# What was seen: in production the database that the callback changes, in the same transaction.
seen = set()


def is_signed(header, body):
    """The signature over the moment of sending and every byte: X-Roomward-Signature: t=SECONDS,v1=HEX."""
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    moment, given = parts.get("t", ""), parts.get("v1", "")
    if not moment.isdigit() or abs(time.time() - int(moment)) > MAX_AGE_SECONDS:
        return False
    expected = hmac.new(SECRET.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(given, expected)


def is_secured(callback):
    """The hosted service's own: MD5 over callId, secret and timestamp. It covers nothing else."""
    text = callback["callId"] + SECRET + str(callback["timestamp"])
    return hmac.compare_digest(callback["security"], hashlib.md5(text.encode()).hexdigest())


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not is_signed(self.headers.get("X-Roomward-Signature", ""), body):
            return self.answer(401)
        callback = json.loads(body)
        if not is_secured(callback):
            return self.answer(401)
        if callback["callId"] not in seen:
            seen.add(callback["callId"])
            print(json.dumps(callback), flush=True)
        # Only 200 says that it was taken; anything else, and it comes again.
        self.answer(200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Receiver)
    print(f"receiver: http://127.0.0.1:{server.server_port}/", file=sys.stderr, flush=True)
    server.serve_forever()
