# SPDX-License-Identifier: Apache-2.0
"""scripts/gpu_sanitize.py with a made-up compute-sanitizer: what each kind of end is called; all fail but two."""

import json
import os
import subprocess
import sys
import tempfile

# Says what its last argument asks for, as compute-sanitizer would; it runs no program.
SANITIZER = """#!/bin/sh
[ "$1" != --version ] || { echo 'Version 1.2.3'; exit 0; }
echo "$* $CUDA_VISIBLE_DEVICES $AEGISRT_UNDER_SANITIZER" > "$SAID/$AEGISRT_TEST_FILTER.$2"
echo '========= COMPUTE-SANITIZER'
foreign() {
    echo '========= Uninitialized __global__ memory read of size 4 bytes'
    echo '=========     at void theirs<float>(int)+0x1720'
    echo '=========     by thread (0,0,0) in block (0,0,0)'
    echo '========= '
}
case $AEGISRT_TEST_FILTER in
clean) echo '========= ERROR SUMMARY: 0 errors' ;;
known) foreign; foreign; echo '========= ERROR SUMMARY: 2 errors'; exit 99 ;;
known_and_more) foreign
    echo '========= Invalid __global__ read of size 8 bytes'
    echo '=========     at ours(int *)+0x20 in ours.cu:7'
    echo '========= ERROR SUMMARY: 2 errors'; exit 99 ;;
too_many) foreign; echo '========= ERROR SUMMARY: 9 errors'
    echo '========= ERROR SUMMARY: 8 errors were not printed. Use --print-limit option to adjust'; exit 99 ;;
race) echo '========= Error: Race reported between Write access at ours(int *)+0x20 in ours.cu:7'
    echo '=========     and Read access at ours(int *)+0x40 in ours.cu:9 [8 hazards]'
    echo '========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)'; exit 99 ;;
failing) echo '========= Target application returned an error'; echo '========= ERROR SUMMARY: 0 errors'; exit 1 ;;
skipping) echo '[  PASSED  ] 0 test(s).'; echo '[  SKIPPED ] 1 test(s), listed below:'
    echo '========= ERROR SUMMARY: 0 errors' ;;
warned) echo '========= Warning: Detected overflow of tracked cuda::barrier structures. Results might be incorrect.'
    echo '========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)' ;;
silent) ;;
endless) sleep 60 ;;
esac
"""
PROGRAM = """#!/bin/sh
[ -n "$AEGISRT_TEST_LIST" ] && printf '%s\\n' clean known known_and_more too_many race failing skipping warned \\
    silent endless left
"""
PLAN = """# a comment
seconds * * 20
seconds memcheck some:endless 1
own ours[a-z]*
kernels memcheck some:race own -- a reason of its own
leave * some:left -- why it is left
foreign * some:* theirs -- not ours
unseen * some:race others|more -- too many
"""
WANTED = {"clean": "passed", "known": "passed", "known_and_more": "findings", "too_many": "findings",
          "race": "findings", "failing": "failed", "skipping": "skipped", "warned": "findings", "silent": "unchecked",
          "endless": "unfinished"}


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o755)
    return path


def run(script, folder, *more, gpus="0"):
    command = [sys.executable, "-B", script, "--table", f"{folder}/table", "--tools", "memcheck", "--sanitizer",
               f"{folder}/sanitizer", "--results", folder, "--root", folder, "--plan", f"{folder}/plan", *more]
    code = subprocess.run(command, env=dict(os.environ, SAID=folder, CUDA_VISIBLE_DEVICES=gpus), check=False).returncode
    with open(f"{folder}/sanitize-gpu.json", encoding="utf-8") as file:
        return code, json.load(file)


def check(good, what):
    if not good:
        sys.exit(f"not so: {what}")


def said(folder, case):
    with open(f"{folder}/{case}.memcheck", encoding="utf-8") as file:
        return file.read()


def main():
    script = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        write(f"{folder}/sanitizer", SANITIZER)
        write(f"{folder}/plan", PLAN)
        program = write(f"{folder}/program", PROGRAM)
        rows = [["test", "some", "600", "cases", "-", program], ["test", "other", "600", "-", "-", program],
                ["bench", "some_bench", "300", "-", "-", program]]
        write(f"{folder}/table", "".join("\t".join(row) + "\n" for row in rows))
        code, result = run(script, folder)
        check(code == 1, "findings fail the run")
        check({row["case"]: row["result"] for row in result["cases"]} == WANTED, f"results are {WANTED}")
        check(result["left_out"] == [{"test": "some", "case": "left", "tool": "memcheck", "reason": "why it is left"}],
              "what is left out is named with its reason")
        by_case = {row["case"]: row for row in result["cases"]}
        check(by_case["known"]["foreign"] == [{"kernel": "theirs", "count": 2, "reason": "not ours"}],
              "theirs are counted")
        check(list(by_case["known_and_more"]["findings"]) == [
            "Invalid __global__ read of size 8 bytes at ours(int *)+0x20 in ours.cu:7"], "ours are told")
        check(by_case["race"]["kernels"] == "own" and "regex=ours[a-z]*" in said(folder, "race"), "own kernels alone")
        check("--kernel-name-exclude regex=others|more" in said(folder, "race")
              and by_case["race"]["unseen"] == [{"kernel": "others|more", "reason": "too many"}],
              "kernels that are not looked at are named with the reason")
        check(by_case["clean"]["kernels"] == "all" and "regex" not in said(folder, "clean"), "all kernels")
        check(said(folder, "clean").split()[-1] == "memcheck", "programs know under which tool they run")
        check(result["sanitizer"] == "1.2.3" and result["results"]["passed"] == 2, "the head of the result")
        code, result = run(script, folder, "--cases", "clean")
        check(code == 0 and len(result["cases"]) == 1, "a clean case passes alone")
        _, result = run(script, folder, "--cases", "*i*g", "--jobs", "2", gpus="3,5")
        check(result["gpus"] == 2 and {said(folder, case).split()[-2] for case in ("failing", "skipping")} == {"3", "5"},
              "processes take GPUs in turn")
        code, result = run(script, folder, "--cases", "clean", "--within", "0")
        check(code == 1 and result["cases"][0]["result"] == "not begun", "what had no time has failed")
    print("1 passed, 0 failed")


if __name__ == "__main__":
    main()
