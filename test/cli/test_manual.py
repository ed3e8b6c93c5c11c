# SPDX-License-Identifier: Apache-2.0
"""The manual pages against the programs: every command, flag and key of one is in the other."""

import os
import re
import subprocess
import unittest

import support

PROGRAMS = {"aegisrt": support.PROGRAM, "edge-rt": os.environ.get("AEGISRT_EDGE_RT", "bin/edge-rt")}


def source(path):
    with open(os.path.join(support.SOURCE, path), encoding="utf-8") as file:
        return file.read()


def manual(program):
    """The page as (heading, text without markup) pairs."""
    text = source(f"docs/man/{program}.1").replace("\\-", "-").replace('"', "")
    text = re.sub(r"\\f[A-Z]", "", text)
    parts = re.split(r"(?m)^\.S[HS] (.*)$", text)[1:]
    return list(zip(parts[::2], parts[1::2]))


def flags(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


class Manual(unittest.TestCase):
    def help_of(self, program, *command):
        done = subprocess.run([PROGRAMS[program], *command, "--help"], stdout=subprocess.PIPE, check=True)
        return done.stdout.decode()

    def commands(self, program):
        listed = self.help_of(program).split("Commands:\n", 1)[1].split("\n\n", 1)[0]
        commands = re.findall(r"(?m)^  ([a-z]+(?: [a-z]+)?)(?= +[A-Z]| {2})", listed)
        self.assertGreater(len(commands), 3)
        return commands

    def test_commands_and_flags(self):
        for program in PROGRAMS:
            pages = manual(program)
            common = set().union(*(flags(text) for heading, text in pages if "options" in heading.lower()))
            known = {"--help", "--version"}
            for command in self.commands(program):
                own = [text for heading, text in pages if re.match(rf"{command}\b", heading)]
                self.assertEqual(len(own), 1, f"{program} {command} has no section of the manual")
                text = self.help_of(program, *command.split())
                offered = set(re.findall(r"(?m)^  (?:-\w, )?(--[a-z-]+)", text))
                missing = offered - flags(own[0]) - common - {"--help"}
                with self.subTest(program=program, command=command):
                    self.assertEqual(missing, set(), "not in the manual")
                known |= offered
            in_pages = set().union(*(flags(text) for _, text in pages))
            with self.subTest(program=program):
                self.assertEqual(in_pages - known, set(), "in the manual, and no command knows them")

    def test_keys_of_workloads_and_presets(self):
        for program, files, pattern in (
            ("aegisrt", ["workload.c", "workload_model.c", "workload_events.c"], r"(?:known_keys|\bkeys)\[\] = \{([^}]*)\}"),
            ("edge-rt", ["preset.c"], r"\bkeys\[\] = \{(.*?)\};"),
        ):
            folder = "src/system" if program == "aegisrt" else "src/backend/transformer/engine"
            keys = set()
            for name in files:
                for body in re.findall(pattern, source(f"{folder}/{name}"), re.S):
                    keys |= set(re.findall(r'"([a-z_]+)"', body))
            self.assertGreater(len(keys), 10)
            words = set(re.findall(r"[a-z_]+", "\n".join(sum(manual(program), ()))))
            with self.subTest(program=program):
                self.assertEqual(keys - words, set(), "keys that the manual does not explain")


if __name__ == "__main__":
    support.main()
