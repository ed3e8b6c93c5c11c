#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""edge-rt beside llama.cpp: the same random GPT-2-small weights, run in turns, medians, ratios.

Usage: llm_peer.py [--rounds 5] [--cases NAMES] [--json FILE [--add]] [--work FOLDER] [--rate MB/s]

Environment: LLAMA_BENCH, path of llama.cpp's llama-bench (without it only edge-rt is measured);
EDGE_RT (build/release/cli/edge-rt). Python with numpy and gguf (pip install gguf) for the weights.

Cases: resident-f16, resident-f32 (64 tokens decoded and a prompt of 32, two threads, all weights in memory);
group-256, group-128 (f16 in a control group of so many MiB, the disk at --rate); batch (8 prompts against one at
128 MiB); busy (beside a loop that never ends on each core but one). The control groups are of version 1 (memory,
blkio) and need root; where they cannot be made the case is skipped and the reason printed. Edge-rt takes its budget
from the group's own limit. Direct reads are timed in each group first, and edge-rt's own are counted: a group whose
disk gives more than its rate is void and gets no ratio. With --add the rounds go beside those that the file already
holds, and medians are of all: long cases in parts, at any times. The load average is printed with each case: above 1
the figures say little.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
EDGE_RT = os.environ.get("EDGE_RT", os.path.join(ROOT, "build/release/cli/edge-rt"))
LLAMA_BENCH = os.environ.get("LLAMA_BENCH")
PROMPT = "The ship entered the port of a t"  # bytes are tokens here: 32
DECODED, THREADS = 64, 2
MIB = 1 << 20
GROUPS = "/sys/fs/cgroup"
# A group is void when direct reads in it go faster than its rate by more than this: what the kernel lets through at
# the begin of a slice.
THROTTLE_SLACK = 1.15
THROTTLE_SECONDS, READ_THREADS, READ_BYTES = 2, 4, 512 << 10  # as edge-rt reads


class Skip(Exception):
    """Why a case cannot be run here."""


def edge(folder, extra, enter=None, prompts=1, tokens=DECODED):
    command = [EDGE_RT, "run", "--model", folder, "--synthetic", "gpt2-small:" + folder.rsplit("-", 1)[1],
               "--threads", str(THREADS), "--max-tokens", str(tokens + 1), "--ignore-eos", "--json", "--quiet"]
    for _ in range(prompts):
        command += ["--prompt", PROMPT]
    made = subprocess.run(command + extra, preexec_fn=enter, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Skip(f"edge-rt: exit {made.returncode}: {made.stderr.strip()[:300]}")
    return json.loads(made.stdout)


def llama(file, prompt, decoded, enter=None):
    """Tokens a second of one run of llama-bench; weights mapped, as it does by itself."""
    if not LLAMA_BENCH:
        return None
    command = [LLAMA_BENCH, "-m", file, "-t", str(THREADS), "-p", str(prompt), "-n", str(decoded), "-r", "1",
               "-o", "json"] + ([] if enter is None else ["--no-warmup"])
    made = subprocess.run(command, preexec_fn=enter, capture_output=True, text=True, check=False)
    if made.returncode == -signal.SIGKILL and enter is not None:
        return None  # by the kernel: the group was too small for it
    if made.returncode != 0:
        raise Skip(f"llama-bench: exit {made.returncode}: {made.stderr.strip()[-300:]}")
    return json.loads(made.stdout)[0]["avg_ts"]


def weights(work, dtype):
    """Folder and GGUF file of the random weights, made once."""
    folder, file = os.path.join(work, f"gpt2-{dtype}"), os.path.join(work, f"gpt2-{dtype}.gguf")
    if not os.path.exists(os.path.join(folder, "config.json")):
        edge(folder, ["--memory-budget", "2G"], tokens=1)
    if LLAMA_BENCH and not os.path.exists(file):
        subprocess.run([sys.executable, os.path.join(ROOT, "bench/llm_peer_gguf.py"), folder, file], check=True)
    return folder, file


def group_write(path, value):
    with open(path, "w", encoding="ascii") as file:
        file.write(str(value))


def group_read(path):
    with open(path, encoding="ascii") as file:
        return int(file.read())


def disk_of(path):
    """major:minor of the whole disk under a path; limits are of whole disks."""
    device = os.stat(path).st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    block = os.path.realpath(f"/sys/dev/block/{name}")
    if os.path.exists(os.path.join(block, "partition")):
        with open(os.path.join(os.path.dirname(block), "dev"), encoding="ascii") as file:
            return file.read().strip()
    if not os.path.exists(block):
        raise Skip(f"{path} is on no block device ({name}): no reading rate can be set")
    return name


@contextlib.contextmanager
def control_group(mib, rate, path):
    """Yields (enter, memory folder): enter() puts the calling process into the group."""
    memory, blkio = (os.path.join(GROUPS, kind, f"llm-peer-{os.getpid()}") for kind in ("memory", "blkio"))
    if not os.path.exists(os.path.join(GROUPS, "blkio/blkio.throttle.read_bps_device")):
        raise Skip("no control groups of version 1 with blkio.throttle.read_bps_device here")
    disk = disk_of(path)
    try:
        os.mkdir(memory)
        os.mkdir(blkio)
        group_write(f"{memory}/memory.limit_in_bytes", mib * MIB)
        group_write(f"{blkio}/blkio.throttle.read_bps_device", f"{disk} {rate * 1000000}")
    except OSError as error:
        for folder in (memory, blkio):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        raise Skip(f"a control group cannot be made: {error}") from error

    def enter():
        group_write(f"{memory}/cgroup.procs", os.getpid())
        group_write(f"{blkio}/cgroup.procs", os.getpid())

    try:
        yield enter, memory
    finally:
        for folder in (memory, blkio):
            for _ in range(50):
                try:
                    os.rmdir(folder)
                    break
                except OSError:
                    time.sleep(0.1)


def drop_cache(path):
    """The next mapping begins cold: pages that others hold would be charged to nobody in the group."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


READER = """
import mmap, os, sys, threading, time
path, seconds, threads, size = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
end, begin, done = os.path.getsize(path) // size * size, time.monotonic(), [0] * threads
def read(number):
    file, page, at = os.open(path, os.O_RDONLY | os.O_DIRECT), mmap.mmap(-1, size), number * size
    while time.monotonic() - begin < seconds:
        done[number] += os.preadv(file, [page], at % end)
        at += threads * size
readers = [threading.Thread(target=read, args=(number,)) for number in range(threads)]
for reader in readers: reader.start()
for reader in readers: reader.join()
print(sum(done) / (time.monotonic() - begin) / 1e6)
"""


def direct_rate(path, enter):
    """MB/s of direct reads that a process in the group really gets."""
    command = [sys.executable, "-c", READER, path] + [str(n) for n in (THROTTLE_SECONDS, READ_THREADS, READ_BYTES)]
    made = subprocess.run(command, preexec_fn=enter, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Skip(f"direct reads in the group: {made.stderr.strip()[-200:]}")
    return float(made.stdout)


def throttled(options, row, rounds):
    """The row, without its ratio where the disk gave more than the rate: then the ratio is of another disk."""
    given = max(column(rounds, "throttle") + column(rounds, "fed"))
    row |= {"disk_mb_s": given}
    if given > THROTTLE_SLACK * options.rate:
        row.pop("ratio", None)
        row["void"] = f"direct reads had {given:.0f} MB/s, the group's rate is {options.rate}"
    return row


def column(rounds, key):
    return [made[key] for made in rounds if made.get(key) is not None]


def ratio(name, goal, ours, theirs, unit="tokens/s"):
    theirs = [value for value in theirs if value is not None]
    row = {"name": name, "goal": goal, "unit": unit, "edge_rt": statistics.median(ours), "edge_rt_all": ours}
    if theirs:
        row |= {"peer": statistics.median(theirs), "peer_all": theirs}
        row["ratio"] = row["edge_rt"] / row["peer"]
    return row


def value(name, goal, number, unit, most=False):
    return {"name": name, "goal": goal, "unit": unit, "value": number, "goal_is_most": most}


def resident_round(options, dtype):
    folder, file = weights(options.work, dtype)
    ours = edge(folder, ["--memory-budget", "2G"])
    return {"decode": ours["tokens_per_second"], "prefill": ours["prefill_tokens_per_second"],
            "peer_decode": llama(file, 0, DECODED), "peer_prefill": llama(file, 32, 0)}


def resident_rows(_, dtype, rounds):
    return [ratio(f"{dtype}, resident, {name}", goal, column(rounds, key), column(rounds, "peer_" + key))
            for key, name, goal in (("decode", f"decode of {DECODED}", 0.95), ("prefill", "prefill of 32", 0.8))]


def group_round(options, mib, _goal):
    folder, file = weights(options.work, "f16")
    with control_group(mib, options.rate, options.work) as (enter, memory):
        made = {"throttle": direct_rate(file, enter)}
    with control_group(mib, options.rate, options.work) as (enter, memory):
        ours = edge(folder, [], enter)
        made["peak"] = group_read(f"{memory}/memory.max_usage_in_bytes") / (mib * MIB)
        made["fails"] = group_read(f"{memory}/memory.failcnt")
    if ours["budget_source"] != "control group":
        raise Skip("edge-rt did not find the group's limit: " + ours["budget_source"])
    streamed = ours["weight_bytes"] - ours["resident_weight_bytes"]
    held = ours["resident_weight_bytes"] + ours["kv_bytes"] + ours["buffer_bytes"]
    made |= {"decode": ours["tokens_per_second"], "overlap": ours["overlap"],
             "disk": ours["disk_bytes_per_token"] / streamed if streamed > 0 else 1,
             "fed": ours["disk_bytes_per_token"] * ours["tokens_per_second"] / 1e6,
             "overhead": (ours["peak_bytes"] - held) / MIB}
    if LLAMA_BENCH:
        drop_cache(file)
        with control_group(mib, options.rate, options.work) as (enter, memory):
            made["peer_decode"] = llama(file, 0, 8, enter)
            made["peer_killed"] = made["peer_decode"] is None
    return made


def group_rows(options, mib, goal, rounds):
    name = f"f16, {mib} MiB group, {options.rate} MB/s"
    killed = sum(column(rounds, "peer_killed"))
    if killed > 0:
        print(f"{name}: llama.cpp was killed for memory in {killed} of {len(rounds)} rounds")
    return [throttled(options, ratio(f"{name}, decode", goal, column(rounds, "decode"), column(rounds, "peer_decode")),
                      rounds),
            value(f"{name}, peak of the group over its limit", 1, max(column(rounds, "peak")), "", True),
            value(f"{name}, failcnt", 0, max(column(rounds, "fails")), "", True),
            value(f"{name}, disk bytes a token over model minus resident", 1.02,
                  statistics.median(column(rounds, "disk")), "", True),
            value(f"{name}, overlap", 0.95, statistics.median(column(rounds, "overlap")), ""),
            value(f"{name}, process beyond weights, buffers and KV", 12, max(column(rounds, "overhead")), "MiB", True)]


def batch_round(options):
    folder, file = weights(options.work, "f16")
    with control_group(128, options.rate, options.work) as (enter, _):
        made = {"throttle": direct_rate(file, enter)}
        for name, prompts in (("one", 1), ("eight", 8)):
            ours = edge(folder, [], enter, prompts=prompts, tokens=32)
            made[name] = ours["tokens_per_second"]
            fed = ours["disk_bytes_per_token"] * ours["tokens_per_second"] / 1e6
            made["fed"] = max(made.get("fed", 0), fed)
    return made


def batch_rows(options, rounds):
    name = f"f16, 128 MiB group, {options.rate} MB/s, 8 sequences against one"
    return [throttled(options, ratio(name, 6, column(rounds, "eight"), column(rounds, "one")), rounds)]


def busy_round(options):
    folder, _ = weights(options.work, "f16")
    made = {"idle": edge(folder, ["--memory-budget", "2G"])["tokens_per_second"]}
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(THREADS - 1)]
    try:
        made["beside"] = edge(folder, ["--memory-budget", "2G"])["tokens_per_second"]
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    return made


def busy_rows(_, rounds):
    return [ratio("f16, resident, beside a busy core against idle", 0.4, column(rounds, "beside"),
                  column(rounds, "idle"))]


# Name: what one round measures, what all rounds say, and what both are given.
CASES = {
    "resident-f16": (resident_round, resident_rows, ["f16"]),
    "resident-f32": (resident_round, resident_rows, ["f32"]),
    "group-256": (group_round, group_rows, [256, 10]),
    "group-128": (group_round, group_rows, [128, 1.6]),
    "batch": (batch_round, batch_rows, []),
    "busy": (busy_round, busy_rows, []),
}


def show(row):
    if "void" in row:
        held, text = False, f"{row['edge_rt']:9.2f} {row.get('peer', 0):9.2f} {'':8}"
    elif "ratio" in row:
        held = row["ratio"] >= row["goal"]
        text = f"{row['edge_rt']:9.2f} {row['peer']:9.2f} {row['ratio']:8.3f}"
    elif "value" in row:
        held = row["value"] <= row["goal"] if row["goal_is_most"] else row["value"] >= row["goal"]
        text = f"{'':9} {'':9} {row['value']:8.3f}"
    else:
        held, text = None, f"{row['edge_rt']:9.2f} {'':9} {'':8}"
    sign = "<=" if row.get("goal_is_most") else ">="
    row["reached"] = held
    verdict = {True: "reached", False: "MISSED", None: "no peer"}[held]
    if "void" in row:
        verdict = "VOID: " + row["void"]
    print(f"{row['name']:62} {text} {sign}{row['goal']:6} {verdict}", flush=True)


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return list(os.uname()) + names[:1]


def earlier(options):
    """What a file that is added to holds; rounds of another machine or rate are not put beside these."""
    if not options.add or not os.path.exists(options.json):
        return {}
    with open(options.json, encoding="utf-8") as file:
        before = json.load(file)
    if before.get("schema_version") != 2 or before["machine"] != machine() or before["rate_mb_s"] != options.rate:
        sys.exit(f"llm_peer.py: {options.json} is of another machine, rate or version; write to another file")
    return before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", default=",".join(CASES), help="with commas between")
    parser.add_argument("--json", help="write all samples here")
    parser.add_argument("--add", action="store_true", help="put these rounds beside those in the JSON file")
    parser.add_argument("--work", default="build/llm-peer", help="where the weights are kept (1.5 GB)")
    parser.add_argument("--rate", type=int, default=300, help="MB/s that the disk gives a group")
    options = parser.parse_args()
    options.work = os.path.abspath(options.work)
    if options.add and not options.json:
        parser.error("--add needs --json FILE")
    names = options.cases.split(",")
    for name in names:
        if name not in CASES:
            parser.error(f"no case \"{name}\"; there are {', '.join(CASES)}")
    for program in (EDGE_RT, LLAMA_BENCH):
        if program and not shutil.which(program):
            parser.error(f"{program} is no program; scripts/build.sh release makes edge-rt")
    os.makedirs(options.work, exist_ok=True)
    before = earlier(options)
    samples, loads, skipped = before.get("samples", {}), before.get("load", {}), []
    for name in names:
        measure, _, arguments = CASES[name]
        for _ in range(options.rounds):
            load = os.getloadavg()[0]
            try:
                made = measure(options, *arguments)
            except Skip as reason:
                skipped.append({"case": name, "reason": str(reason)})
                print(f"{name}: skipped: {reason}")
                break
            samples.setdefault(name, []).append(made)
            loads.setdefault(name, []).append(load)
    print(f"{'':62} {'edge-rt':>9} {'peer':>9} {'ratio':>8}    goal")
    rows = []
    for name, rounds in samples.items():
        print(f"# {name}: {len(rounds)} rounds, load {' '.join(f'{load:.2f}' for load in loads[name])}")
        for row in CASES[name][1](options, *CASES[name][2], rounds):
            show(row)
            rows.append(row)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"schema_version": 2, "benchmark": "llm_peer", "machine": machine(), "rate_mb_s": options.rate,
                       "load": loads, "rows": rows, "samples": samples, "skipped": skipped}, file, indent=1)
            file.write("\n")
    return 1 if any(row["reached"] is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
