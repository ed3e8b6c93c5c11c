# SPDX-License-Identifier: Apache-2.0
"""`simulate`, and what `replay --policy` and `explain` tell of its traces."""

import json
import xml.etree.ElementTree as ElementTree

import support

DAVIS = {"policy": "np-fp", "tasks": [{"name": "a", "C": 2, "T": 10}, {"name": "b", "C": 3, "T": 15},
                                      {"name": "c", "C": 5, "T": 50}]}
# Nasri & Fohler 2016, figure 2: np-edf misses, cw-edf does not.
WINDOW = {"policy": "np-edf", "tasks": [{"name": "a", "C": 3, "T": 10}, {"name": "b", "C": 6, "T": 12},
                                        {"name": "c", "C": 8, "T": 60}]}


class Simulate(support.CommandTest):
    def taskset(self, tasks, name="set.json"):
        return self.write(name, json.dumps(tasks))

    def simulate(self, tasks, *options, code=0):
        return self.expect_json(code, "simulate", self.taskset(tasks), "--json", *options)

    def by_name(self, result):
        return {task["name"]: task for task in result["tasks"]}

    def test_a_search_attains_the_proved_responses(self):
        result = self.simulate(DAVIS, "--search", "20")
        tasks = self.by_name(result)
        self.assertEqual([tasks[n]["max_response"] for n in "abc"], [6, 9, 10])
        self.assertEqual([tasks[n]["bound"] for n in "abc"], [6, 9, 10])
        self.assertTrue(result["schedulable"])
        self.assertEqual((result["unit"], result["runs"], result["missed"]), ("tick", 20, 0))
        self.assertEqual(result["jobs"], sum(t["jobs"] for t in result["tasks"]))
        self.assertGreater(result["jobs_per_second"], 0)
        self.assertEqual(result["worst"]["task"], "a")
        self.assertEqual(result["worst"]["kind"], "critical instant")

    def test_the_same_seed_gives_the_same(self):
        def figures(*options):
            result = self.simulate(WINDOW, "--sporadic", "--execution", "random", "--offsets",
                                   "random", "--jobs", "5000", *options)
            return [(t["jobs"], t["missed"], t["max_response"]) for t in result["tasks"]]

        self.assertEqual(figures("--seed", "5"), figures("--seed", "5"))
        self.assertNotEqual(figures("--seed", "5"), figures("--seed", "6"))

    def test_critical_window_meets_what_edf_misses(self):
        edf = self.simulate(WINDOW)
        window = self.simulate(WINDOW, "--policy", "cw-edf")
        self.assertGreater(edf["missed"], 0)
        self.assertFalse(edf["schedulable"])
        self.assertEqual(window["missed"], 0)
        self.assertIsNone(window["schedulable"])
        self.assertTrue(all(task["bound"] is None for task in window["tasks"]))

    def test_durations_jobs_and_lanes(self):
        result = self.simulate(DAVIS, "--duration", "300")
        self.assertEqual([t["jobs"] for t in result["tasks"]], [30, 20, 6])
        self.assertAlmostEqual(self.simulate(DAVIS, "--jobs", "20000")["jobs"], 20000, delta=20)
        self.assertEqual(self.simulate(DAVIS, "--periodic", "--duration", "300")["tasks"], result["tasks"])
        lanes = self.simulate(DAVIS, "--lanes", "3", "--duration", "300")
        self.assertEqual(sorted(t["lane"] for t in lanes["tasks"]), [0, 1, 2])
        self.assertEqual([t["max_response"] for t in lanes["tasks"]], [2, 3, 5])

    def test_segments_are_preemption_points(self):
        tasks = {"policy": "fpp", "tasks": [{"name": "a", "C": 2, "T": 10},
                                            {"name": "b", "C": 8, "T": 30, "segments": [4, 4]}]}
        whole = json.loads(json.dumps(tasks).replace(', "segments": [4, 4]', ""))
        self.assertEqual(self.by_name(self.simulate(tasks, "--search", "5"))["a"]["max_response"], 5)
        self.assertEqual(self.by_name(self.simulate(whole, "--search", "5"))["a"]["max_response"], 9)
        self.assertEqual(self.simulate(tasks)["policy"], "fpp")
        self.assertIn("fpp on 1 lane", self.expect(0, "simulate", self.taskset(tasks))[0])
        result = self.simulate(tasks, "--search", "5", "--policy", "np-fp")
        self.assertEqual(self.by_name(result)["a"]["max_response"], 9)
        result = self.simulate({**tasks, "policy": "np-fp"}, "--search", "5", "--policy", "fpp")
        self.assertEqual(self.by_name(result)["a"]["max_response"], 5)

    def test_what_makes_no_sense_is_refused(self):
        path = self.taskset(DAVIS)
        fp = self.taskset({"policy": "fp", "tasks": DAVIS["tasks"]}, "fp.json")
        self.refused(2, ["preemptive", "--policy"], "simulate", fp)
        self.expect(0, "simulate", fp, "--policy", "np-fp")
        self.refused(2, ["--execution profile", "no profiles"], "simulate", path, "--execution", "profile")
        self.refused(2, ["--execution", "worst, random or profile"], "simulate", path, "--execution", "x")
        self.refused(2, ["--duration and --jobs"], "simulate", path, "--duration", "5", "--jobs", "5")
        self.refused(2, ["did you mean \"np-edf\""], "simulate", path, "--policy", "np-edg")
        self.refused(2, ["--refused"], "simulate", path, "--refused")
        self.refused(2, ["--lanes"], "simulate", self.null_workload(), "--lanes", "2")
        self.refused(4, ["no/such/folder.svg cannot be written"], "simulate", path, "--gantt",
                     self.path("no/such/folder.svg"))

    def test_the_picture_shows_the_worst_case(self):
        odd = json.loads(json.dumps(WINDOW).replace('"a"', '"<a&b>"'))
        self.simulate(odd, "--search", "10", "--gantt", self.path("g.svg"))
        root = ElementTree.parse(self.path("g.svg")).getroot()
        self.assertTrue(root.tag.endswith("svg"))
        titles = [node.text for node in root.iter() if node.tag.endswith("title")]
        classes = [node.get("class") for node in root.iter()]
        self.assertTrue(any("<a&b> job" in title for title in titles))
        self.assertTrue(any("blocked" in title for title in titles))
        self.assertTrue(any("missed" in title for title in titles))
        for kind in ("run", "run miss", "blocked", "release", "deadline"):
            self.assertIn(kind, classes)

    def test_a_trace_replays_and_explains(self):
        trace = self.path("t")
        self.simulate(WINDOW, "--search", "5", "--trace", trace)
        replayed = self.expect_json(0, "replay", trace, "--json")
        self.assertGreater(replayed["decisions"], 20)
        self.assertEqual(replayed["identical"], replayed["decisions"])
        self.assertNotIn("what_if", replayed)
        exported, _ = self.expect(0, "trace", "export", trace)
        self.assertIn('"execute"', exported)

        story = self.expect_json(0, "explain", trace, "--job", "2", "--json")
        self.assertEqual(story["told"], [
            "b job 2 was released at 1, due at 13.",
            "c job 3 had the lane since 0 and is not preempted: it blocked for 7.",
            "  c job 3: key 60 against its 13.",
            "a went first 1 time, for 3 in all (smaller-key).",
            "  a job 1: key 11 against its 13.",
            "It was dispatched on lane 0 at 11, 10 after its release, because its key was smaller "
            "than the runner-up's: key 13 against 21 of a.",
            "It ran for 6 in 1 segment; bounded by 6.",
            "It ended at 17: a response of 16, 4 after its deadline.",
            "Late because every bound held and yet it was late.",
            "The proved worst response is 16: this was 100 % of it.",
        ])
        usual = self.expect_json(0, "explain", trace, "--model", "b", "--all", "--limit", "1000", "--json")
        sentences = "\n".join(str(entry) for entry in usual["story"])
        self.assertRegex(sentences, r"b job 2 submitted at \S+ ns: released at 1 ns, due as admitted")
        fewer = self.expect_json(0, "explain", trace, "--model", "b", "--all", "--limit", "3", "--json")
        self.assertEqual(len(fewer["story"]), 3)
        plain = self.expect_json(0, "explain", trace, "--model", "b", "--json")
        self.assertLess(len(plain["story"]), len(usual["story"]))
        told = plain["told"]
        self.assertRegex(told[0], r"^b had 10 jobs: \d+ in time, \d+ missed, 0 aborted")
        self.assertIn("b job 2 was released at 1, due at 13.", told)
        at = self.expect_json(0, "explain", trace, "--at", "12ns", "--json")["told"]
        for same in ("12", "+12", "12 ns"):  # ticks have no unit, and sentences write a blank
            self.assertEqual(self.expect_json(0, "explain", trace, "--at", same, "--json")["told"], at)
        self.assertEqual(at[0], "At 12 lane 0 was with b job 2 segment 0: since 11, until 17, "
                                "because its key was smaller than the runner-up's.")
        self.assertEqual(at[1], "a job 4 had waited since 11 and was dispatched at 17.")
        at = self.expect_json(0, "explain", trace, "--at", "1h", "--json")["told"]
        self.assertEqual(len(at), 1)
        self.assertIn("is not in this trace, which goes from 0 to ", at[0])

    def test_waiting_is_told(self):
        trace = self.path("t")
        self.simulate(WINDOW, "--policy", "cw-edf", "--trace", trace)
        records, _ = self.expect(0, "trace", "export", trace)
        wait = next(json.loads(line) for line in records.splitlines() if '"idle-until"' in line)
        lines = [json.loads(line) for line in records.splitlines()]
        job = next(r["job"] for r in lines if r["kind"] == "dispatch" and r["model"] == "c")
        told = self.expect_json(0, "explain", trace, "--job", str(job), "--json")["told"]
        self.assertTrue(any(line.startswith(f"The policy left the lane idle from {wait['time_ns']} until ")
                            for line in told), told)

    def test_what_another_policy_would_have_done(self):
        trace = self.path("t")
        recorded = self.simulate(WINDOW, "--jobs", "500", "--trace", trace)
        other = self.expect_json(0, "replay", trace, "--policy", "cw-edf", "--json")
        self.assertLess(other["identical"], other["decisions"])
        self.assertIsNotNone(other["first_difference"])
        what_if = other["what_if"]
        self.assertEqual((what_if["policy"], what_if["recorded_policy"]), ("cw-edf", "np-edf"))
        window = self.by_name(self.simulate(WINDOW, "--jobs", "500", "--policy", "cw-edf"))
        for model in what_if["models"]:
            was = self.by_name(recorded)[model["name"]]
            would = window[model["name"]]
            self.assertEqual(model["recorded"]["missed"], was["missed"])
            self.assertEqual(model["recorded"]["response_ns"]["max"], was["max_response"])
            self.assertEqual(model["recorded_policy_simulated"], model["recorded"])
            self.assertEqual(model["simulated"]["missed"], would["missed"])
            self.assertEqual(model["simulated"]["response_ns"]["max"], would["max_response"])
        table, _ = self.expect(0, "replay", trace, "--policy", "cw-edf")
        self.assertIn("within 0 ns of the recorded ones", table)

    def test_a_workload_is_simulated_from_its_profiles(self):
        workload = self.null_workload()
        for execution in ("worst", "profile"):
            result = self.expect_json(0, "simulate", workload, "--execution", execution,
                                      "--duration", "60", "--json", "-q")
            task = result["tasks"][0]
            self.assertEqual((result["unit"], task["jobs"], task["missed"]), ("ns", 12, 0))
            self.assertTrue(0 < task["max_response"] <= task["bound"] <= task["deadline"])
        window = self.expect_json(0, "simulate", workload, "--policy", "cw-edf", "--json", "-q")
        self.assertEqual(window["policy"], "cw-edf")

    def test_policies_without_a_proof_run_nothing(self):
        workload = self.null_workload()
        for command in ("run", "check"):
            self.refused(2, ["no proof", "simulate"], command, workload, "--policy", "cw-edf")
        named = self.null_workload(schedule='policy = "cw-edf"', name="cw.toml")
        self.refused(2, ["cw.toml", "no proof", "simulate"], "check", named, "-q")


class Background(support.CommandTest):
    def mixed(self, schedule=""):
        self.write("a.null", support.null_model())
        self.write("b.null", support.null_model(spin="300us"))
        def body(name, file, more):
            return (f'name = "{name}"\npath = "{file}"\nbackend = "null"\n{more}\n' + support.QUICK)
        return self.workload([body("idle", "b.null", 'class = "background"\nweight = 3'),
                              body("rest", "b.null", 'class = "background"'),
                              body("work", "a.null", 'period = "5s"')], schedule=schedule)

    def test_background_runs_in_the_slack(self):
        for policy in ("np-edf", "np-fp", "fifo"):
            trace = self.path("t-" + policy)
            result = self.expect_json(0, "run", self.mixed(), "--duration", "1.3", "--json", "-q",
                                      "--policy", policy, "--trace", trace)
            models = {m["name"]: m for m in result["models"]}
            self.assertEqual(result["admitted"], 3)
            for name, weight in (("idle", 3), ("rest", 1)):
                model = models[name]
                self.assertTrue(model["background"])
                for key in ("deadline_ns", "period_ns", "bound_ns", "blocking_ns"):
                    self.assertIsNone(model[key], key)
                self.assertGreater(model["completed"], 10)
                self.assertEqual(model["missed"], 0)
                self.assertEqual(model["slack"]["weight"], weight)
                self.assertGreater(model["slack"]["jobs_per_second"], 10)
                self.assertTrue(0 < model["slack"]["share"] < 1)
            self.assertAlmostEqual(models["idle"]["slack"]["share"] +
                                   models["rest"]["slack"]["share"], 1)
            # Virtual times stay within a segment of each other, so shares follow the weights.
            self.assertGreater(models["idle"]["slack"]["share"], 0.6)
            work = models["work"]
            self.assertEqual(work["deadline_ns"], 5000000000)
            self.assertGreater(work["bound_ns"], models["idle"]["enforceable_bound_ns"])
            self.assertNotIn("slack", work)
            replayed = self.expect_json(0, "replay", trace, "--json")
            self.assertEqual(replayed["identical"], replayed["decisions"])
        told = self.expect_json(0, "explain", trace, "--model", "idle", "--json")["told"]
        self.assertIn("as background", told[0])
        self.assertTrue(any("of what background models got" in line for line in told), told)
        other = self.expect_json(0, "replay", trace, "--policy", "np-edf", "--json")
        self.assertEqual([m["background"] for m in other["what_if"]["models"]], [True, True, False])

    def test_a_background_model_that_fails_stops(self):
        # The fourth run in service fails for good: no job after it, and no end of attempts.
        self.write("bad.null", support.null_model(faults=[{"kind": "fail", "run": 4}]))
        self.write("a.null", support.null_model())
        workload = self.workload([
            'name = "idle"\npath = "bad.null"\nbackend = "null"\nclass = "background"\n' +
            support.QUICK,
            'name = "work"\npath = "a.null"\nbackend = "null"\nperiod = "1s"\n' +
            support.QUICK])
        trace = self.path("t")
        result = self.expect_json(0, "run", workload, "--duration", "2.3", "--json", "-q",
                                  "--trace", trace)
        idle, work = result["models"]
        self.assertEqual(idle["completed"], 3)
        self.assertEqual(idle["aborted"], 2)
        self.assertEqual(idle["pending"], 0)
        self.assertLessEqual(idle["refused"], 2)
        self.assertGreaterEqual(work["completed"], 2)
        self.assertLess(result["scheduler"]["decisions"], 200)
        told = self.expect_json(0, "explain", trace, "--model", "idle", "--json")["told"]
        self.assertTrue(any("3 in time" in line and "2 aborted" in line for line in told), told)

    def test_what_would_block_too_long_is_refused(self):
        self.write("a.null", support.null_model())
        self.write("long.null", support.null_model(spin="200ms"))
        workload = self.workload([
            'name = "idle"\npath = "long.null"\nbackend = "null"\nclass = "background"\n' +
            'expect = "refuse"\noverrun = "report"\n' + support.QUICK,
            'name = "work"\npath = "a.null"\nbackend = "null"\nperiod = "5s"\n' +
            'deadline = "280ms"\n' + support.QUICK])
        # Its bound is 200 ms and the margin, more than what 280 ms leave: the other keeps its place.
        result = self.expect_json(0, "check", workload, "--json", "-q")
        self.assertEqual([m["name"] for m in result["models"]], ["work"])
        self.assertEqual([r["model"] for r in result["rejected"]], ["idle"])
        self.assertIn("left to be blocked", result["rejected"][0]["reason"])


if __name__ == "__main__":
    support.main()
