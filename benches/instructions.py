#!/usr/bin/env python3
"""Counts the instructions and the allocations of the pure middle of a scrape (parse, families, render) for each fixture, with
callgrind, and compares them with budgets.tsv. Counts do not depend on how busy the machine is. Two builds are counted: one with
glibc, and a static one with musl, which has another allocator and another memcpy. The binary that ships is built like
the second, but also optimised for a profile.

    UPDATE=1    rewrite the budgets instead; review the change like any other

Exit code 0 if all is within 110 % of its budget, else 1. A new fixture needs no budget. Needs valgrind and the target
x86_64-unknown-linux-musl (rustup target add, musl-tools); the budgets are those of x86-64.
"""

import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from report import CURRENT, ROOT, enlarged  # noqa: E402

BUDGETS = pathlib.Path(__file__).parent / "budgets.tsv"
HEADER = """\
# What the pure middle of a scrape may cost, for each fixture. Counted by `make bench-instructions` on x86-64, which fails above
# 110 % of it; UPDATE=1 rewrites this file. Instructions of a build with glibc and of a static one with musl; allocations, with
# glibc only, are calls of malloc, calloc, realloc and their kin.
# fixture\tnames\tformat\tinstructions\tallocations\tstatic instructions
"""
COLUMNS = ("instructions", "allocations", "static instructions")
ROOM = 1.1

# The function of benches/instructions.rs that is counted.
COUNTED = "instructions::counted_pass"

# Allocations are counted as calls into libc. A counting allocator would be unsafe code, which this crate forbids, and would count its own
# work. Calls among these functions do not count. They cannot be counted in the static build, which inlines them.
ALLOCATORS = {"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"}

# glibc chooses variants of memcpy and similar functions by the processor, and callgrind counts a `rep movsb` as one instruction for
# each byte. With these settings the counts are the same on every x86-64 machine.
TUNABLES = ":".join([
    "glibc.cpu.hwcaps=-AVX512VL,-AVX512F,-AVX2,-ERMS,-FSRM",
    "glibc.cpu.x86_rep_movsb_threshold=1073741824",
    "glibc.cpu.x86_rep_stosb_threshold=1073741824",
])


# The target of the binary that ships.
STATIC = "x86_64-unknown-linux-musl"


def build(target=None):
    # A release build that keeps the names of the functions.
    environment = os.environ | {"CARGO_PROFILE_BENCH_STRIP": "debuginfo"}
    command = ["cargo", "bench", "--bench", "instructions", "--no-run", "--message-format=json-render-diagnostics"]
    command += ["--target", target] if target else []
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        hint = f" (rustup target add {target}; apt-get install musl-tools)" if target else ""
        sys.exit(f"bench-instructions: the build failed{hint}")
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for message in messages:
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "instructions":
            return message["executable"]
    sys.exit("bench-instructions: cargo names no executable; is there a [[bench]] \"instructions\" in Cargo.toml?")


def cases(directory):
    """What is counted: (fixture, names, format) and the file."""
    large = pathlib.Path(directory) / "large.json"
    large.write_text(enlarged())
    files = {file.stem: file for file in sorted((ROOT / "fixtures").glob("*.json"))}
    for fixture, file in files.items():
        for form in "openmetrics", "text":
            yield (fixture, "standard", form), file
    for file in sorted((ROOT / "fixtures" / "native").glob("*.json")):
        if not file.stem.endswith(".stats"):
            yield (f"native/{file.stem}", "standard", "openmetrics"), file
    for form in "openmetrics", "text":
        yield (CURRENT.stem, "legacy", form), CURRENT
    yield (f"{CURRENT.stem}-times-10", "standard", "openmetrics"), large


def count(executable, files, directory):
    """Runs all cases in one process; callgrind writes one file for each."""
    command = [
        "valgrind", "--quiet", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no",
        f"--dump-before={COUNTED}", f"--dump-after={COUNTED}", "--callgrind-out-file=counts", executable,
    ]
    arguments = [word for (_, names, form), file in files for word in (names, form, str(file))]
    # A fixed environment: it is on the stack, and its size shifts everything above it.
    environment = {"PATH": os.environ["PATH"], "GLIBC_TUNABLES": TUNABLES}
    done = subprocess.run(command + arguments, cwd=directory, env=environment, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"bench-instructions: valgrind ended with {done.returncode}")
    for number, (case, _) in enumerate(files, start=1):
        # Files with odd numbers contain the work before a pass. --toggle-collect cannot exclude it, because it would still count the calls.
        yield case, read(pathlib.Path(directory) / f"counts.{2 * number}")


def read(profile):
    """Instructions and allocations in a file of callgrind."""
    instructions = allocations = 0
    function = callee = ""
    for line in profile.read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "fn":
            function = value
        elif key == "cfn":
            callee = value
        elif key == "calls" and callee in ALLOCATORS and function not in ALLOCATORS:
            allocations += int(value.split()[0])
        elif line.startswith("totals:"):
            instructions = int(line.split()[1])
    if not instructions:
        sys.exit(f"bench-instructions: {COUNTED} was not found in the program")
    return instructions, allocations


def budgets():
    if not BUDGETS.exists():
        return {}
    rows = [line.split("\t") for line in BUDGETS.read_text().splitlines() if line and not line.startswith("#")]
    return {tuple(row[:3]): tuple(map(int, row[3:])) for row in rows}


def compare(counts, allowed):
    """Prints the table; gives the complaints."""
    complaints = []
    print("| fixture | names | format |" + "".join(f" {column} | budget | |" for column in COLUMNS))
    print("|---|---|---|" + "---:|---:|---:|" * len(COLUMNS))
    for case, counted in counts.items():
        cells = []
        for what, number, budget in zip(COLUMNS, counted, allowed.get(case, (None,) * len(COLUMNS)), strict=True):
            if budget is None:
                cells += [f"{number:,}", "none", ""]
                continue
            cells += [f"{number:,}", f"{budget:,}", f"{(number / budget - 1) * 100:+.1f} %" if budget else ""]
            if number > budget * ROOM:
                complaints.append(f"{' '.join(case)}: {number:,} {what}, the budget is {budget:,}")
        print("| " + " | ".join([*case, *cells]) + " |")
    complaints += [f"{' '.join(case)}: has a budget and was not counted" for case in allowed if case not in counts]
    return complaints


def main():
    if not shutil.which("valgrind"):
        sys.exit("bench-instructions: valgrind is not installed: apt-get install valgrind")
    update = os.environ.get("UPDATE", "") not in ("", "0")
    if platform.machine() != "x86_64":
        sys.exit("bench-instructions: the budgets are those of x86-64")
    executables = [build(), build(STATIC)]
    with tempfile.TemporaryDirectory(prefix="jitsiexporter-") as directory:
        shared, static = (dict(count(executable, list(cases(directory)), directory)) for executable in executables)
    counts = {case: (*shared[case], static[case][0]) for case in shared}
    allowed = {} if update else budgets()
    complaints = compare(counts, allowed)
    if not update and CURRENT.stem not in {fixture for fixture, *_ in allowed}:
        complaints.append(f"{CURRENT.stem}: has no budget")
    if update:
        lines = ["\t".join([*case, *map(str, counted)]) for case, counted in counts.items()]
        BUDGETS.write_text(HEADER + "\n".join(lines) + "\n")
        print(f"\nwrote {BUDGETS.relative_to(ROOT)}")
    elif complaints:
        print()
        for complaint in complaints:
            print(f"bench-instructions: {complaint}", file=sys.stderr)
        sys.exit("bench-instructions: if it is worth that, UPDATE=1 make bench-instructions")


if __name__ == "__main__":
    main()
