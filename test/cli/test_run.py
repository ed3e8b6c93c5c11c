# SPDX-License-Identifier: Apache-2.0
"""`run`, `check` and what can be asked of the trace, with models of the null runtime."""

import csv
import io
import json
import os
import signal
import subprocess
import time
import xml.etree.ElementTree

import support

RUN_KEYS = {"schema_version", "device", "admitted", "rejected", "lanes", "utilisation", "busy",
            "memory", "models", "trace"}
MEMORY_KEYS = {"budget", "planned", "peak", "sum_of_models", "activations_planned",
               "activations_sum"}
MODEL_KEYS = {"name", "lane", "segments", "jobs", "completed", "missed", "aborted", "dropped",
              "skipped", "pending", "overruns", "response_ns", "bound_ns", "execution_ns"}


class Run(support.CommandTest):
    def check_accounts(self, model):
        ends = ("completed", "missed", "aborted", "dropped", "skipped", "pending")
        self.assertEqual(model["jobs"], sum(model[end] for end in ends))

    def test_contract_of_the_report(self):
        workload = self.null_workload()
        result = self.expect_json(0, "run", workload, "--duration", "1.3", "--json", "-q",
                                  "--trace", self.path("t"))
        self.assertLessEqual(RUN_KEYS, set(result))
        self.assertLessEqual(MEMORY_KEYS, set(result["memory"]))
        self.assertEqual(result["admitted"], 1)
        self.assertEqual(result["rejected"], [])
        self.assertEqual(result["lanes"], 1)
        self.assertTrue(0 < result["utilisation"] <= 1)
        self.assertTrue(0 <= result["busy"] <= 1)
        memory = result["memory"]
        self.assertEqual(memory["budget"], 16 << 20)
        self.assertLessEqual(memory["planned"], memory["budget"])
        self.assertGreaterEqual(memory["activations_planned"], 1024)
        model = result["models"][0]
        self.assertLessEqual(MODEL_KEYS, set(model))
        self.assertEqual((model["name"], model["lane"], model["segments"]), ("a", 0, 1))
        self.assertGreaterEqual(model["jobs"], 1)
        self.check_accounts(model)
        self.assertLessEqual({"max", "p50", "p99", "p999"}, set(model["response_ns"]))
        self.assertLessEqual({"max", "mean", "cv", "bound"}, set(model["execution_ns"]))
        self.assertEqual(model["deadline_ns"], 5000000000)
        self.assertTrue(0 < model["bound_ns"] <= model["deadline_ns"])
        self.assertGreater(result["trace"]["records"], 0)
        self.assertEqual(result["trace"]["dropped"], 0)

    def test_the_trace_replays_explains_and_exports(self):
        trace = self.path("t")
        self.expect(0, "run", self.null_workload(), "--duration", "1.3", "-q", "--trace", trace,
                    "--perfetto", self.path("p"))
        self.assertGreater(os.path.getsize(self.path("p")), 100)
        replayed = self.expect_json(0, "replay", trace, "--json")
        self.assertGreater(replayed["decisions"], 0)
        self.assertEqual(replayed["identical"], replayed["decisions"])
        self.assertIsNone(replayed["first_difference"])
        # What another policy would have done is an answer, not a failure.
        other = self.expect_json(0, "replay", trace, "--json", "--policy", "np-dm")
        self.assertEqual(other["decisions"], replayed["decisions"])
        self.refused(2, ["--policy", "np-dm"], "replay", trace, "--policy", "np-md")

        exported, _ = self.expect(0, "trace", "export", trace)
        records = [json.loads(line) for line in exported.splitlines()]
        self.assertTrue(all(r["schema_version"] == 1 and r["sentence"] for r in records))
        marks = [r for r in records if r["kind"] == "mark"]
        self.assertEqual([r["mark"] for r in marks], [0, 1])
        self.assertGreaterEqual(marks[1]["time_ns"] - marks[0]["time_ns"], 1200000000)
        self.assertIn("the run started at", marks[0]["sentence"])
        self.expect(0, "trace", "export", "--format", "perfetto", "--output", self.path("q"), trace)
        with open(self.path("p"), "rb") as a, open(self.path("q"), "rb") as b:
            self.assertEqual(a.read(), b.read())

        job = next(r["job"] for r in records if r["kind"] == "dispatch")
        story = self.expect_json(0, "explain", trace, "--job", str(job), "--json")["story"]
        kinds = [r["kind"] for r in story]
        for kind in ("submit", "dispatch", "execute"):
            self.assertIn(kind, kinds)
        times = [r["time_ns"] for r in story]
        self.assertEqual(times, sorted(times))
        dispatch = next(r for r in records if r["kind"] == "dispatch")
        around = self.expect_json(0, "explain", trace, "--at", f"{dispatch['time_ns'] / 1e9:.9f}",
                                  "--window", "1ms", "--json")
        self.assertIn("dispatch", [r["kind"] for r in around["story"]])
        model = self.expect_json(0, "explain", trace, "--model", "a", "--json")
        self.assertIn("admitted", [r["kind"] for r in model["story"]])
        self.refused(2, ["--model b"], "explain", trace, "--model", "b")
        self.refused(2, ["--job"], "explain", trace, "--job", "999999999")
        out, _ = self.expect(0, "explain", trace)
        self.assertIn("Models: a", out)

    def test_a_damaged_trace_is_refused(self):
        trace = self.path("t")
        self.expect(0, "run", self.null_workload(), "--duration", "0.2", "-q", "--trace", trace)
        with open(trace, "rb") as file:
            bytes_ = bytearray(file.read())
        bytes_[len(bytes_) // 2] ^= 0xFF
        damaged = self.write("damaged", bytes(bytes_))
        for command in (["replay"], ["explain"], ["trace", "export"]):
            self.refused(2, ["damaged"], *command, damaged)

    def test_refused_models_are_reported_and_end_with_3(self):
        self.write("slow.null", support.null_model(spin="20ms"))
        self.write("a.null", support.null_model())
        slow = 'name = "slow"\npath = "slow.null"\nbackend = "null"\nperiod = "10ms"\n'
        slow += support.QUICK
        good = 'name = "a"\npath = "a.null"\nbackend = "null"\nperiod = "5s"\n'
        good += support.QUICK
        workload = self.workload([good, slow])
        result = self.expect_json(3, "run", workload, "--duration", "0.7", "--json", "-q")
        self.assertEqual(result["admitted"], 1)
        self.assertEqual([r["model"] for r in result["rejected"]], ["slow"])
        self.assertTrue(result["rejected"][0]["reason"])
        self.assertEqual([m["name"] for m in result["models"]], ["a"])
        self.assertGreaterEqual(result["models"][0]["jobs"], 1)
        self.expect(0, "run", workload, "--duration", "0.1", "--json", "-q", "--allow-refused")
        # An expected refusal is no failure ...
        workload = self.workload([good, slow + 'expect = "refuse"\n'])
        result = self.expect_json(0, "check", workload, "--json", "-q")
        self.assertTrue(result["rejected"][0]["expected"])
        out, _ = self.expect(0, "check", workload, "-q")
        self.assertIn("slow refused (as expected)", out)
        # ... and an unexpected admission is one.
        workload = self.workload([good + 'expect = "refuse"\n'])
        self.expect_json(3, "check", workload, "--json", "-q")
        # Nothing admitted: the same keys, nothing ran.
        workload = self.workload([slow])
        result = self.expect_json(3, "run", workload, "--duration", "60", "--json", "-q")
        self.assertLessEqual(RUN_KEYS, set(result))
        self.assertEqual((result["admitted"], result["models"]), (0, []))

    def test_a_compute_budget_below_the_bound_is_refused(self):
        trace = self.path("t")
        workload = self.null_workload('compute = "1us"\n')
        result = self.expect_json(3, "run", workload, "--duration", "0.1", "--json", "-q", "--trace",
                                  trace)
        (refused,) = result["rejected"]
        self.assertEqual(refused["rationale"], "compute-limit")
        self.assertIn("its compute budget 1.00 us a period; raise `compute`", refused["reason"])
        out, _ = self.expect(0, "trace", "export", trace)
        (record,) = [r for r in map(json.loads, out.splitlines()) if r["kind"] == "refused"]
        self.assertEqual(record["limit_ns"], 1000)
        self.assertEqual(record["bound_ns"], refused["execution_bound_ns"])
        self.assertIn("above its compute budget 1.00 us", record["sentence"])

    def test_models_larger_than_the_plan_are_refused(self):
        self.write("large.null", support.null_model(weights=4 << 20))
        body = 'name = "large"\npath = "large.null"\nbackend = "null"\nperiod = "30s"\n'
        body += support.QUICK
        result = self.expect_json(3, "check", self.workload([body], device='memory = "2MiB"'),
                                  "--json", "-q")
        self.assertEqual(result["rejected"][0]["rationale"], "memory")
        self.assertGreaterEqual(result["rejected"][0]["memory_missing_bytes"], 2 << 20)
        why = result["rejected"][0]["memory_refusal"]
        self.assertEqual(why["missing_bytes"], why["need_bytes"] - why["free_bytes"])
        self.assertIsNone(why["fits_without"])
        self.assertEqual(why["activations_peak"]["largest"], [{"tensor": 0, "bytes": 1024}])
        first = body.replace('"large"', '"first"')
        result = self.expect_json(
            3, "check", self.workload([first, body], device='memory = "6MiB"'), "--json", "-q")
        self.assertEqual(result["rejected"][0]["memory_refusal"]["fits_without"], "first")
        result = self.expect_json(
            3, "check", self.workload([body + 'memory = "1MiB"\n'], device='memory = "16MiB"'),
            "--json", "-q")
        self.assertEqual(result["rejected"][0]["rationale"], "model-budget")

    def test_the_memory_plan_is_drawn(self):
        picture = self.path("memory.svg")
        self.expect(0, "check", self.null_workload(), "-q", "--svg", picture)
        root = xml.etree.ElementTree.parse(picture).getroot()
        titles = [node.text for node in root.iter("{http://www.w3.org/2000/svg}title")]
        self.assertTrue(any(text.startswith("a: activation 0") for text in titles), titles)
        self.assertTrue(any(text.startswith("a: weights") for text in titles), titles)
        _, err = self.expect(4, "check", self.null_workload(), "-q", "--svg", "/nowhere/m.svg")
        self.assertIn("--svg /nowhere/m.svg cannot be written", err)

    def test_tables_for_people_and_rows_for_programs(self):
        workload = self.null_workload()
        out, err = self.expect(0, "run", workload, "--duration", "0.7", "-q")
        self.assertEqual(err, "")
        for word in ("admitted", "worst response", "deadline", "overruns", "Memory:", "Trace:"):
            self.assertIn(word, out)
        out, _ = self.expect(0, "check", workload, "-q", "-o", "csv")
        rows = list(csv.DictReader(io.StringIO(out)))
        self.assertEqual(rows[0]["name"], "a")
        self.assertEqual(int(rows[0]["period_ns"]), 5000000000)
        out, _ = self.expect(0, "check", workload, "-q", "--output", "jsonl")
        self.assertEqual([json.loads(line)["name"] for line in out.splitlines()], ["a"])

    def test_progress_goes_to_stderr_and_can_be_silenced(self):
        workload = self.null_workload()
        out, err = self.expect(0, "check", workload, "--json", "--fresh-profiles")
        json.loads(out)
        self.assertIn("aegisrt: a: ", err)
        for option in ("-q", "--progress=never"):
            _, err = self.expect(0, "check", workload, "--json", "--fresh-profiles", option)
            self.assertEqual(err, "")

    def test_options_replace_what_the_workload_says(self):
        result = self.expect_json(0, "check", self.null_workload(), "--json", "-q", "--policy",
                                  "np-dm")
        self.assertEqual(result["policy"], "np-dm")

    def start_run(self, trace, extra=""):
        """A run without end, past its first dispatch."""
        process = subprocess.Popen(
            [support.PROGRAM, "run", self.null_workload(extra), "--json", "-q", "--trace", trace],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder, env=self.environment)
        # The handler is there when the trace holds what is written at the start of the run.
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            done = self.run_program("explain", trace, "--json", "--limit", "1")
            if done.returncode == 0 and "dispatch" in json.loads(done.stdout)["summary"]:
                break
            time.sleep(0.05)
        return process

    def end_run(self, process):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=support.LONGEST_SECONDS)
        self.assertEqual(process.returncode, 0, err)
        return json.loads(out)

    def test_responses_beyond_their_proof_name_the_premise(self):
        trace = self.path("t")
        process = self.start_run(trace, 'deadline = "60s"\n')
        # Longer than a period: a release falls into the first of its five seconds, and is seen late by one at least.
        process.send_signal(signal.SIGSTOP)
        time.sleep(6)
        process.send_signal(signal.SIGCONT)
        time.sleep(2)
        result = self.end_run(process)
        past, proofs = result["models"][0]["past_proof"], result["lanes_proofs"]
        self.assertEqual(len(proofs), 1)
        self.assertEqual(sorted(proofs[0]["voided"]), ["execution", "overhead", "wake"])
        self.assertGreaterEqual(proofs[0]["voided"][past["premise"]], 1)
        self.assertGreaterEqual(past["jobs"], 1)
        self.assertEqual(past["unexplained"], 0)
        self.assertGreater(past["response_ns"], past["proved_ns"])
        self.assertIn(past["premise"], ("execution", "overhead", "wake"))
        cause = past["cause"]
        self.assertEqual((cause["model"], cause["lane"]), ("a", 0))
        self.assertGreater(cause["measured_ns"], cause["allowed_ns"])
        self.assertGreater(cause["void_since_ns"], 0)
        told = self.expect_json(0, "explain", trace, "--job", str(past["job"]), "--json")["told"]
        self.assertIn("beyond what was proved", "\n".join(told))
        self.assertIn("What voided the proofs of lane 0: a job", "\n".join(told))

    def test_an_interrupted_run_is_reported(self):
        trace = self.path("t")
        result = self.end_run(self.start_run(trace))
        self.assertGreaterEqual(result["models"][0]["jobs"], 1)
        self.expect_json(0, "replay", trace, "--json")


class Profile(support.CommandTest):
    def test_profile_of_a_workload(self):
        workload = self.null_workload()
        result = self.expect_json(0, "profile", workload, "--json", "-q", "--samples", "120",
                                  "--confidence", "0.9")
        model = result["models"][0]
        self.assertEqual(model["name"], "a")
        self.assertGreaterEqual(model["loaded_ns"]["samples"], 120)
        self.assertGreaterEqual(model["loaded_ns"]["best"], 20000)
        self.assertGreaterEqual(model["bound_ns"], model["loaded_ns"]["median"])
        self.assertEqual(model["quantile"], 0.9)
        self.assertGreaterEqual(model["memory_bytes"]["weights"], 256)
        self.refused(2, ["--model b", "a"], "profile", workload, "--model", "b", "-q")
        self.refused(2, ["--input"], "profile", workload, "--input", "x=1")

    def test_profile_of_a_model_file(self):
        path = self.write("a.null", support.null_model())
        out, _ = self.expect(0, "profile", path, "--backend", "null", "-q", "--input", "x=1,4")
        self.assertIn("bound C", out)
        self.refused(2, ["NAME="], "profile", path, "--input", "x")
        self.refused(2, ["x=1,a"], "profile", path, "--input", "x=1,a")
        self.refused(2, ["x=1,0"], "profile", path, "--input", "x=1,0")
        self.refused(2, ['x'], "profile", path, "--backend", "null", "-q", "--input", "x=1,5")
        self.refused(2, ["nowhere"], "profile", "nowhere.null", "--backend", "null", "-q")


if __name__ == "__main__":
    support.main()
