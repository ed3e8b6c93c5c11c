# SPDX-License-Identifier: Apache-2.0
"""`profile --method`, what profiles say about their statistics, and drift in `run`."""

import glob
import json
import os

import support


class Profiles(support.CommandTest):
    def profile(self, *arguments):
        model = self.write("a.null", support.null_model(spin="5us"))
        result = self.expect_json(0, "profile", model, "--backend", "null", "--json", *arguments)
        return result["models"][0]

    def test_the_order_statistic_is_the_default(self):
        for arguments in ([], ["--method", "order-statistic"]):
            row = self.profile(*arguments)
            self.assertEqual(row["method"], "order-statistic")
            self.assertIsNone(row["extreme_value"])
            self.assertGreater(row["cold_ns"], 0)
            self.assertGreater(row["alone_ns"]["median"], 0)

    def test_share_confidence_margin_and_device_are_as_asked(self):
        row = self.profile("--samples", "120", "--confidence", "0.9", "--assurance", "0.8", "--margin", "2",
                           "--device", "host", "--memory", "16MiB", "--source", "x=zeros", "--lanes", "1")
        self.assertGreaterEqual(row["loaded_ns"]["samples"], 120)
        self.assertEqual((row["quantile"], row["assurance"], row["margin"]), (0.9, 0.8, 2.0))
        self.assertAlmostEqual(row["bound_ns"], 2 * row["loaded_ns"]["quantile"], delta=2)
        self.assertGreater(row["contention_factor"], 0)
        model = self.path("a.null")
        for part, *arguments in (("--margin 0", "--margin", "0"), ("--confidence 1.5", "--confidence", "1.5"),
                                 ("--assurance", "--assurance", "x"), ("--memory", "--memory", "much"),
                                 ("--source", "--source", "zeros"), ("--state", "--state", "x")):
            self.refused(2, [part], "profile", model, "--backend", "null", *arguments)

    def test_a_fit_is_accepted_or_says_why_not(self):
        row = self.profile("--method", "evt", "--exceedance", "1e-3")
        fit = row["extreme_value"]
        self.assertGreaterEqual(row["loaded_ns"]["samples"], 1000)
        self.assertEqual(fit["samples"], row["loaded_ns"]["samples"])
        self.assertEqual(fit["exceedance"], 1e-3)
        self.assertGreater(fit["smirnov_critical"], 0)
        self.assertEqual(row["method"] == "evt", fit["outcome"] == "accepted")
        if fit["outcome"] == "accepted":
            self.assertGreaterEqual(row["bound_ns"], fit["quantile_ns"])
            self.assertGreaterEqual(row["bound_ns"], row["loaded_ns"]["worst"])
        else:
            self.assertEqual(row["method"], "order-statistic")
            self.assertGreaterEqual(row["bound_ns"], 1.5 * row["loaded_ns"]["quantile"] - 1)
            self.assertTrue(fit["reason"])

    def test_the_table_says_it_too(self):
        model = self.write("a.null", support.null_model(spin="5us"))
        out, _ = self.expect(0, "profile", model, "--backend", "null", "--method", "evt")
        self.assertIn("cold", out)
        self.assertRegex(out, r"(?m)^a: method (evt|order-statistic); ")
        self.assertIn("Ljung-Box", out)
        self.assertIn("KPSS", out)

    def test_what_is_asked_for_is_what_is_measured(self):
        row = self.profile("--state", "x=y", "--device", "host", "--margin", "2", "--confidence",
                           "0.9", "--assurance", "0.5", "--samples", "120", "--threads", "1")
        self.assertEqual((row["margin"], row["quantile"], row["assurance"]), (2.0, 0.9, 0.5))
        self.assertGreaterEqual(row["loaded_ns"]["samples"], 120)
        self.assertLessEqual(abs(row["bound_ns"] - 2 * row["loaded_ns"]["quantile"]), 1)
        self.assertEqual(row["memory_bytes"]["state"], 2 * 4 * 4)  # both halves
        self.assertEqual(row["memory_bytes"]["input"], 0)
        model = self.path("a.null")
        for wrong, parts in (
            (("--state", "x"), ["--state x", "NAME="]),
            (("--state", "x=z"), ["unknown output 'z'", "did you mean 'y'"]),
            (("--margin", "0.5"), ["--margin 0.5", "from 1"]),
            (("--assurance", "1"), ["--assurance 1", "0.9999"]),
            (("--device", "tpu"), ["--device tpu", "auto, host or cuda"]),
        ):
            self.refused(2, parts, "profile", model, "--backend", "null", "-q", *wrong)

    def test_wrong_words(self):
        model = self.write("a.null", support.null_model())
        self.refused(2, ["--method gumbel", "order-statistic or evt"], "profile", model, "--method",
                     "gumbel")
        self.refused(2, ["--exceedance", "--method evt"], "profile", model, "--exceedance", "1e-3")
        self.refused(2, ["--exceedance 2"], "profile", model, "--exceedance", "2")
        path = self.null_workload('bound_method = "gumbel"\n')
        self.refused(2, ["bound_method", "order-statistic"], "check", path)
        path = self.null_workload("exceedance = 0.001\n")
        self.refused(2, ["exceedance", 'bound_method = "evt"'], "check", path)
        path = self.null_workload('bound_metod = "evt"\n')
        self.refused(2, ["bound_metod", "bound_method"], "check", path)

    def test_a_workload_may_ask_for_a_fit(self):
        path = self.null_workload('bound_method = "evt"\nexceedance = 0.001\n')
        first = self.expect_json(0, "check", path, "--json")["models"][0]["profile"]
        self.assertEqual(first["extreme_value"]["exceedance"], 0.001)
        self.assertEqual(first["method"] == "evt", first["extreme_value"]["outcome"] == "accepted")
        again = self.expect_json(0, "check", path, "--json")["models"][0]["profile"]
        self.assertIs(again["cached"], True)
        self.assertEqual(again["extreme_value"], first["extreme_value"])
        # Another method is another profile.
        path = self.null_workload()
        other = self.expect_json(0, "check", path, "--json")["models"][0]["profile"]
        self.assertIs(other["cached"], False)
        self.assertIsNone(other["extreme_value"])


class Drift(support.CommandTest):
    def easy(self):
        """Ten executions in two seconds."""
        self.write("a.null", support.null_model())
        return self.workload(['name = "a"\npath = "a.null"\nbackend = "null"\nperiod = "200ms"\n'
                              'deadline = "5s"\n'
                              + support.QUICK])

    def run_once(self, *arguments):
        result = self.expect_json(0, "run", self.easy(), "--duration", "2", "--json", *arguments)
        return result["models"][0]

    def test_a_stale_profile_is_reported_and_removed(self):
        first = self.run_once()
        self.assertIs(first["profile"]["cached"], False)
        self.assertGreater(first["drift"]["executions"], 2)
        self.assertAlmostEqual(first["drift"]["allowed_share"], 0.1)
        (kept,) = glob.glob(self.path("cache") + "/profile-*.json")
        with open(kept, encoding="utf-8") as file:
            profile = json.load(file)
        # As if the model had been much faster when it was profiled.
        profile["loaded"].update(best_ns=1, median_ns=1, quantile_ns=1)
        with open(kept, "w", encoding="utf-8") as file:
            json.dump(profile, file)
        row = self.run_once()
        self.assertIs(row["profile"]["cached"], True)
        self.assertEqual(row["drift"]["past"], row["drift"]["executions"])
        self.assertIs(row["drift"]["stale"], True)
        self.assertGreater(row["drift"]["evidence"], 1000)
        self.assertEqual(glob.glob(self.path("cache") + "/profile-*.json"), [kept])

        out, _ = self.expect(0, "run", self.easy(), "--duration", "2")
        self.assertRegex(out, r"a has a stale profile: .* Measure again with --fresh-profiles, or let --reprofile-on-drift")
        out, err = self.expect(0, "run", self.easy(), "--duration", "2",
                               "--reprofile-on-drift")
        self.assertRegex(out, r"a has a stale profile: .* It is put aside: the next run measures again\.")
        self.assertNotIn("--reprofile-on-drift", out)
        self.assertIn("(stale)", out)
        self.assertIn("the next run measures again", err)
        self.assertEqual(glob.glob(self.path("cache") + "/profile-*.json"), [])
        out, _ = self.expect(0, "run", self.easy(), "--duration", "1")
        self.assertIn("a: measured again, for its profile was stale: bound", out)
        self.assertIs(self.run_once()["profile"]["cached"], True)
        self.assertNotIn("measured again", self.expect(0, "run", self.easy(), "--duration", "1")[0])
        self.assertEqual(glob.glob(self.path("cache") + "/stale-*.json"), [])

    def test_the_json_says_which_bound_was_stale(self):
        first = self.run_once()
        (kept,) = glob.glob(self.path("cache") + "/profile-*.json")
        os.rename(kept, kept.replace("/profile-", "/stale-"))
        row = self.run_once()
        self.assertIs(row["profile"]["cached"], False)
        self.assertEqual(row["profile"]["stale_bound_ns"], first["execution_ns"]["bound"])
        self.assertNotIn("stale_bound_ns", self.run_once()["profile"])


if __name__ == "__main__":
    support.main()
