"""Times programs that wait for their turn: each runs once per line on its stdin. Standard library only.

    python3 benches/take_turns.py [--rounds N] [--warm N] [--json FILE] NAME COMMAND… [-- NAME COMMAND…]…

A program prints a line starting with `ready` when it is, and from then on for every line read the seconds of one run. All are
loaded before the first turn; only one runs at a time. The first --warm turns (3) are not counted. Reports medians and their
ratios to the first, and the median of the ratios round by round, which a busy machine disturbs less.
"""

import json
import os
import statistics
import subprocess
import sys
import time


def split(arguments):
    """[(name, command)] between the `--`."""
    programs, current = [], []
    for argument in [*arguments, "--"]:
        if argument == "--":
            if current:
                programs.append((current[0], current[1:]))
            current = []
        else:
            current.append(argument)
    return programs


# Idle threads of an OpenMP program spin for some milliseconds after their work: they must be asleep at the next one's turn.
PAUSE = 0.02


def turn(name, process):
    time.sleep(PAUSE)
    process.stdin.write("go\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        sys.exit(f"{name} ended")
    return float(line)


def main():
    arguments, rounds, warm, report = sys.argv[1:], 30, 3, None
    while arguments and arguments[0] in ("--rounds", "--warm", "--json"):
        if arguments[0] == "--rounds":
            rounds = int(arguments[1])
        elif arguments[0] == "--warm":
            warm = int(arguments[1])
        else:
            report = arguments[1]
        arguments = arguments[2:]
    programs = split(arguments)
    if not programs:
        sys.exit(__doc__)

    running = []
    for name, command in programs:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = process.stdout.readline()
        if not line.startswith("ready"):
            sys.exit(f"{name} did not get ready: {line.strip()}")
        running.append((name, process, line[len("ready") :].strip()))

    load = os.getloadavg()[0]
    times = {name: [] for name, _, _ in running}
    for name, process, _ in running:
        for _ in range(warm):
            turn(name, process)  # not counted
    for _ in range(rounds):
        for name, process, _ in running:
            times[name].append(turn(name, process))
    for _, process, _ in running:
        process.stdin.close()
        process.wait()

    first = running[0][0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{cores} cores, {rounds} rounds in turns, load {load:.2f} before, {os.getloadavg()[0]:.2f} after\n")
    print(f"| program | median | fastest | slowest | × {first} | × by round | |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for name, _, what in running:
        t = times[name]
        row = {
            "name": name,
            "what": what,
            "median_s": statistics.median(t),
            "min_s": min(t),
            "max_s": max(t),
            "ratio": statistics.median(t) / statistics.median(times[first]),
            "ratio_by_round": statistics.median(a / b for a, b in zip(t, times[first])),
        }
        rows.append(row)
        print(
            f"| {name} | {row['median_s'] * 1e3:.1f} ms | {row['min_s'] * 1e3:.1f} ms | {row['max_s'] * 1e3:.1f} ms "
            f"| {row['ratio']:.2f} | {row['ratio_by_round']:.2f} | {what} |"
        )
    if report:
        with open(report, "a") as file:
            file.write(json.dumps({"cores": cores, "rounds": rounds, "load": load, "rows": rows}) + "\n")


if __name__ == "__main__":
    main()
