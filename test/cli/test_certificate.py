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
        self.assertEqual(certificate["schema_version"], 4)
        self.assertEqual(certificate["verdict"], "schedulable")
        # The published responses of this set: 6, 9, 10.
        self.assertEqual(certificate["response"], [6, 9, 10])
        self.assertEqual(certificate["points"], [4, 6, 5])

    def test_whatever_response_is_printed_is_proved(self):
        for policy in POLICIES:
            for tasks, code in ((EASY, 0), (HARD, 3)):
                path = self.certify(policy, tasks, code)
                printed = self.expect_json(code, "admit", "--json", self.path("tasks.json"))["tasks"]
                wanted = [t.get("response") for t in printed]
                with open(path, encoding="utf-8") as file:
                    certificate = json.load(file)
                said = certificate.get("response", [0] * 3)
                self.assertEqual(said, [0 if r is None else r for r in wanted])
                row = self.expect_json(0, "verify", "--json", path)["certificates"][0]
                count = sum(r is not None for r in wanted)
                self.assertEqual(row["responses"], count)
                self.assertEqual(row["responses_reached"], count)

    def test_wrong_responses_are_noticed(self):
        def change(task, by):
            def edit(c):
                c["response"][task] += by
            return edit
        for policy in ("np-fp", "fp", "fpp", "np-edf", "fifo"):
            for tasks, code in ((EASY, 0), (HARD, 3)):
                for task in range(3):
                    for by in (-1, 1):
                        path = self.change(self.certify(policy, tasks, code), change(task, by))
                        self.expect(1, "verify", path)
        def forget(c):
            c["reached"][0] = []
            c["response"][0] += 1
        path = self.change(self.certify("np-edf", EASY, 0), forget)  # an upper bound, and no more is said
        self.assertEqual(self.expect_json(0, "verify", "--json", path)["certificates"][0]["responses_reached"], 2)
        path = self.change(self.certify("np-edf", EASY, 0), lambda c: c.update(end=1))
        self.expect(1, "verify", path)
        path = self.change(self.certify("np-edf", EASY, 0),
                           lambda c: c["reached"][0].pop())
        self.refused(2, ['"reached" must be a list of one list of jobs a task'], "verify", path)

    def test_what_does_not_hold_says_where(self):
        def lower_response(c):
            c["response"][1] -= 1
        path = self.change(self.certify("np-fp", EASY, 0), lower_response)
        out, _ = self.expect(1, "verify", path)
        self.assertIn("does NOT hold", out)
        self.assertIn("task 1, job 0: R is past", out)
        row = self.expect_json(1, "verify", "--json", path)["certificates"][0]
        self.assertIs(row["verified"], False)

        def lower_demand(c):
            c["demand"][3] -= 1
        path = self.change(self.certify("np-edf", EASY, 0), lower_demand)
        self.expect(1, "verify", path)
        path = self.change(self.certify("np-edf", EASY, 0),
                           lambda c: c["T"].__setitem__(0, 3))
        self.expect(1, "verify", path)
        path = self.change(self.certify("np-edf", HARD, 3), lambda c: c.update(miss=c["miss"][:3]))
        self.expect(1, "verify", path)
        path = self.change(self.certify("fp", HARD, 3),
                           lambda c: c["D"].__setitem__(1, 5))
        self.expect(1, "verify", path)

    def test_malformed_ones_say_place_key_and_cure(self):
        path = self.certify("np-fp", EASY, 0)
        self.refused(2, [":1:1", "not JSON"], "verify", self.write("x", "{"))
        self.refused(2, ["nowhere"], "verify", "nowhere")
        self.refused(2, ['"schema_version" must be 4', "let admit write it anew"], "verify", self.write("x", "[]"))
        changes = [
            (lambda c: c.update(proofs=1), ['no key "proofs"']),
            (lambda c: c.pop("proof"), ['"proof" must be a text']),
            (lambda c: c.pop("points"), ['"points" must be a list of numbers']),
            (lambda c: c.update(horizon=5), ['"horizon" has no place in a proof of "responses"']),
            (lambda c: c.update(what="other"), ['"what" "aegisrt-certificate"']),
            (lambda c: c.update(schema_version=3), ['"schema_version" must be 4']),
            (lambda c: c.update(verdict="not-schedulable"), ['"responses" does not prove']),
            (lambda c: c.update(policy="np-edf"), ['"responses" does not prove', 'under "np-edf"']),
            (lambda c: c.update(policy="lifo"), ['under "lifo"']),
            (lambda c: c["C"].__setitem__(1, [0]), ["task 1: C, T and D", "1 at least"]),
            (lambda c: c["C"].__setitem__(1, [2.0]), ['"C" must be']),
            (lambda c: c["T"].__setitem__(1, -35), ['"T" must be']),
            (lambda c: c["T"].pop(), ['"T" must be']),
            (lambda c: c["points"].pop(), ['"points" must list none or all of the "fixed_points"']),
            (lambda c: c.update(fixed_points="3"), ['"fixed_points" must be a number']),
        ]
        for edit, parts in changes:
            self.refused(2, [*parts, "changed.json: ", "let admit write it anew"], "verify", self.change(path, edit))

    def test_limits(self):
        path = self.certify("np-edf", EASY, 0)
        self.refused(6, ["steps allowed are used up"], "verify", "--limit", "3", path)
        # A file that asks for 9e18 instants ends too.
        def far(c):
            c.update(horizon=9000000000000000000, demand=[])
        self.refused(6, ["used up"], "verify", "--limit", "1000000", self.change(path, far))
        self.refused(2, ["--limit 0"], "verify", "--limit", "0", path)

    def test_overload_is_exact(self):
        path = self.certify("np-fp", [{"C": 1, "T": 3}, {"C": 2, "T": 3, "D": 900, "J": 0},
                                      {"C": 1, "T": 1000000007, "D": 2000000000}], 3)
        row = self.expect_json(0, "verify", "--json", path)["certificates"][0]
        self.assertEqual(row["proof"], "overload")
        path = self.change(path, lambda c: c.update(multiple=1000))
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
        self.assertGreater(certificate["instants"], 300000)
        self.assertEqual(certificate["demand"], [])
        self.expect(0, "verify", path)

    def test_a_file_that_cannot_be_written(self):
        tasks = self.write("t.json", json.dumps({"policy": "np-fp", "tasks": EASY}))
        _, err = self.expect(4, "admit", "--certificate", self.path("no/such/folder"), tasks)
        self.assertIn("no/such/folder", err)


if __name__ == "__main__":
    support.main()
