# SPDX-License-Identifier: Apache-2.0
"""`plan`: the contract of its JSON and its exit codes."""

import csv
import io
import json
import xml.etree.ElementTree

import support

# Two that never meet, and one that meets both.
SMALL = "id,lower,upper,size\n0,0,5,100\n1,5,9,60\n2,0,9,30\n"


class Plan(support.CommandTest):
    def plan(self, code, text, *options):
        return self.expect_json(code, "plan", "--json", *options, self.write("b.csv", text))

    def check(self, text, result):
        rows = [[int(v) for v in line.split(",")] for line in text.splitlines()[1:]]
        self.assertEqual(set(result["offsets"]), {str(row[0]) for row in rows})
        for i, (a, a_lower, a_upper, a_size) in enumerate(rows):
            start = result["offsets"][str(a)]
            self.assertLessEqual(start + a_size, result["height"])
            for b, b_lower, b_upper, b_size in rows[:i]:
                other = result["offsets"][str(b)]
                apart = start + a_size <= other or other + b_size <= start
                self.assertTrue(apart or a_upper <= b_lower or b_upper <= a_lower)

    def test_minimises_height_without_a_capacity(self):
        result = self.plan(0, SMALL)
        self.assertTrue(result["feasible"])
        self.assertTrue(result["optimal"])
        self.assertEqual(result["height"], 130)
        self.assertEqual(result["lower_bound"], 130)
        self.assertGreaterEqual(result["seconds"], 0)
        self.check(SMALL, result)

    def test_fits_a_capacity_exactly(self):
        result = self.plan(0, SMALL, "--capacity", "130")
        self.assertEqual(result["capacity"], 130)
        self.assertTrue(result["feasible"])
        self.check(SMALL, result)

    def test_infeasible_names_the_peak(self):
        result = self.plan(3, SMALL, "--capacity", "129")
        self.assertFalse(result["feasible"])
        self.assertEqual(result["capacity"], 129)
        self.assertEqual(result["lower_bound"], 130)
        self.assertEqual(result["peak"]["bytes"], 130)
        self.assertEqual(sorted(result["peak"]["buffers"]), [0, 2])
        self.assertTrue(0 <= result["peak"]["at"] < 5)
        out, _ = self.expect(3, "plan", "--capacity", "129", self.path("b.csv"))
        self.assertIn("Infeasible", out)
        self.assertIn("is 1 too few", out)
        self.assertEqual(result["missing_bytes"], 1)
        self.assertIn("130 bytes", out)

    def test_what_is_wrong_in_a_list_names_the_file(self):
        for rows in ("1,5,5,1\n", "1,0,5,0\n", "1,0,5,1\n1,2,3,1\n"):
            path = self.write("b.csv", "id,lower,upper,size\n" + rows)
            self.refused(2, [path, "buffer"], "plan", path)

    def test_limits_end_the_search_undecided(self):
        # Dense random lifetimes at the lower bound: one node decides nothing.
        state, lines = 7, ["id,lower,upper,size"]
        for i in range(120):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            lower, length, size = state >> 60, 1 + (state >> 56) % 7, 1 + (state >> 40) % 997
            lines.append(f"{i},{lower},{lower + length},{size}")
        text = "\n".join(lines) + "\n"
        bound = self.plan(0, text, "--nodes", "1")["lower_bound"]
        done = self.run_program("plan", "--json", "--nodes", "1", "--capacity", str(bound),
                                self.path("b.csv"))
        result = json.loads(done.stdout)
        verdicts = {0: "feasible", 3: "infeasible", 6: "undecided"}
        self.assertEqual(result["verdict"], verdicts[done.returncode])
        self.assertNotEqual(done.returncode, 3)

    def test_threads_never_change_the_plan(self):
        state, lines = 11, ["id,lower,upper,size"]
        for i in range(140):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            lower, length, size = state >> 59, 1 + (state >> 55) % 9, 1 + (state >> 40) % 997
            lines.append(f"{i},{lower},{lower + length},{size}")
        text = "\n".join(lines) + "\n"
        results = [self.plan(0, text, "--nodes", "40000", "--threads", str(threads))
                   for threads in (1, 2, 8)]
        for result in results:
            result.pop("seconds")
            self.assertEqual(result, results[0])
        self.check(text, results[0])

    def test_columns_of_alignment_and_offset(self):
        text = "id,lower,upper,size,offset,alignment\n0,0,5,100,,\n1,0,5,60,256,64\n2,1,3,30,,32\n"
        self.refused(2, ["b.csv:2:", "alignment"], "plan", self.write("b.csv", text))
        result = self.plan(0, text.replace(",,\n", ",,0\n"))
        self.assertEqual(result["offsets"]["1"], 256)
        self.assertEqual(result["offsets"]["2"] % 32, 0)
        self.assertEqual(result["height"], 316)
        self.refused(2, ["b.csv:1:", "colour"], "plan",
                     self.write("b.csv", "id,lower,upper,size,colour\n"))

    def test_explains_a_pair(self):
        text = SMALL
        result = self.plan(0, text, "--explain", "1,0")
        self.assertEqual(result["explain"]["buffers"], [0, 1])
        self.assertFalse(result["explain"]["live_together"])
        self.assertEqual(result["explain"]["shared_bytes"], 60)
        self.assertEqual(result["explain"]["happens_before"],
                         {"before": 0, "last_use_before": 5, "after": 1, "first_use": 5})
        result = self.plan(0, text, "--explain", "0,2")
        self.assertTrue(result["explain"]["live_together"])
        self.assertEqual(result["explain"]["shared_bytes"], 0)
        self.assertNotIn("happens_before", result["explain"])
        path = self.path("b.csv")
        out, _ = self.expect(0, "plan", "--explain", "0,1", path)
        self.assertIn("share the bytes", out)
        self.refused(2, ["7"], "plan", "--explain", "0,7", path)
        self.refused(2, ["--explain"], "plan", "--explain", "0", path)

    def test_draws_the_plan(self):
        picture = self.path("plan.svg")
        self.plan(3, SMALL, "--capacity", "129", "--svg", picture)
        root = xml.etree.ElementTree.parse(picture).getroot()
        name = "{http://www.w3.org/2000/svg}"
        boxes = [r for r in root.iter(name + "rect") if r.find(name + "title") is not None]
        self.assertEqual(len(boxes), 3)
        hovers = [box.find(name + "title").text for box in boxes]
        for i in range(3):
            self.assertEqual(sum(f"buffer {i}\n" in hover for hover in hovers), 1)
        marks = [line.get("class") for line in root.iter(name + "line")]
        for mark in ("mark capacity", "mark height", "mark bound"):
            self.assertIn(mark, marks)
        # Up is up: what lies lower in memory is drawn further down.
        tops = {hover.split()[1]: float(box.get("y")) + float(box.get("height"))
                for hover, box in zip(hovers, boxes)}
        offsets = self.plan(0, SMALL)["offsets"]
        self.assertEqual(offsets["0"] < offsets["2"], tops["0"] > tops["2"])
        done = self.run_program("plan", "--svg", self.path("no/such/folder.svg"), self.path("b.csv"))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"folder.svg", done.stderr)

    def test_malformed_files_are_refused_with_line_and_column(self):
        self.refused(2, ["b.csv:3:"], "plan", self.write("b.csv", SMALL.replace("1,5", "1,x")))
        self.refused(2, ["b.csv:1:"], "plan", self.write("b.csv", "a,b\n1,2\n"))
        # A lifetime that ends before it begins.
        self.refused(2, ["0"], "plan", self.write("b.csv", "id,lower,upper,size\n0,5,5,10\n"))

    def test_lines_and_csv(self):
        path = self.write("b.csv", SMALL)
        out, _ = self.expect(0, "plan", "-o", "jsonl", path)
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([line["id"] for line in lines], [0, 1, 2])
        self.assertTrue(all(line["schema_version"] == 1 for line in lines))
        out, _ = self.expect(0, "plan", "-o", "csv", path)
        rows = list(csv.DictReader(io.StringIO(out)))
        self.assertEqual([int(row["size"]) for row in rows], [100, 60, 30])
        self.assertEqual([int(row["offset"]) for row in rows], [line["offset"] for line in lines])


class Admit(support.CommandTest):
    def admit(self, code, policy, *tasks):
        taskset = {"policy": policy,
                   "tasks": [dict(zip(("name", "C", "T", "D"), task)) for task in tasks]}
        return self.expect_json(code, "admit", "--json", self.write("t.json", json.dumps(taskset)))

    def test_responses_of_the_textbook_set(self):
        result = self.admit(0, "np-fp", ("a", 2, 10, 10), ("b", 3, 15, 15), ("c", 5, 50, 50))
        self.assertTrue(result["schedulable"])
        self.assertEqual([task["response"] for task in result["tasks"]], [6, 9, 10])
        self.assertEqual([task["meets"] for task in result["tasks"]], [True] * 3)
        self.assertEqual(set(result["bounds"]), {"liu_layland", "hyperbolic", "density"})

    def test_refusal_names_an_instant(self):
        result = self.admit(3, "np-edf", ("a", 2, 4, 4), ("b", 8, 100, 100))
        self.assertFalse(result["schedulable"])
        self.assertGreater(result["violation"]["t"], 0)
        self.assertTrue(result["violation"]["jobs"])

        self.assertEqual([job["blocks"] for job in result["violation"]["jobs"] if job["task"] == "b"], [True])

    def test_what_nothing_settles_is_open(self):
        # At U = 1 with jitter np-edf has a verdict and no responses.
        def settled(code, deadline):
            path = self.write("t.json", json.dumps({"policy": "np-edf", "tasks": [
                {"name": "a", "C": 2, "T": 4, "D": deadline}, {"name": "b", "C": 2, "T": 4, "D": 5, "J": 1}]}))
            result = self.expect_json(code, "admit", "--json", path)
            return [task["meets"] for task in result["tasks"]], self.expect(code, "admit", path)[0]
        self.assertEqual(settled(0, 4)[0], [True, True])
        meets, table = settled(3, 2)
        self.assertEqual(meets, [None, None])
        self.assertEqual(table.count("open"), 2)
        self.assertIn("responses of 2 of 2 tasks are not settled: at utilisation 1 with jitter no busy period ends. "
                      "The verdict stands without.", table)
        result = self.expect_json(3, "admit", "--json", self.path("t.json"))
        self.assertEqual(result["unsettled"], {"reason": "endless", "tasks": ["a", "b"]})

    def test_what_the_time_ended_is_named(self):
        # Full, with periods that have no common multiple within sight.
        p, q = 1000000007, 998244353
        tasks = [{"name": "a", "C": p - 3, "T": 4 * p, "D": 5 * p}, {"name": "b", "C": 3 * q, "T": 4 * q, "D": 5 * q},
                 {"name": "c", "C": 3, "T": 4 * p, "D": 5 * p}]
        path = self.write("t.json", json.dumps({"policy": "np-edf", "tasks": tasks}))
        for reason, words, *options in (("timeout", "--timeout ended the search", "--timeout", "10ms"),
                                        ("steps", "the steps of the search were used up")):
            result = self.expect_json(0, "admit", "--json", *options, path)
            self.assertIs(result["schedulable"], True)
            self.assertEqual([task["response"] for task in result["tasks"]], [None] * 3)
            self.assertEqual(result["unsettled"], {"reason": reason, "tasks": ["a", "b", "c"]})
            out, _ = self.expect(0, "admit", *options, path)
            self.assertIn("responses of 3 of 3 tasks are not settled: " + words, out)
        # A response that diverges is null too, and settled.
        result = self.admit(3, "np-fp", ("a", 1, 2, 2), ("b", 2, 4, 4), ("c", 1, 4, 4))
        self.assertIsNone(result["tasks"][2]["response"])
        self.assertNotIn("unsettled", result)

    def test_a_refusal_says_what_to_try(self):
        def refused(policy, *arguments):
            path = self.write("t.json", json.dumps({"policy": policy, "tasks": [
                {"name": "gaze", "C": 3, "T": 15}, {"name": "face", "C": 2, "T": 10, "D": 5},
                {"name": "scene", "C": 9, "T": 40, "segments": [5, 4]}]}))
            return self.expect(3, "admit", *arguments, path)[0]
        self.assertIn("--assign looks for one", refused("np-fp"))
        self.assertIn("fpp uses their segments", refused("np-fp"))
        self.assertNotIn("--assign", refused("np-fp", "--assign"))
        self.assertNotIn("--assign", refused("np-edf"))
        fits = json.loads(refused("np-fp", "--explain", "--json"))["tasks"][0]["fits"]
        self.assertEqual(fits, {"smallest_period": None, "smallest_deadline": None, "largest_execution": None})

    def test_priorities_are_assigned(self):
        # As listed, b waits for a and is blocked by c.
        path = self.write("t.json", json.dumps({"policy": "np-fp", "tasks": [
            {"name": "a", "C": 5, "T": 50}, {"name": "b", "C": 2, "T": 10, "D": 8},
            {"name": "c", "C": 3, "T": 15}]}))
        result = self.expect_json(0, "admit", "--json", "--assign", path)
        self.assertEqual(result["order"], ["b", "c", "a"])
        self.assertEqual([t["name"] for t in result["tasks"]], ["b", "c", "a"])
        self.assertEqual([t["response"] for t in result["tasks"]], [6, 9, 10])
        out, _ = self.expect(0, "admit", "--assign", path)
        self.assertIn("highest first: b, c, a", out)
        self.assertFalse(self.expect_json(3, "admit", "--json", path)["schedulable"])

    def test_no_order_names_the_level(self):
        path = self.write("t.json", json.dumps({"policy": "np-fp", "tasks": [
            {"name": "slow", "C": 4, "T": 20}, {"name": "x", "C": 5, "T": 20, "D": 7},
            {"name": "y", "C": 5, "T": 20, "D": 7}]}))
        result = self.expect_json(3, "admit", "--json", "--assign", path)
        self.assertIsNone(result["order"])
        self.assertFalse(result["schedulable"])
        self.assertEqual(result["unassigned"], {"level": 2, "tasks": ["x", "y"]})
        out, _ = self.expect(3, "admit", "--assign", path)
        self.assertIn("level 2 of 3", out)
        self.refused(2, ["--assign", "np-edf"], "admit", "--assign", self.write(
            "u.json", '{"policy": "np-edf", "tasks": [{"C": 1, "T": 2}]}'))

    def test_explanations_add_up(self):
        for policy in ("np-fp", "np-edf", "fp", "edf", "fpp", "fifo"):
            tasks = [("a", 2, 10, 10), ("b", 3, 15, 14), ("c", 5, 50, 40)]
            sizes = {name: c for name, c, *_ in tasks}
            path = self.write("t.json", json.dumps({"policy": policy, "tasks": [
                dict(zip(("name", "C", "T", "D"), task)) for task in tasks]}))
            result = self.expect_json(0, "admit", "--json", "--explain", path)
            for task, (_, _, _, deadline) in zip(result["tasks"], tasks):
                how = task["derivation"]
                work = sum(part["time"] for part in how["interference"])
                self.assertEqual(how["blocking"] + work, how["completion"])
                for part in how["interference"]:
                    self.assertEqual(part["time"], part["jobs"] * sizes[part["task"]])
                if policy != "edf":
                    self.assertEqual(how["completion"] - how["release"], task["response"])
                    self.assertEqual(how["slack"], deadline - task["response"])
                self.assertGreater(task["fits"]["largest_execution"], 0)
            out, _ = self.expect(0, "admit", "--explain", path)
            self.assertIn("c itself runs 1 time: 1 x 5 = 5", out)
            self.assertIn("What would fit", out)

    def test_ten_thousand_tasks_end_with_the_time(self):
        tasks = [{"C": 400 + i % 7, "T": 10000000 + 37 * i, "J": i % 5} for i in range(10000)]
        for policy in ("np-fp", "np-edf", "fp", "edf", "fpp", "fifo"):
            path = self.write("t.json", json.dumps({"policy": policy, "tasks": tasks}))
            done = self.run_program("admit", "--json", "--timeout", "1", path)
            self.assertIn(done.returncode, (0, 6))
            result = json.loads(done.stdout)
            self.assertEqual(result["schedulable"], None if done.returncode == 6 else True)
            self.assertEqual(len(result["tasks"]), 10000)
        done = self.run_program("admit", "--explain", "--timeout", "1", path)
        self.assertIn(done.returncode, (0, 6))

    def test_malformed_sets_are_refused(self):
        self.refused(2, ["t.json:1:"], "admit", self.write("t.json", "{"))
        self.refused(2, ["t.json"], "admit", self.write("t.json", '{"policy":"np-fp"}'))


if __name__ == "__main__":
    support.main()
