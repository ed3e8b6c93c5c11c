# SPDX-License-Identifier: Apache-2.0
"""`admit --certificate` and `verify`."""

import json
import random

import support

POLICIES = ("np-fp", "fp", "fpp", "np-edf", "edf", "fifo")
EASY = [{"C": 2, "T": 20}, {"C": 3, "T": 35}, {"C": 5, "T": 50, "segments": [2, 3]}]
HARD = [{"C": 2, "T": 20, "D": 4}, {"C": 3, "T": 35, "D": 4}, {"C": 5, "T": 50}]


class Certificates(support.CommandTest):
    def certify(self, policy, tasks, code, *arguments):
        """Writes a certificate; returns its path."""
        path = self.path("certificate.json")
        tasks = self.write("tasks.json", json.dumps({"policy": policy, "tasks": tasks}))
        self.expect(code, "admit", "--certificate", path, *arguments, tasks)
        return path

    def change(self, path, edit):
        with open(path, encoding="utf-8") as file:
            certificate = json.load(file)
        edit(certificate)
        return self.write("changed.json", json.dumps(certificate))

    def test_each_verdict_of_each_policy(self):
        for policy in POLICIES:
            for tasks, code, schedulable in ((EASY, 0, True), (HARD, 3, False)):
                path = self.certify(policy, tasks, code)
                row = self.expect_json(0, "verify", "--json", path)["certificates"][0]
                self.assertIs(row["verified"], True)
                self.assertIs(row["schedulable"], schedulable)
                self.assertEqual(row["policy"], policy)
                self.assertEqual(row["task_count"], 3)
                self.assertEqual(row["proof"] == "miss", not schedulable)
                out, _ = self.expect(0, "verify", path)
                self.assertIn("verified", out)
                self.assertEqual("NOT schedulable" in out, not schedulable)

    def test_a_certificate_says_the_numbers(self):
        with open(self.certify("np-fp", [{"C": 2, "T": 10}, {"C": 3, "T": 15}, {"C": 5, "T": 50}], 0),
                  encoding="utf-8") as file:
            certificate = json.load(file)
        self.assertEqual(certificate["schema_version"], 2)
        self.assertEqual(certificate["verdict"], "schedulable")
        # The published responses of this set: 6, 9, 10.
        self.assertEqual([t["response"] for t in certificate["proof"]["tasks"]], [6, 9, 10])
        self.assertEqual([t["blocking"] for t in certificate["proof"]["tasks"]], [4, 4, 0])

    def test_whatever_response_is_printed_is_proved(self):
        for policy in POLICIES:
            for tasks, code in ((EASY, 0), (HARD, 3)):
                path = self.certify(policy, tasks, code)
                printed = self.expect_json(code, "admit", "--json", self.path("tasks.json"))["tasks"]
                wanted = [t.get("response") for t in printed]
                with open(path, encoding="utf-8") as file:
                    certificate = json.load(file)
                said = certificate.get("responses", certificate["proof"]).get("tasks", [None] * 3)
                self.assertEqual([t and t["response"] for t in said], wanted)
                row = self.expect_json(0, "verify", "--json", path)["certificates"][0]
                count = sum(r is not None for r in wanted)
                self.assertEqual(row["responses"], count)
                self.assertEqual(row["responses_reached"], count)

    def test_wrong_responses_are_noticed(self):
        def change(task, by):
            def edit(c):
                c.get("responses", c["proof"])["tasks"][task]["response"] += by
            return edit
        for policy in ("np-fp", "fp", "fpp", "np-edf", "fifo"):
            for tasks, code in ((EASY, 0), (HARD, 3)):
                for task in range(3):
                    for by in (-1, 1):
                        path = self.change(self.certify(policy, tasks, code), change(task, by))
                        self.expect(1, "verify", path)
        def forget(c):
            del c["responses"]["tasks"][0]["reached"]
            c["responses"]["tasks"][0]["response"] += 1
        path = self.change(self.certify("np-edf", EASY, 0), forget)  # an upper bound, and no more is said
        self.assertEqual(self.expect_json(0, "verify", "--json", path)["certificates"][0]["responses_reached"], 2)
        path = self.change(self.certify("np-edf", EASY, 0), lambda c: c["responses"].update(busy=1))
        self.expect(1, "verify", path)
        path = self.change(self.certify("np-edf", EASY, 0),
                           lambda c: c["responses"]["tasks"][0]["reached"]["jobs"].pop())
        self.assertIn(self.run_program("verify", path).returncode, (1, 2))

    def test_what_does_not_hold_says_where(self):
        def lower_response(c):
            c["proof"]["tasks"][1]["response"] -= 1
        path = self.change(self.certify("np-fp", EASY, 0), lower_response)
        out, _ = self.expect(1, "verify", path)
        self.assertIn("does NOT hold", out)
        self.assertIn("past R", out)
        row = self.expect_json(1, "verify", "--json", path)["certificates"][0]
        self.assertIs(row["verified"], False)

        path = self.change(self.certify("np-edf", EASY, 0), lambda c: c["proof"]["demand"].pop(2))
        self.expect(1, "verify", path)
        path = self.change(self.certify("np-edf", EASY, 0),
                           lambda c: c["taskset"]["tasks"][0].update(C=30))
        self.expect(1, "verify", path)
        path = self.change(self.certify("np-edf", HARD, 3), lambda c: c["proof"]["jobs"].pop(0))
        self.expect(1, "verify", path)
        path = self.change(self.certify("fp", HARD, 3),
                           lambda c: c["proof"].update(completion=c["proof"]["completion"] + 1))
        self.expect(1, "verify", path)

    def test_malformed_ones_say_place_key_and_cure(self):
        path = self.certify("np-fp", EASY, 0)
        self.refused(2, [":1:1", "not JSON"], "verify", self.write("x", "{"))
        self.refused(2, ["nowhere"], "verify", "nowhere")
        self.refused(2, [":1:1", "must be an object"], "verify", self.write("x", "[]"))
        changes = [
            (lambda c: c.update(proofs=1), ['"proofs"', 'did you mean "proof"']),
            (lambda c: c.pop("proof"), ['"proof" is missing', "admit --certificate"]),
            (lambda c: c.update(what="other"), ['"what"']),
            (lambda c: c.update(schema_version=3), ['"schema_version"']),
            (lambda c: c.update(verdict="not-schedulable"), ['"responses" does not speak about']),
            (lambda c: c["proof"].update(kind="demand"), ["under np-fp"]),
            (lambda c: c["proof"]["tasks"].pop(), ["2 proofs for 3 tasks"]),
            (lambda c: c["proof"]["tasks"][0].update(busy="x"), ['"busy" must be an integer']),
            (lambda c: c["proof"]["tasks"][0].update(points=[1.5]), ["must be an integer"]),
            (lambda c: c["taskset"]["tasks"][1].update(C=0), ['"C"', "at least 1"]),
        ]
        for edit, parts in changes:
            self.refused(2, [*parts, "changed.json:1:"], "verify", self.change(path, edit))
        path = self.certify("fp", HARD, 3)
        for edit, parts in ((lambda c: c["proof"]["jobs"].append([9, 1, 1]), ["no task number 9"]),
                            (lambda c: c["proof"].update(missed=99), ['"missed"', "from 0 to"]),
                            (lambda c: c["proof"].update(jobs=[]), ['"jobs"', "at least 1"])):
            self.refused(2, parts, "verify", self.change(path, edit))

    def test_limits(self):
        path = self.certify("np-edf", EASY, 0)
        self.refused(6, ["steps allowed are used up"], "verify", "--limit", "3", path)
        # A file that asks for 9e18 instants ends too.
        def far(c):
            c["proof"].update(horizon=9000000000000000000, demand=[])
        self.refused(6, ["used up"], "verify", "--limit", "1000000", self.change(path, far))
        self.refused(2, ["--limit 0"], "verify", "--limit", "0", path)

    def test_overload_is_exact(self):
        path = self.certify("np-fp", [{"C": 1, "T": 3}, {"C": 2, "T": 3, "D": 900, "J": 0},
                                      {"C": 1, "T": 1000000007, "D": 2000000000}], 3)
        row = self.expect_json(0, "verify", "--json", path)["certificates"][0]
        self.assertEqual(row["proof"], "overload")
        path = self.change(path, lambda c: c["proof"].update(tasks=2))
        self.expect(1, "verify", path)

    def test_large_sets(self):
        random.seed(7)
        tasks = [{"C": random.randint(100, 2000), "T": random.randint(800000, 1200000)}
                 for _ in range(256)]
        for policy in POLICIES:
            path = self.certify(policy, sorted(tasks, key=lambda t: t["T"]), 0)
            self.expect(0, "verify", path)

    def test_a_million_instants_are_not_listed(self):
        tasks = [{"C": 1, "T": 3, "J": 0}, {"C": 1, "T": 3}, {"C": 333333, "T": 1000000, "D": 3000000}]
        path = self.certify("edf", tasks, 0)
        with open(path, encoding="utf-8") as file:
            certificate = json.load(file)
        self.assertGreater(certificate["proof"]["instants"], 300000)
        self.assertEqual(certificate["proof"]["demand"], [])
        self.expect(0, "verify", path)

    def test_a_file_that_cannot_be_written(self):
        tasks = self.write("t.json", json.dumps({"policy": "np-fp", "tasks": EASY}))
        _, err = self.expect(2, "admit", "--certificate", self.path("no/such/folder"), tasks)
        self.assertIn("no/such/folder", err)


if __name__ == "__main__":
    support.main()
