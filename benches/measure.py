"""Runs programs in turn, several times, and reports medians. Standard library only.

    python3 benches/measure.py SPEC.json [--rounds N] [--json FILE]

SPEC: {"title": …, "base": NAME, "programs": [{"name", "command": […], "remove": [PATH…], "rounds": N, "env": {…}}]}

The programs take turns within a round, so that a busy spell of the machine meets all of them. `remove` is deleted before
each run. Times are wall time from start to exit; memory is the peak resident set (wait4, through peak.c; without a C compiler
it cannot be told apart from Python's own below 15 MiB), which includes mapped file pages; ratios are against the median of `base`, when given. A program that fails ends the measurement.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def launcher(directory):
    """The small starter, compiled, or None."""
    source, built = Path(__file__).with_name("peak.c"), Path(directory) / "peak"
    done = subprocess.run(["cc", "-O2", "-o", built, source], capture_output=True) if shutil.which("cc") else None
    return built if done and done.returncode == 0 else None


def run(program, starter):
    """(seconds, peak RSS in bytes, user + system seconds)"""
    for path in program.get("remove", []):
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            Path(path).unlink(missing_ok=True)
    sink = os.open(os.devnull, os.O_WRONLY)
    log = os.memfd_create("log")
    command = program["command"]
    if starter:
        command = [str(starter), str(starter) + ".rss", *command]
    began = time.perf_counter()
    pid = os.posix_spawnp(
        command[0],
        command,
        os.environ | program.get("env", {}),
        file_actions=[(os.POSIX_SPAWN_DUP2, sink, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
    )
    _, status, usage = os.wait4(pid, 0)
    took = time.perf_counter() - began
    os.close(sink)
    if status != 0:
        os.lseek(log, 0, os.SEEK_SET)
        sys.exit(f"{program['name']} failed ({status}): {os.read(log, 4000).decode(errors='replace')}")
    os.close(log)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = int(Path(str(starter) + ".rss").read_text()) if starter else usage.ru_maxrss
    return took, peak * unit, usage.ru_utime + usage.ru_stime


def machine():
    model = "unknown"
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": model, "cores": cores, "load": [round(x, 2) for x in os.getloadavg()]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="append one JSON object a line")
    args = parser.parse_args()
    spec = json.loads(args.spec.read_text())

    with tempfile.TemporaryDirectory() as directory:
        measure(spec, args, launcher(directory))


def measure(spec, args, starter):
    before = machine()
    runs = {p["name"]: [] for p in spec["programs"]}
    for program in spec["programs"]:
        if program.get("warm", True):
            run(program, starter)  # fills caches; not counted
    for index in range(args.rounds):
        for program in spec["programs"]:
            if index < program.get("rounds", args.rounds):
                runs[program["name"]].append(run(program, starter))

    medians = {name: statistics.median(t for t, _, _ in r) for name, r in runs.items()}
    base = medians.get(spec.get("base"))
    print(f"\n{spec['title']}: {before['cores']} cores, {before['cpu']}, load {before['load'][0]} before, {os.getloadavg()[0]:.2f} after\n")
    print(f"| program | runs | median | fastest | slowest | CPU | × {spec.get('base', '-')} | peak RSS |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for name, results in runs.items():
        times = [t for t, _, _ in results]
        row = {
            "name": name,
            "runs": len(times),
            "median_s": round(medians[name], 4),
            "min_s": round(min(times), 4),
            "max_s": round(max(times), 4),
            "cpu_s": round(statistics.median(c for _, _, c in results), 4),
            "ratio": round(medians[name] / base, 3) if base else None,
            "peak_rss_mib": round(max(m for _, m, _ in results) / 2**20, 1),
        }
        rows.append(row)
        ratio = f"{row['ratio']:.2f}" if base else "-"
        print(
            f"| {name} | {row['runs']} | {row['median_s']:.3f} s | {row['min_s']:.3f} s | {row['max_s']:.3f} s "
            f"| {row['cpu_s']:.2f} s | {ratio} | {row['peak_rss_mib']} MiB |"
        )
    if args.json:
        with args.json.open("a") as file:
            file.write(json.dumps({"title": spec["title"], "machine": before, "rows": rows}) + "\n")


if __name__ == "__main__":
    main()
