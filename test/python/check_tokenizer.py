#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares our tokenizer with the Python package `tokenizers`, token by token and byte by byte.

Usage: check_tokenizer.py TOOL MODELS WORK [--lines N] [--seed S]

TOOL is tokenize_lines. Tokenizers: SmolLM2's from MODELS when it is there, and made ones: GPT-2's
pre-tokenizer in its variants, trained here on the corpus. Broken UTF-8 is given to the package as
bytes.decode("utf-8", errors="replace"). Every code point is tried as well. Exit status 77: skipped.
"""

import argparse
import json
import os
import random
import struct
import subprocess
import sys
import unicodedata

try:
    import tokenizers
except ImportError:
    print("skipped: the Python package tokenizers is missing; run scripts/setup.sh")
    sys.exit(77)

WORDS = ("the of and to in is that it was for on are as with his they at be this from have or by one had not but what "
         "all were when we there can an your which their said if do will each about how up out them then she many some so "
         "these would other into has more her two like him see time could no make than first been its who now people my made "
         "over did down only way find use may water long little very after words called just where most know get through "
         "back much before go good new write our used me man too any day same right look think also around another came come "
         "work three word must because does part even place well such here take why things help put years different away "
         "again off went old number great tell men say small every found still between name should Mr home big give air line "
         "New York London harbour ship vessel Orleans I'm you're we'll they've it's don't he'd I'LL YOU'RE o'clock 'tis").split()
CODE = ["def f(x):\n    return x**2 + 1", "for (int i = 0; i < n; ++i) {", "\tif (a != b && c->d[3] <= 0x1F) goto fail;",
        "#include <stdio.h>", "SELECT * FROM t WHERE id IN (1, 22, 333);", "a_b.c-d::e/f\\g", "http://example.org/?q=a%20b&c=1",
        "{\"key\": [1.5e-3, null, true]}", "x = y if z else {**w, 'k': 'v'}", "<div class=\"a\">&nbsp;</div>", "// ---- ====",
        "\r\n\r\n", "printf(\"%5.2f\\n\", 3.14159);"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", " \n", "\r\n", "\u00a0", "\u3000", "\u2003", "\u0085", "\u2028", "\u000b", "\u180e",
          "\u200b", "\u1680", " \t \n  "]
EMOJI = ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "\U0001f44d\U0001f3fd", "\u263a"]
SCRIPTS = [(0x41, 0x17f), (0x370, 0x3ff), (0x400, 0x4ff), (0x5d0, 0x5ea), (0x620, 0x66f), (0x900, 0x97f), (0xe01, 0xe5b),
           (0x1100, 0x11ff), (0x3041, 0x30ff), (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0x2000, 0x2bff), (0x1d400, 0x1d7ff), (0x10330, 0x1034a)]
DIGITS = ["7", "42", "1234567890", "3.14159", "1,000,000", "\u0663\u0664", "\u00bd", "\u2167", "\u00b2", "\u0967\u0968", "\U0001d7d8", "12ab34"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_start", "<|<|im_end|>|>", "<file_sep>", "<gh_stars>x"]
BROKEN = [b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe0\x80\x80",
          b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xfe\xff", b"a\xc3\xc3\xa9", b"\xe2\x82\xe2\x82\xac"]


def fragment(random_, kind):
    if kind == "word":
        return random_.choice(WORDS).encode()
    if kind == "made":
        return "".join(random_.choice("abcdefghijklmnopqrstuvwxyzABCDEF'") for _ in range(random_.randint(1, 14))).encode()
    if kind == "code":
        return random_.choice(CODE).encode()
    if kind == "space":
        return random_.choice(SPACES).encode()
    if kind == "emoji":
        return random_.choice(EMOJI).encode()
    if kind == "script":
        low, high = random_.choice(SCRIPTS)
        return "".join(chr(random_.randint(low, high)) for _ in range(random_.randint(1, 6))).encode()
    if kind == "digits":
        return random_.choice(DIGITS).encode()
    if kind == "special":
        return random_.choice(SPECIAL).encode()
    if kind == "control":
        return bytes([random_.randint(0, 31)])
    if kind == "broken":
        return random_.choice(BROKEN)
    return bytes(random_.randrange(256) for _ in range(random_.randint(1, 8)))


KINDS = (["word"] * 40 + ["made"] * 6 + ["code"] * 6 + ["space"] * 10 + ["emoji"] * 4 + ["script"] * 8 + ["digits"] * 8
         + ["special"] * 2 + ["control"])
BROKEN_KINDS = KINDS + ["broken"] * 10 + ["bytes"] * 6


def corpus(count, seed):
    random_ = random.Random(seed)
    lines = [b"", b" ", b"  ", b"\n", b"'", b"'s", b" 's", b"The ship entered the port of", b"a" * 5000, b" " * 5000,
             b"ab" * 3000, b"1" * 500, b"\xff" * 300, b"\x00", b"a\x00b"]
    while len(lines) < count:
        kinds = BROKEN_KINDS if random_.random() < 0.2 else KINDS
        parts = []
        for _ in range(random_.randint(1, 40)):
            parts.append(fragment(random_, random_.choice(kinds)))
            if random_.random() < 0.7:
                parts.append(b" ")
        lines.append(b"".join(parts))
    return lines


def code_points():
    """Every code point but surrogates, alone and between letters, in lines of 64."""
    points = [chr(c) for c in range(0x110000) if not 0xd800 <= c <= 0xdfff]
    return ["".join(f"a{c} {c}1" for c in points[i:i + 64]).encode() for i in range(0, len(points), 64)]


def run(tool, path, lines, work):
    source, target = os.path.join(work, "lines.bin"), os.path.join(work, "tokens.bin")
    with open(source, "wb") as out:
        for line in lines:
            out.write(struct.pack("<I", len(line)) + line)
    subprocess.run([tool, path, source, target], check=True)
    with open(target, "rb") as file:
        data = file.read()
    at, results = 0, []
    for _ in lines:
        count = struct.unpack_from("<I", data, at)[0]
        ids = list(struct.unpack_from(f"<{count}I", data, at + 4))
        at += 4 + 4 * count
        size = struct.unpack_from("<I", data, at)[0]
        results.append((ids, data[at + 4:at + 4 + size]))
        at += 4 + size
    return results, struct.unpack_from("<3I", data, at)


# Code points that the package's Oniguruma and our PCRE2 may know of different versions of Unicode:
# compared only where they were assigned in the older of the two.
def assigned_long_ago(text):
    return all(unicodedata.ucd_3_2_0.category(c) != "Cn" for c in text)


def compare(name, path, lines, tool, work, lenient=False):
    reference = tokenizers.Tokenizer.from_file(path)
    found, memory = run(tool, path, lines, work)
    differences = excused = tokens = 0
    texts = [line.decode("utf-8", errors="replace") for line in lines]
    for text, wanted, (ids, decoded) in zip(texts, reference.encode_batch(texts), found):
        tokens += len(wanted.ids)
        good = ids == wanted.ids and decoded.decode("utf-8") == reference.decode(wanted.ids)
        if good:
            continue
        if lenient and not assigned_long_ago(text):
            excused += 1
            continue
        differences += 1
        if differences <= 5:
            print(f"{name}: {text[:120]!r}\n  wanted {wanted.tokens[:40]} {wanted.ids[:40]}\n  found  {ids[:40]}")
    print(f"{name}: {len(lines)} texts, {tokens} tokens, {differences} differ"
          + (f", {excused} excused (unassigned in Unicode 3.2)" if lenient else "")
          + f"; tables {memory[0]} bytes, resident +{memory[1]} KiB, peak while reading +{memory[2]} KiB")
    return differences


def byte_level_file(path, lines, variant):
    """Trains a small byte-level BPE and writes it in one of the forms that tokenizer.json has."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    prefix = variant == "prefix"
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=2000, show_progress=False, special_tokens=["<|endoftext|>"],
        initial_alphabet=[] if variant == "gaps" else tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([line.decode("utf-8", errors="replace") for line in lines], trainer)
    if variant == "added":
        tokenizer.add_tokens([tokenizers.AddedToken("port of", normalized=True),
                              tokenizers.AddedToken("the ship", normalized=False), "ship", "é~", "the s"])
    data = json.loads(tokenizer.to_str())
    model = data["model"]
    if variant == "joined":
        model["merges"] = [" ".join(pair) for pair in model["merges"]]
    if variant == "early":  # merges before the vocabulary
        data["model"] = {"type": "BPE", "merges": model["merges"], **{k: v for k, v in model.items() if k != "merges"}}
    if variant == "gaps":
        model["unk_token"] = "<|endoftext|>"
    if variant == "fused":
        model["unk_token"], model["fuse_unk"] = "<|endoftext|>", True
        for byte in "Ġaeiou":
            model["merges"] = [pair for pair in model["merges"] if byte not in "".join(pair)]
            for token in [token for token in model["vocab"] if byte in token and token != "<|endoftext|>"]:
                del model["vocab"][token]
    if variant == "whole":
        model["ignore_merges"] = True
        model["merges"] = model["merges"][:200]
    if variant == "noregex":
        data["pre_tokenizer"]["use_regex"] = False
    if variant == "digits":
        data["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": False}, {**data["pre_tokenizer"], "add_prefix_space": True}]}
    with open(path, "w", encoding="utf-8") as out:
        json.dump(data, out, ensure_ascii=variant == "joined", indent=None if variant == "early" else 2)


VARIANTS = ("plain", "joined", "early", "prefix", "gaps", "fused", "whole", "noregex", "digits", "added")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool")
    parser.add_argument("models")
    parser.add_argument("work")
    parser.add_argument("--lines", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=20261121)
    arguments = parser.parse_args()
    os.makedirs(arguments.work, exist_ok=True)
    print(f"seed {arguments.seed}, tokenizers {tokenizers.__version__}")
    lines = corpus(arguments.lines, arguments.seed)
    differences = 0
    smol = os.path.join(arguments.models, "smollm2-135m", "tokenizer.json")
    if os.path.exists(smol):
        differences += compare("smollm2", smol, lines, arguments.tool, arguments.work)
        differences += compare("smollm2, all code points", smol, code_points(), arguments.tool, arguments.work, True)
    else:
        print(f"{smol} is missing: only made tokenizers are compared (make models fetches it)")
    for variant in VARIANTS:
        path = os.path.join(arguments.work, f"{variant}.json")
        byte_level_file(path, lines[:2000], variant)
        count = arguments.lines if variant == "plain" else arguments.lines // 10
        differences += compare(f"gpt2 {variant}", path, lines[:count], arguments.tool, arguments.work)
    differences += compare("gpt2 plain, all code points", os.path.join(arguments.work, "plain.json"), code_points(),
                           arguments.tool, arguments.work, True)
    print(f"{differences} differences")
    return 0 if differences == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
