#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decodes a Perfetto export with Perfetto's own protobuf classes and checks its structure.

usage: check_perfetto.py FILE [--sample]

Checked of every file: one process; every event on a described track; slices begin and end in
balance and in order on each track; timestamps never go back; counters are numbers on counter
tracks; every flow that ends has begun, and begins before it ends. With --sample also the contents
that the unit test trace.export puts into trace_sample.perfetto. Exit code 77: skipped.
"""

import collections
import sys

try:
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb
except ImportError as problem:
    print(f"skipped: the Python package perfetto is not installed ({problem})")
    sys.exit(77)


def read(path):
    trace = pb.Trace()
    with open(path, "rb") as file:
        data = file.read()
    assert trace.ParseFromString(data) == len(data), "bytes after the trace"
    assert trace.packet, "no packets"
    return trace


def check_tracks(trace):
    tracks = {}
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id == 1, packet
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            assert track.uuid != 0 and track.uuid not in tracks, f"track {track.uuid} twice"
            tracks[track.uuid] = track
    processes = [t for t in tracks.values() if t.HasField("process")]
    assert len(processes) == 1 and processes[0].process.process_name == "aegisrt", processes
    for track in tracks.values():
        if track is not processes[0]:
            assert track.parent_uuid == processes[0].uuid, track
            assert track.name, track
    return tracks


def check_events(trace, tracks):
    events, open_slices, last = [], collections.defaultdict(list), 0
    for packet in trace.packet:
        if not packet.HasField("track_event"):
            continue
        event = packet.track_event
        assert packet.timestamp >= last, f"time goes back at {packet.timestamp}"
        last = packet.timestamp
        assert event.track_uuid in tracks, f"event on unknown track {event.track_uuid}"
        is_counter_track = tracks[event.track_uuid].HasField("counter")
        assert is_counter_track == (event.type == pb.TrackEvent.TYPE_COUNTER), event
        stack = open_slices[event.track_uuid]
        if event.type == pb.TrackEvent.TYPE_SLICE_BEGIN:
            assert not stack, f"slices overlap on {tracks[event.track_uuid].name}"
            assert event.name
            stack.append(event)
        elif event.type == pb.TrackEvent.TYPE_SLICE_END:
            assert stack, f"an end without a begin on {tracks[event.track_uuid].name}"
            stack.pop()
        elif event.type == pb.TrackEvent.TYPE_INSTANT:
            assert event.name
        else:
            assert event.HasField("counter_value"), event
            assert event.counter_value >= 0, event
        events.append((packet.timestamp, event))
    left = [tracks[uuid].name for uuid, stack in open_slices.items() if stack]
    assert not left, f"slices without an end on {left}"
    return events


def check_flows(events):
    """flow id -> names of its events in order; the last one ends it."""
    flows, ended = collections.defaultdict(list), set()
    for _, event in events:
        for flow in event.flow_ids:
            assert flow not in ended, f"flow {flow} goes on after its end"
            flows[flow].append(event.name)
        for flow in event.terminating_flow_ids:
            assert flow in flows, f"flow {flow} ends at {event.name} and never began"
            flows[flow].append(event.name)
            ended.add(flow)
    return flows, ended


def check_sample(tracks, events, flows, ended):
    names = collections.Counter(t.name for t in tracks.values())
    for name in ("scheduler", "lane 0", "lane 1", "vad", "model-7", "memory", "temperature"):
        assert names[name] == 1, (name, names)
    assert names["text-detector"] == 2, "overlapping jobs need a second row"
    assert names["queue-depth text-detector"] == 1, names
    assert names['say "hi"\n'] == 1, names

    queue = [(time, e.counter_value) for time, e in events
             if tracks[e.track_uuid].name == "queue-depth text-detector"]
    assert queue == [(10_000_000, 1), (13_000_000, 2), (15_000_000, 1), (18_000_000, 0)], queue

    slices = [(tracks[e.track_uuid].name, e.name, time) for time, e in events
              if e.type == pb.TrackEvent.TYPE_SLICE_BEGIN]
    assert ("lane 0", "text-detector job 1", 10_000_000) in slices, slices
    assert ("lane 0", "text-detector job 1 segment 1", 12_000_000) in slices, slices
    assert ("vad", "job 2", 10_000_000) in slices, slices
    assert len(slices) == 9, slices

    instants = {e.name: e for _, e in events if e.type == pb.TrackEvent.TYPE_INSTANT}
    for name in ("miss job 2: excused-overrun", "abort job 3: overrun", "overrun vad job 2",
                 "reject job 4: queue-full", "skip job 5: after-overrun", "plan"):
        assert name in instants, (name, sorted(instants))
    sentence = instants["miss job 2: excused-overrun"].debug_annotations[0]
    assert sentence.name == "sentence" and "missed its deadline" in sentence.string_value, sentence

    assert len(flows) == 6 and set(flows) == ended, flows
    job_1 = next(names for names in flows.values() if names[0] == "submit job 1")
    assert job_1 == ["submit job 1", "dispatch text-detector job 1: smaller-key", "text-detector job 1",
                     "dispatch text-detector job 1: next-segment", "text-detector job 1 segment 1",
                     "complete job 1: in-time"], job_1
    for names in flows.values():
        assert names[0].startswith("submit") and len(names) >= 2, names

    counters = {tracks[e.track_uuid].name: (e.counter_value, tracks[e.track_uuid].counter)
                for _, e in events if e.type == pb.TrackEvent.TYPE_COUNTER}
    assert counters["memory"][0] == 4096, counters
    assert counters["memory"][1].unit == pb.CounterDescriptor.UNIT_SIZE_BYTES
    assert counters["queue-depth text-detector"][0] == 0, counters
    assert counters["queue-depth text-detector"][1].unit == pb.CounterDescriptor.UNIT_COUNT
    assert counters["temperature"][0] == 45125, counters


def main(arguments):
    if not arguments:
        print(__doc__)
        return 2
    trace = read(arguments[0])
    tracks = check_tracks(trace)
    events = check_events(trace, tracks)
    flows, ended = check_flows(events)
    if "--sample" in arguments[1:]:
        check_sample(tracks, events, flows, ended)
    print(f"{len(tracks)} tracks, {len(events)} events, {len(flows)} flows, {len(ended)} ended")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
