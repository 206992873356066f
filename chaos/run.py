"""`make chaos`: everything goes wrong, again and again, and nothing may be lost.

Three instances on a durable PostgreSQL under a steady load from an independent client. Faults come from a seed, each kind in
turn; after each one what the client knows is held against what is there. Ends with a table, and with status 1 on any finding.

    run.py BINARY [--short]

CHAOS_SECONDS=1200    how long; the round under way is brought to its end
CHAOS_SEED=…          repeats the order of faults, their places and their times (not that of the threads)
CHAOS_FAULTS=…        only those whose names contain one of these words, with commas between them
"""

import contextlib
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from checks import Checks
from ending import end_in_order
from faults import FAULTS
from ledger import Reader
from load import Plan
from stage import APP, CALLERS, HASTE, LOCAL, ROOT, USERS, Stage

LEDGER = LOCAL / "chaos-ledger"

# How long the service may take to make changes again through every instance once a fault is healed.
RECOVERED_IN_SECONDS = 60

# The part of its time that a fault lasts in the short form.
SHORT_PACE = 0.25


@dataclass
class Row:
    """What has come of a kind of fault."""

    times: int = 0
    acknowledged: int = 0
    unknown: int = 0
    lost: int = 0
    doubled: int = 0
    recoveries: list = field(default_factory=list)


class Load:
    """The client's process, and what its ledger says."""

    def __init__(self, plan):
        LEDGER.unlink(missing_ok=True)
        LEDGER.touch()
        self.ledger = Reader(LEDGER)
        command = [sys.executable, ROOT / "chaos/load.py", LEDGER, json.dumps(vars(plan))]
        self.process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        start_new_session=True)

    def say(self, *command):
        print(*command, file=self.process.stdin, flush=True)

    def hear(self):
        return self.process.stdout.readline().strip()

    def do(self, command):
        self.say(command)
        self.hear()

    def wait_for(self, so, seconds):
        """Whether it has become so, for the changes about which the ledger has said something."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if so(self.ledger.read()):
                return True
            time.sleep(0.02)
        return False

    def acknowledged(self, since, seconds, instances):
        """When each of so many instances has first acknowledged a change that was sent since: those that have in time."""
        first = {}

        def all_have(changed):
            for change in changed.values():
                if change.outcome == "acknowledged" and change.sent_again >= since:
                    first[change.instance] = min(change.answered, first.get(change.instance, change.answered))
            return len(first) == instances
        self.wait_for(all_have, seconds)
        return first

    def close(self):
        self.process.kill()
        self.process.wait()


class Run:
    def __init__(self, stage, load, seed, pace):
        self.stage, self.load, self.dice, self.pace = stage, load, random.Random(seed), pace
        self.checks, self.rows, self.findings = Checks(stage, load.ledger), {}, []

    def say(self, text):
        print(text, flush=True)

    def find(self, fault, sentence):
        self.findings.append(sentence)
        self.say(f"   FINDING ({fault.name}): {sentence[:2000]}")

    def turns(self):
        """Faults without end: all of them in some order, then all of them again."""
        words = os.environ.get("CHAOS_FAULTS", "").split(",")
        chosen = [fault for fault in FAULTS if any(word in fault.name for word in words)]
        for fault in chosen:
            if why := fault.skip(self.stage):
                self.say(f"chaos: skipped: {fault.name}: {why}")
        chosen = [fault for fault in chosen if not fault.skip(self.stage)]
        while True:
            yield from self.dice.sample(chosen, len(chosen))
            yield None

    def round(self, fault):
        row = self.rows.setdefault(fault.name, Row())
        before = self.counts()
        self.load.do("resume")
        self.load.acknowledged(time.monotonic(), 30, len(self.stage.instances))
        recovery = self.injure(fault, row)
        self.load.do("pause")
        self.load.ledger.read()
        try:
            wrong = self.checks.run()
        except (RuntimeError, OSError) as error:
            wrong = {"lost": [], "doubled": [], "other": [f"nothing could be checked: {error}"]}
        for sentence in [*wrong["lost"], *wrong["doubled"], *wrong["other"]]:
            self.find(fault, sentence)
        for instance in self.stage.instances:
            if "panicked" in instance.log.read_text():
                self.find(fault, f"an instance has panicked; see {instance.log}")
        after = self.counts()
        made = {outcome: after[outcome] - before[outcome] for outcome in after}
        row.times += 1
        row.acknowledged += made["acknowledged"]
        row.unknown += made.get("unknown", 0)
        row.lost += len(wrong["lost"])
        row.doubled += len(wrong["doubled"])
        told = f"{recovery:.2f} s" if recovery is not None else "never"
        self.say(f"{fault.name:<75} recovered in {told:>7}  {made['acknowledged']:5} acknowledged  {made.get('refused', 0):4} refused"
                 f"  {made.get('unknown', 0):4} unknown")

    def injure(self, fault, row):
        """Injects a fault and heals it. Returns how long it took from the beginning of the healing until changes were made
        through every instance again."""
        with contextlib.ExitStack() as healing:
            course = fault.injure(self.stage, self.dice, self.load)
            # Whatever happens, what follows the fault is done.
            healing.callback(lambda: next(course, None))
            began = time.monotonic()
            lasts = next(course)
            time.sleep(lasts * self.pace)
            if fault.is_passable:
                on = self.load.acknowledged(began, 5, len(self.stage.instances))
                if len(on) < len(self.stage.instances):
                    self.find(fault, f"only the instances {sorted(on)} have made changes meanwhile")
            healed = time.monotonic()
            try:
                healing.close()
            except AssertionError as error:
                self.find(fault, str(error))
        for instance in self.stage.instances:
            if instance.process.poll() is not None:
                self.find(fault, f"an instance has ended by itself; see {instance.log}")
                instance.start()
        first = self.load.acknowledged(healed, RECOVERED_IN_SECONDS, len(self.stage.instances))
        if len(first) < len(self.stage.instances):
            self.find(fault, f"{RECOVERED_IN_SECONDS} s later only the instances {sorted(first)} make changes")
            return None
        recovery = max(first.values()) - healed
        row.recoveries.append(recovery)
        return recovery

    def counts(self):
        return Counter(change.outcome for change in self.load.ledger.changes.values())

    def table(self):
        lines = ["| Fault | times | acknowledged | unknown | lost | doubled | recovery, median | longest |",
                 "|---|---|---|---|---|---|---|---|"]
        for name, row in sorted(self.rows.items()):
            median, longest = (f"{f(row.recoveries):.2f} s" if row.recoveries else "never" for f in (statistics.median, max))
            lines.append(f"| {name} | {row.times} | {row.acknowledged:,} | {row.unknown:,} | {row.lost} | {row.doubled} | {median} | "
                         f"{longest} |")
        return "\n".join(lines)


def main():
    end_in_order()
    binary, is_short = Path(sys.argv[1]), "--short" in sys.argv
    seed = os.environ.get("CHAOS_SEED") or ("1" if is_short else secrets.token_hex(4))
    seconds = 0 if is_short else int(os.environ.get("CHAOS_SECONDS") or 1200)
    print(f"chaos: seed {seed}; starting PostgreSQL and the instances", flush=True)
    began, run = time.monotonic(), None
    with contextlib.ExitStack() as undo:
        stage = Stage(binary, seed, HASTE if is_short else {}, disk_megabytes=1024 if is_short else 4096)
        undo.callback(stage.close)
        load = Load(Plan([instance.port for instance in stage.instances], "/" + APP, stage.token, stage.rooms, "owner",
                         CALLERS, USERS, 0.03, seed))
        undo.callback(load.close)
        run = Run(stage, load, seed, SHORT_PACE if is_short else 1)
        began = time.monotonic()
        for fault in run.turns():
            # One turn of all kinds at least.
            if time.monotonic() - began >= seconds and (fault is None or not is_short and len(run.rows) == len(FAULTS)):
                break
            if fault:
                run.round(fault)
        counts, checks = run.counts(), run.checks
        faults = sum(row.times for row in run.rows.values())
        print(f"\n{run.table()}\n\nchaos: {time.monotonic() - began:.0f} s, seed {seed}: {faults} faults, {counts['acknowledged']:,} "
              f"changes acknowledged, {counts['refused']:,} refused, {counts['unknown']:,} unknown; {checks.events:,} events, "
              f"{checks.ends:,} ends, {checks.heard:,} callbacks; {len(run.findings)} findings", flush=True)
    if run.findings:
        sys.exit(f"chaos: something was found; CHAOS_SEED={seed}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("chaos: stopped")
