# SPDX-License-Identifier: Apache-2.0
"""`check --explain-bytes`: who shares bytes, and the happens-before edge that keeps them apart."""

import support

GOOD = 'path = "%s.null"\nbackend = "null"\nperiod = "20s"\nlane = %d\n'


class Bytes(support.CommandTest):
    def setUp(self):
        super().setUp()
        self.write("a.null", support.null_model(activation=4096))
        self.write("b.null", support.null_model(activation=8192))
        self.workload = self.write(
            "w.toml", '[device]\nmemory = "16MiB"\nlanes = 2\n' +
            "".join('[[model]]\nname = "%s"\n' % name + GOOD % (file, lane)
                    for name, file, lane in (("a", "a", 0), ("b", "b", 0), ("c", "a", 1))))

    def explain(self, where):
        return self.expect_json(0, "check", self.workload, "--json", "-q",
                                "--explain-bytes", where)["shared_bytes"]

    def test_all_sharing_has_a_reason(self):
        shared = self.explain("all")
        self.assertGreater(shared["tensors"], 3)
        self.assertTrue(shared["edges"])
        for edge in shared["edges"]:
            self.assertGreater(edge["pairs"], 0)
            self.assertIn("one after the other", edge["because"])

    def test_one_byte(self):
        shared = self.explain("0")
        self.assertEqual({(t["model"], t["class"]) for t in shared["tensors"]},
                         {("a", "activation"), ("b", "activation")})
        self.assertEqual([e["pairs"] for e in shared["edges"]], [1])
        out, _ = self.expect(0, "check", self.workload, "-q", "--explain-bytes", "0")
        self.assertIn("Byte 0 of the arena: 2 tensors.", out)

    def test_plan_of_a_workload_says_the_same(self):
        for where in ("all", "0"):
            plan = self.expect_json(0, "plan", self.workload, "--json", "-q", "--explain", where)
            self.assertEqual(plan["shared_bytes"], self.explain(where))
        self.expect(0, "plan", self.workload, "-q", "--svg", self.path("plan.svg"))
        with open(self.path("plan.svg"), encoding="utf-8") as file:
            self.assertRegex(file.read(), r'fill="#[0-9a-f]{6}"')
        self.refused(2, ["--nodes", "lists of buffers"], "plan", self.workload, "--nodes", "9")
        self.refused(2, ["--explain 1,2"], "plan", self.workload, "--explain", "1,2")

    def test_a_byte_that_nobody_uses(self):
        self.assertEqual(self.explain("15M"), {"offset": 15 << 20, "tensors": [], "edges": []})

    def test_what_is_no_place(self):
        self.refused(2, ["--explain-bytes"], "check", self.workload, "--explain-bytes", "here")


if __name__ == "__main__":
    support.main()
