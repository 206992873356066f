"""docs/performance.md, out of what was measured. What is to be said about it by hand, such as why a figure falls short,
stands in bench/notes.md, and is taken along."""

from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Costs that differ by more than this between the smallest and the largest number are not flat.
FLAT = 1.5


@dataclass
class Results:
    scale: object
    seconds: int
    size_seconds: int
    size_connections: int
    connections: list
    machine: dict
    operations: list = field(default_factory=list)
    first: dict = field(default_factory=dict)      # (operation, connections) → {side: cell}
    sizes: dict = field(default_factory=dict)      # (title, members) → cell
    rooms: dict = field(default_factory=dict)      # (title, rooms) → cell
    ends: tuple = None                             # of mutes: how many, and how late in the median and at most
    memory: tuple = ()


def table(head, rows):
    """Markdown; the first column is text, the others are numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


class Goals:
    """The ratios that matter, each with what the first version reached and what is wanted."""

    def __init__(self, results):
        self.results, self.rows = results, []

    def cell(self, name, connections, side="roomward"):
        cell = self.results.first.get((name, connections), {}).get(side)
        return cell if cell and not cell.why_invalid else None

    def row(self, title, former, target, unit, formula):
        """`target` is the least ("≥ 2") or the most ("≤ 200") that is wanted. A cell that is not valid reaches nothing."""
        try:
            value = formula()
        except (AttributeError, TypeError):  # what it needs is None
            self.rows.append([title, "not measured", former, target + unit, "**no**"])
            return
        sign, limit = target.split()
        reached = value >= float(limit) if sign == "≥" else value <= float(limit)
        self.rows.append([title, number(value) + unit, former, target + unit, "yes" if reached else "**no**"])

    def all(self):
        ours, theirs = self.cell, lambda name, connections: self.cell(name, connections, "pgbench")
        ratio = lambda name, connections: lambda: ours(name, connections).rate / theirs(name, connections).rate
        per_add = lambda name, names=1: lambda: names * ours(name, 64).rate / ours("add", 64).rate
        patience = lambda name: lambda: ours(name, 64).p99 / theirs(name, 64).mean
        depth = lambda: ours("page_deep", 64).rate / ours("page_1", 64).rate
        self.row("add spread, 64 connections ÷ pgbench 64", "0.39", "≥ 2.0", "", ratio("add", 64))
        self.row("add hot, 64 ÷ pgbench hot 64", "0.63", "≥ 10", "", ratio("add_hot", 64))
        self.row("add spread, 16 ÷ pgbench 16", "0.26", "≥ 1.2", "", ratio("add", 16))
        self.row("add hot, 16 ÷ pgbench hot 16", "0.89", "≥ 5", "", ratio("add_hot", 16))
        self.row("add spread, 1 ÷ pgbench 1", "0.18", "≥ 0.6", "", ratio("add", 1))
        self.row("CPU of an add, 64: PostgreSQL + service", "1,400", "≤ 200", " µs", lambda: ours("add", 64).cpu)
        self.row("mute, 64 ÷ add 64", "–", "≥ 0.8", "", per_add("mute"))
        self.row("block, 64 ÷ add 64", "–", "≥ 0.8", "", per_add("block"))
        self.row("remove, 64 ÷ add 64", "–", "≥ 0.8", "", per_add("remove"))
        self.row("batch of 60, 64: names/s ÷ single adds/s", "14 to 23", "≥ 4", "", per_add("add_60", 60))
        self.row("batch of 60, 64 ÷ pgbench's batch 64", "–", "≥ 1.2", "", ratio("add_60", 64))
        self.row("speak check, 64 ÷ pgbench 64", "0.19", "≥ 0.6", "", ratio("speak", 64))
        self.row("list 500, 64 ÷ pgbench 64", "0.39", "≥ 0.7", "", ratio("list_500", 64))
        self.row("service CPU of a speak check, 64", "169", "≤ 50", " µs", lambda: ours("speak", 64).service)
        self.row("service CPU of a list of 500, 64", "177", "≤ 80", " µs", lambda: ours("list_500", 64).service)
        self.row("the deep page ÷ page 1, 64", "0.56", "≥ 0.9", "", depth)
        self.row("p99 of add spread 64 ÷ pgbench's mean 64", "5", "≤ 1", "", patience("add"))
        self.row("p99 of add hot 64 ÷ pgbench's mean 64", "2", "≤ 0.2", "", patience("add_hot"))
        late = lambda at: lambda: self.results.ends[at]
        self.row("ends of mutes in a room that 300 connections change are told late: median", "–", "≤ 1000", " ms", late(1))
        self.row("the latest of them", "6,800", "≤ 1500", " ms", late(2))
        return self.rows


def ratios(results):
    return table(["Ratio in this run", "Now", "First version", "Wanted", "Reached"], Goals(results).all())


def first_table(results):
    rows = []
    for operation in results.operations:
        for connections in results.connections:
            for side, cell in results.first[operation.name, connections].items():
                service = number(cell.service) if side == "roomward" else ""
                costs = [number(cell.postgres), service, number(cell.wal), f"{cell.statements:.2f}"]
                if operation.name == "fixed":
                    costs = ["", number(cell.service), "", ""]
                elif not operation.afresh and not operation.events:
                    costs[2] = ""
                times = [number(cell.p50), number(cell.p99)]
                rows.append([f"{operation.title}, {side}", connections, number(cell.rate), *times, cell.errors, *costs])
    head = ["", "connections", "per second", "p50 ms", "p99 ms", "errors", "CPU µs: PostgreSQL", "service", "WAL bytes",
            "statements"]
    return table(head, rows)


def flat_table(cells, column):
    """A row for each call, a column for each number: CPU of PostgreSQL + service. The last one tells how flat it is."""
    titles, numbers = dict.fromkeys(title for title, _ in cells), list(dict.fromkeys(size for _, size in cells))
    rows = []
    for title in titles:
        line = [cells[title, size] for size in numbers]
        costs = [cell.cpu for cell in line if not cell.why_invalid]
        if len(costs) < len(line):
            verdict = "**not valid**"
        else:
            spread = max(costs) / min(costs)
            verdict = number(spread) if spread <= FLAT else f"**{number(spread)}**, see below"
        shown = ["–" if cell.why_invalid else f"{cell.postgres:.0f} + {cell.service:.0f}" for cell in line]
        rows.append([title, *shown, verdict])
    return table([column, *(f"{size:,}" for size in numbers), "most ÷ least"], rows)


def invalid(results):
    cells = [(f"{name}, {connections} connections, {side}", cell)
             for (name, connections), sides in results.first.items() for side, cell in sides.items()]
    cells += [(f"{title}, {size:,}", cell) for part in (results.sizes, results.rooms) for (title, size), cell in part.items()]
    lines = [f"- {name}: {'; '.join(cell.why_invalid)}" for name, cell in cells if cell.why_invalid]
    return "Cells that are not valid, and count nowhere:\n\n" + "\n".join(lines) + "\n" if lines else "All cells are valid.\n"


def quiet(results):
    """How much else was going on."""
    cells = [cell for sides in results.first.values() for cell in sides.values()]
    cells += [*results.sizes.values(), *results.rooms.values()]
    foreign, steal = sorted(cell.foreign for cell in cells), sorted(cell.steal for cell in cells)
    return (f"other programs used {foreign[len(foreign) // 2]:.2f} cores in the median cell and {foreign[-1]:.2f} in the worst; "
            f"the host took {steal[len(steal) // 2]:.2f} and {steal[-1]:.2f}")


def document(results, elapsed):
    s = results.scale
    idle, at_rest, with_idle = results.memory
    machine = table(["Machine", ""], [[name, value] for name, value in {**results.machine, "quiet": quiet(results)}.items()])
    notes = HERE / "notes.md"
    return f"""# Performance

Written by `make bench` from one run of {elapsed / 60:.0f} minutes. Absolute figures are those of one machine, on which PostgreSQL, the service
and the load share all cores. Ratios carry over to others: both sides are measured in the same run, one right behind the
other.

{machine}

## Ratios

{ratios(results)}

Memory of the service: {at_rest / 2**20:.0f} MiB at rest after all the load, {with_idle / 2**20:.0f} MiB with {idle:,} connections that have asked
once and wait, {(with_idle - at_rest) / idle / 1024:.1f} KiB for each.

{invalid(results)}
## Method

- **pgbench** makes the same durable change as one statement (`-M prepared`): the user is registered, not blocked, not in
  yet, and there is a seat; the member's row, the counters, the event and its users ([bench/pgbench](../bench/pgbench)). It is what
  PostgreSQL does when nothing stands before it: no HTTP, no tokens, no JSON.
- **roomward** is a release build with the settings as delivered (logging included), under `wrk` with a token in each
  request ([bench/wrk/calls.lua](../bench/wrk/calls.lua)). It is asked over connections that stay open, each with one request at a time.
- **Rooms**: {s.rooms:,} of {s.members:,} members each, one of {s.hot:,} that all clients enter at once, one of {s.large:,}; {s.users:,} users.
  Each of the many has an admin, a whitelisted member, a few who are muted and a few who are blocked: no table is empty.
  Every add is for a user who is not in the room, every removal for a member, every unmute for a muted user.
- **A cell** takes {results.seconds} s. Before the cells of an operation, 1 s on 16 connections is thrown away; pgbench also runs for
  0.5 s and 10 ms for each client before it is measured, so that its plans are made. It comes first, the service behind it.
- **A cell is valid** if every answer is a 2xx and, for changes, if the events that are there afterwards are those of the
  calls that were made.
- **Ends of mutes**: 300 connections add to one room for 10 s while twenty of its members are muted for a second each, over
  and over. How late an end is told is the time of its event less the end.
- **CPU** is what the kernel says of PostgreSQL's processes (those that have ended, too) and of the service, by
  calls. The rest of the cores goes to wrk, pgbench and the kernel's own work. **WAL** and **statements** (`begin` and
  `commit` among them) are by calls, too; what background tasks do meanwhile is in there.

## Each call

{first_table(results)}

## Costs by size

CPU of a call, PostgreSQL + service, in µs, at {results.size_connections} connections for {results.size_seconds} s behind 1 s that is not kept. Calls that
undo each other take turns, so that the size stays what it is; their cost is that of one call of the turn. A row is flat
if its most is at most {FLAT} times its least.

In one room of so many members:

{flat_table(results.sizes, "members")}

In small rooms, each call in another one, with so many rooms in the app:

{flat_table(results.rooms, "rooms")}

{notes.read_text() if notes.exists() else ""}
## How to repeat it

```
make bench                                    # all of it: needs 8 GB of memory and 15 GB of disk for its own PostgreSQL
BENCH_SECONDS=1 BENCH_SCALE=small make bench  # a try; the report goes to .local/bench-report.md
```

`BENCH_CONNECTIONS="1 64"` measures only these. Let nothing else run meanwhile: the line *quiet* above tells how much did.
"""
