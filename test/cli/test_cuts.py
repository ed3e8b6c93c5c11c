# SPDX-License-Identifier: Apache-2.0
"""`check --cuts` and the key "cuts", with a model of the null runtime that can be cut."""

import json

import support

CUT_KEYS = {"model", "mode", "admitted", "positions", "segments", "because", "longest_before_ns",
            "longest_after_ns", "bound_before_ns", "bound_after_ns", "overhead_ns", "tries"}


def operators(count, spin, size=4096):
    """A model of `count` operators, each reading what the one before it wrote."""
    return json.dumps({
        "inputs": [{"name": "x", "dtype": "f32", "shape": [1, 4]}],
        "outputs": [{"name": "y", "dtype": "f32", "shape": [1, 4]}],
        "operators": [{"spin": spin, "bytes": size} for _ in range(count)],
    })


class Cuts(support.CommandTest):
    def cut_workload(self, extra="", period="20s", **keywords):
        self.write("c.null", operators(6, "200us"))
        body = ('name = "c"\npath = "c.null"\nbackend = "null"\nperiod = "%s"\n' % period +
                support.QUICK)
        return self.workload([body + extra], **keywords)

    def test_even_cuts_are_reported(self):
        workload = self.cut_workload()
        result = self.expect_json(0, "check", workload, "--json", "-q", "--cuts", "3")
        # At most 3: fewer when, as measured, that makes the longest segment no shorter.
        count = result["models"][0]["segments"]
        self.assertIn(count, (2, 3))
        cut = result["cuts"][0]
        self.assertLessEqual(CUT_KEYS, set(cut))
        self.assertEqual((cut["model"], cut["mode"], cut["because"]), ("c", "even", None))
        self.assertEqual(len(cut["segments"]), count)
        self.assertEqual([p["live_bytes"] for p in cut["positions"]], [4096] * (count - 1))
        self.assertEqual(cut["bound_after_ns"], sum(s["bound_ns"] for s in cut["segments"]))
        self.assertEqual(cut["overhead_ns"], cut["bound_after_ns"] - cut["bound_before_ns"])
        out, _ = self.expect(0, "check", workload, "-q", "--cuts", "3")
        self.assertIn("as told", out)
        self.assertIn("cut model", out)

    def test_nothing_is_cut_that_need_not_be(self):
        workload = self.cut_workload()
        result = self.expect_json(0, "check", workload, "--json", "-q", "--cuts", "auto")
        self.assertEqual(result["cuts"], [])
        self.assertEqual(result["models"][0]["segments"], 1)

    def test_positions_of_the_workload_and_none_of_the_command_line(self):
        workload = self.cut_workload("cuts = [2, 5]\n")
        result = self.expect_json(0, "check", workload, "--json", "-q")
        self.assertEqual([p["position"] for p in result["cuts"][0]["positions"]], [2, 5])
        result = self.expect_json(0, "check", workload, "--json", "-q", "--cuts", "none")
        self.assertEqual(result["cuts"], [])

    def test_a_cut_run_replays(self):
        trace = self.path("t")
        workload = self.cut_workload("cuts = [3]\n", period="2s")
        result = self.expect_json(0, "run", workload, "--json", "-q", "--duration", "2.2", "--trace",
                                  trace)
        self.assertGreaterEqual(result["models"][0]["jobs"], 2)
        replayed = self.expect_json(0, "replay", trace, "--json")
        self.assertEqual(replayed["identical"], replayed["decisions"])
        out, _ = self.expect(0, "explain", trace)
        self.assertTrue(out)

    def test_wrong_values_say_what_is_possible(self):
        workload = self.cut_workload()
        self.refused(2, ["--cuts 0", "auto, none", "1 to 64"], "check", workload, "--cuts", "0")
        self.refused(2, ["--cuts some", "auto, none"], "run", workload, "--cuts", "some")
        self.refused(2, ["cuts", "from 1 to 5"], "check",
                     self.cut_workload("cuts = [9]\n"))


if __name__ == "__main__":
    support.main()
