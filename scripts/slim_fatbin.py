#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Zeroes, in a shared library, the CUDA machine code of architectures that are not wanted.

    slim_fatbin.py --for 90[,87...] LIBRARY

A library holds its kernels once for each architecture, in containers that CUDA calls fat binaries: a header (magic,
version, size of the header, size of what follows), then entries of kind (1: PTX, 2: machine code), size and
architecture. Where a container has code of a wanted architecture, the bodies of its other entries become zeros, in
place: no address moves, the driver never picks them on such a GPU, and packed the file is small. A container that has
none of a wanted architecture is left alone.
"""
import argparse
import os
import struct
import sys

MAGIC = struct.pack("<I", 0xBA55ED50)
CONTAINER = struct.Struct("<IHHQ")  # magic, version, bytes of this header, bytes of the entries
ENTRY = struct.Struct("<HHIQ")  # kind, version, bytes of the entry's header, bytes of its body
ARCHITECTURE_AT = 28  # in the entry's header
MACHINE_CODE = 2


def entries_of(data, start, end):
    """(kind, architecture, where the body is, its size) of each entry; None when it is no container after all."""
    found = []
    while start < end:
        kind, _, header, size = ENTRY.unpack_from(data, start)
        if header < ARCHITECTURE_AT + 4 or start + header + size > end:
            return None
        architecture = struct.unpack_from("<I", data, start + ARCHITECTURE_AT)[0]
        found.append((kind, architecture, start + header, size))
        start += header + size
    return found


def slim(data, wanted):
    """Returns the bytes zeroed and the bytes of code that are left."""
    zeroed = kept = 0
    at = data.find(MAGIC)
    while at >= 0 and at + CONTAINER.size <= len(data):
        _, version, header, size = CONTAINER.unpack_from(data, at)
        end = at + header + size
        entries = entries_of(data, at + header, end) if version == 1 and end <= len(data) else None
        if entries is None:
            at = data.find(MAGIC, at + 4)
            continue
        has = any(kind == MACHINE_CODE and architecture in wanted for kind, architecture, _, _ in entries)
        for kind, architecture, body, length in entries:
            if has and not (kind == MACHINE_CODE and architecture in wanted):
                data[body:body + length] = bytes(length)
                zeroed += length
            else:
                kept += length
        at = data.find(MAGIC, end)
    return zeroed, kept


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--for", dest="wanted", required=True, help="compute capabilities without the dot: 90,87")
    parser.add_argument("library")
    given = parser.parse_args()
    wanted = {int(one) for one in given.wanted.split(",")}
    with open(given.library, "rb") as file:
        data = bytearray(file.read())
    zeroed, kept = slim(data, wanted)
    if zeroed == 0:
        sys.exit(f"slim_fatbin.py: error: {given.library} holds nothing to leave out for {given.wanted}")
    with open(given.library + ".part", "wb") as file:
        file.write(data)
    os.replace(given.library + ".part", given.library)
    print(f"{given.library}: {zeroed >> 20} MiB zeroed, {kept >> 20} MiB of code left", file=sys.stderr)


if __name__ == "__main__":
    main()
