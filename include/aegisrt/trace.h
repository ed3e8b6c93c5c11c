/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_TRACE_H
#define AEGISRT_TRACE_H

/**
 * @file trace.h Records of everything that was decided and done, and what can be asked of them.
 *
 * Writers put fixed-size binary records into a ring of their own, without lock or allocation; a
 * full ring counts drops. A collector drains the rings to memory and, when asked, to a file. Text
 * is made at export only.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/clock.h>
#include <aegisrt/error.h>
#include <aegisrt/rationale.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AEGIS_TRACE_NONE 0xffffu /**< "no model" or "no lane" in a record */

/** What a record is about. Values are part of the file format: never renumber. The operands a..d
 * of each kind are documented beside it; times are ns of the trace's clock. */
typedef enum aegis_trace_kind {
    AEGIS_TRACE_INVALID = 0,
    /* events: what went into the scheduler core, in order; enough to replay */
    /** model, lane; a period, b deadline, c segments; after its LIMITS and SEGMENT records */
    AEGIS_TRACE_EVENT_MODEL_ADD = 1,
    /** model */
    AEGIS_TRACE_EVENT_MODEL_REMOVE = 2,
    /** model, job; a release (nominal), b absolute deadline (0: as admitted), c priority; d twice
     * the time since the driver saw it, plus 1 when another one that it saw with it follows */
    AEGIS_TRACE_EVENT_SUBMIT = 3,
    /** the core was called because a timer passed; a time since the driver saw that */
    AEGIS_TRACE_EVENT_TIMER = 4,
    /** model, job, lane; a segment, b start, c end, d status */
    AEGIS_TRACE_EVENT_SEGMENT_DONE = 5,
    /** a mode index */
    AEGIS_TRACE_EVENT_MODE = 6,
    /** a lanes, b max models, c max jobs, d wake bound; job: launch bound */
    AEGIS_TRACE_EVENT_CORE = 7,
    /** model; a compute budget, b priority, c queue depth, d overrun | early << 8 | background <<
     * 16 | copies early << 24 | weight << 32; job: share of a background model in parts per
     * million, 0: all */
    AEGIS_TRACE_EVENT_MODEL_LIMITS = 8,
    /** model; a index, b bound, c enforceable bound, d 1: waits for SEGMENT_READY */
    AEGIS_TRACE_EVENT_MODEL_SEGMENT = 9,
    /** model */
    AEGIS_TRACE_EVENT_CLEAR_FAULT = 10,
    /** no more dispatches */
    AEGIS_TRACE_EVENT_STOP = 11,
    /** model; a segment: what it waited for (bytes from a disk) is there */
    AEGIS_TRACE_EVENT_SEGMENT_READY = 12,
    /** model, job; the copy of its inputs to the device has ended: a start, b end, c status */
    AEGIS_TRACE_EVENT_INPUTS_READY = 13,
    /** model; a jitter in place of the one that it was added with */
    AEGIS_TRACE_EVENT_MODEL_JITTER = 14,
    /* decisions: what came out of the core, in order */
    /** model, job, lane; a segment, b key of the chosen, c key of the runner-up, d its model or -1
     */
    AEGIS_TRACE_DISPATCH = 16,
    /** a when */
    AEGIS_TRACE_ARM_TIMER = 17,
    /** model, job, lane; a release, b deadline, c finish, d response */
    AEGIS_TRACE_COMPLETE = 18,
    /** as COMPLETE; rationale says if it is excused and by what */
    AEGIS_TRACE_MISS = 19,
    /** model, job; rationale; a release */
    AEGIS_TRACE_REJECT = 20,
    /** model, job, lane; rationale; a release, b deadline, c when, d status */
    AEGIS_TRACE_ABORT = 21,
    /** model, job, lane; a bound, b elapsed when detected, c segment */
    AEGIS_TRACE_OVERRUN = 22,
    /** model, job, lane; a bound */
    AEGIS_TRACE_TERMINATE = 23,
    /** model, job; a release: dropped after an overrun */
    AEGIS_TRACE_SKIP = 24,
    /** lane; a instant since when the proofs hold again */
    AEGIS_TRACE_LANE_WHOLE = 25,
    /** lane; a when: a non-work-conserving policy waits */
    AEGIS_TRACE_IDLE_UNTIL = 26,
    /** model, job, lane; a release: its inputs are to be copied to the device now */
    AEGIS_TRACE_COPY_IN = 27,
    /* execution, written by lanes */
    /** model, job, lane; a segment, b start, c end, d status */
    AEGIS_TRACE_EXECUTE = 32,
    /** model, job, lane; weights of a paged model were read in, within the EXECUTE that ends now;
     * a segment, b bytes */
    AEGIS_TRACE_PAGE_IN = 33,
    /* admission and life cycle */
    /** model; a step 1..9, b status, c duration ns */
    AEGIS_TRACE_ADMISSION_STEP = 48,
    /** model, lane; a bound ns, b response ns, c utilisation ppm */
    AEGIS_TRACE_ADMITTED = 49,
    /** model; rationale; a,b,c,d operands of the rationale */
    AEGIS_TRACE_REFUSED = 50,
    /** model, lane */
    AEGIS_TRACE_EVICTED = 51,
    /* memory */
    /** lane or NONE; a height, b lower bound, c capacity, d buffers */
    AEGIS_TRACE_PLAN = 64,
    /** model; a offset, b size, c class */
    AEGIS_TRACE_BIND = 65,
    /** model; a index, b size, c offset (recorded while profiling) */
    AEGIS_TRACE_ALLOCATION = 66,
    /** model, job; a index, b size, c expected size or -1 */
    AEGIS_TRACE_SPILL = 67,
    /** a policy (aegis_pressure_policy), b bytes that could be freed, c bytes that were wanted */
    AEGIS_TRACE_PRESSURE = 68,
    /* other */
    /** lane; a waited ns */
    AEGIS_TRACE_SYNCHRONIZE = 80,
    /** model; a status, b category, c native code */
    AEGIS_TRACE_FAULT = 81,
    /** a which (aegis_trace_counter), b value */
    AEGIS_TRACE_COUNTER = 82,
    /** a 0 when the run starts, 1 when it stops, else free */
    AEGIS_TRACE_MARK = 83
} aegis_trace_kind;

typedef enum aegis_trace_counter {
    AEGIS_COUNTER_MEMORY_BYTES = 0, /**< planned of the arena, whenever the plan changes */
    AEGIS_COUNTER_QUEUE_DEPTH = 1,  /**< jobs of a model that have not ended. The Perfetto export
                                         counts them from submissions and ends, so that nobody has
                                         to record it; it does not draw what is recorded */
    AEGIS_COUNTER_TEMPERATURE_MILLIDEGREES = 2 /**< of the hottest thermal zone */
} aegis_trace_counter;

/** One record: 64 bytes, little endian in files. */
typedef struct aegis_trace_record {
    uint64_t time_ns;
    uint64_t job; /**< 0: none */
    int64_t a, b, c, d;
    uint32_t sequence;  /**< counts the writes to its ring, dropped ones too: a gap is a drop */
    uint16_t kind;      /**< aegis_trace_kind */
    uint16_t rationale; /**< aegis_rationale */
    uint16_t model, lane;
    uint16_t ring; /**< set by the ring */
    uint16_t reserved;
} aegis_trace_record;

typedef struct aegis_trace_collector aegis_trace_collector;
typedef struct aegis_trace_ring aegis_trace_ring;

typedef struct aegis_trace_config {
    size_t ring_records;   /**< capacity of each ring; rounded up to a power of two; 0: 65,536 */
    size_t memory_records; /**< newest records kept for query; 0: none are kept */
    const char *path;      /**< native trace file; NULL: none */
    /** A JSON object with configuration, profiles and plan, borrowed for the call; NULL: "{}".
     * Exports read {"models": [{"name": ...}, ...], "lanes": N}: a record's model is the position
     * in that array. */
    const char *header_json;
    uint64_t drain_interval_ns; /**< 0: 20 ms. The drain thread runs from create to finish */
} aegis_trace_config;

/**
 * Creates a collector and starts its drain thread, which has ordinary priority whatever the
 * caller's. Copies `config`, `clock` and `allocator`; the clock's state is borrowed until destroy.
 * Its own ring, number 0, is named "collector".
 *
 * INVALID_ARGUMENT, PARSE for a header that is no JSON object, NO_MEMORY, or IO when the file
 * cannot be made. The file is written in place, so that a process that dies leaves what was
 * drained until then.
 */
aegis_status aegis_trace_collector_create(const aegis_trace_config *config,
                                          const aegis_clock *clock,
                                          const aegis_allocator *allocator,
                                          aegis_trace_collector **ret_collector,
                                          aegis_error *err);

/** Replaces the header, at any time before finish: the last one counts. Borrows `header_json` for
 * the call. Any thread. STATE after finish; PARSE, NO_MEMORY, or IO when the file failed. */
aegis_status aegis_trace_collector_set_header(aegis_trace_collector *collector,
                                              const char *header_json,
                                              aegis_error *err);

/** Stops the drain thread, drains what is left, ends the file with its totals and keeps the records
 * in memory. Writers must have stopped. IO when a write to the file failed since create: its
 * records from there on count as dropped and the file ends at its last whole block. Called again,
 * it answers the same. */
aegis_status aegis_trace_collector_finish(aegis_trace_collector *collector, aegis_error *err);

/** Finishes first when that was not done (its error is lost then). NULL is fine. */
void aegis_trace_collector_destroy(aegis_trace_collector *collector);

/** Adds a ring for one writer thread; the collector owns it. Allocates: set-up only. EXISTS when
 * the name is taken, INVALID_ARGUMENT when it is empty or no UTF-8, STATE after finish, NO_MEMORY.
 */
aegis_status aegis_trace_ring_create(aegis_trace_collector *collector,
                                     const char *name,
                                     aegis_trace_ring **ret_ring,
                                     aegis_error *err);

/** Copies a record into the ring, filling in sequence and ring (and time_ns when it is 0). One
 * thread at a time per ring; no lock, no allocation, no system call but the clock. A full ring
 * counts a drop. `ring` may be NULL. */
void aegis_trace_record_write(aegis_trace_ring *ring, const aegis_trace_record *record);

/** Records one event from any thread, by the collector's own ring under a lock: for admission and
 * other slow paths. After finish it counts a drop. `collector` may be NULL. */
void aegis_trace_collector_record(aegis_trace_collector *collector,
                                  const aegis_trace_record *record);

/** Records written and dropped so far, over all rings. Records that a failing file lost count as
 * dropped. Any thread, no lock. */
void aegis_trace_collector_totals(const aegis_trace_collector *collector,
                                  uint64_t *ret_written,
                                  uint64_t *ret_dropped);

/** A half-open interval of time and, when `kind` is not INVALID, one kind. */
typedef struct aegis_trace_query {
    uint64_t start_ns, end_ns; /**< [start, end); end 0: no end */
    aegis_trace_kind kind;
} aegis_trace_query;

/**
 * The matching records among those kept in memory, in time order. Drains first, so that everything
 * written before the call is seen. Writes the first `capacity` of them and the number of all that
 * match to `ret_count`. Any thread. STATE when the configuration keeps none, INVALID_ARGUMENT,
 * NO_MEMORY.
 */
aegis_status aegis_trace_collector_query(aegis_trace_collector *collector,
                                         const aegis_trace_query *query,
                                         aegis_trace_record *records,
                                         size_t capacity,
                                         size_t *ret_count,
                                         aegis_error *err);

/* ---- trace files ---- */

/** A trace that was read and checked whole: sizes, magic, version, checksums, totals. Immutable:
 * any number of threads may read it. */
typedef struct aegis_trace_file aegis_trace_file;

/** Reads a trace file. PARSE with the offset and what was expected when the bytes are damaged, or
 * end before the header does. A file whose writer died has no totals: it is read up to its last
 * whole block and aegis_trace_file_complete says false. IO, NOT_FOUND or PERMISSION from the
 * system; NO_MEMORY. */
aegis_status aegis_trace_file_open(const char *path,
                                   const aegis_allocator *allocator,
                                   aegis_trace_file **ret_file,
                                   aegis_error *err);

/** The same from memory; borrows `bytes` for the call. PARSE, NO_MEMORY. */
aegis_status aegis_trace_file_parse(const void *bytes,
                                    size_t size,
                                    const aegis_allocator *allocator,
                                    aegis_trace_file **ret_file,
                                    aegis_error *err);

/** What the collector holds in memory now (the newest records), as if read from a file. The caller
 * closes it. Any thread. STATE when the configuration keeps none, NO_MEMORY. */
aegis_status aegis_trace_collector_snapshot(aegis_trace_collector *collector,
                                            aegis_trace_file **ret_file,
                                            aegis_error *err);

/** NULL is fine. */
void aegis_trace_file_close(aegis_trace_file *file);

/** JSON text of the header. Borrowed. */
const char *aegis_trace_file_header(const aegis_trace_file *file);

/** All records, sorted by (time, ring, sequence). Borrowed. */
const aegis_trace_record *aegis_trace_file_records(const aegis_trace_file *file, size_t *ret_count);

/** Records that were written but are not here: the writer's totals, or, when the file is not
 * complete, the gaps in the sequences (a lower bound). */
uint64_t aegis_trace_file_dropped(const aegis_trace_file *file);

/** Whether the writer ended the file with its totals. */
bool aegis_trace_file_complete(const aegis_trace_file *file);

/** Number of rings, and the name of one ("" when out of range). */
size_t aegis_trace_file_ring_count(const aegis_trace_file *file);
const char *aegis_trace_file_ring_name(const aegis_trace_file *file, size_t ring);

/** The ring of that name. False, and `ret_ring` untouched, when there is none. */
bool aegis_trace_file_ring_find(const aegis_trace_file *file, const char *name, size_t *ret_ring);

/** The records of one ring in the order in which they were written, whatever their times: what a
 * replay follows. Borrowed; NULL and 0 when out of range. */
const aegis_trace_record *
aegis_trace_file_ring_records(const aegis_trace_file *file, size_t ring, size_t *ret_count);

/** aegis_trace_file_dropped of one ring; 0 when out of range. A replay of a ring with drops cannot
 * be exact. */
uint64_t aegis_trace_file_ring_dropped(const aegis_trace_file *file, size_t ring);

/** Number of models that the header names. */
size_t aegis_trace_file_model_count(const aegis_trace_file *file);

/** Name of a model from the header: "model-7" when the header has none, "" for AEGIS_TRACE_NONE.
 * Uses `buffer` only for the made-up name (32 bytes are enough). */
const char *aegis_trace_file_model_name(const aegis_trace_file *file,
                                        uint16_t model,
                                        char *buffer,
                                        size_t size);

/** An instant in the largest unit that it reaches, exact to the nanosecond: "1.234567890 s",
 * "20 ms", "1.500 us", "7 ns". `size` of 32 is enough. Returns `buffer`. */
const char *aegis_trace_format_instant(uint64_t ns, char *buffer, size_t size);

#define AEGIS_TRACE_SENTENCE_BYTES 512 /**< a buffer that holds every usual sentence */

/**
 * One English sentence with the record's operands, for example "text-detector job 12 dispatched on
 * lane 0 at 1.234567 s because its key 1400000000 was smaller than vad's 1432000000". Cut at a
 * whole character when `size` is short. Returns `buffer`.
 */
const char *aegis_trace_file_describe(const aegis_trace_file *file,
                                      const aegis_trace_record *record,
                                      char *buffer,
                                      size_t size);

/** JSON lines: one object a record with schema_version, time_ns, ring, sequence, kind, model, job,
 * lane, rationale, sentence, and the operands of the kind under their names. What a record does not
 * have is null. "-" is stdout. IO. */
aegis_status
aegis_trace_export_json(const aegis_trace_file *file, const char *path, aegis_error *err);

/** Perfetto protobuf: one track per lane and model (more rows where jobs of one model overlap),
 * flows from submission over dispatch and execution to completion, instants for what went wrong,
 * counter tracks. "-" is stdout. IO, NO_MEMORY. */
aegis_status
aegis_trace_export_perfetto(const aegis_trace_file *file, const char *path, aegis_error *err);

/** As the file exports, from what the collector holds in memory now. STATE when the configuration
 * keeps none; IO; NO_MEMORY. */
aegis_status aegis_trace_collector_export_json(aegis_trace_collector *collector,
                                               const char *path,
                                               aegis_error *err);
aegis_status aegis_trace_collector_export_perfetto(aegis_trace_collector *collector,
                                                   const char *path,
                                                   aegis_error *err);

/** "dispatch", "complete", ...; "unknown" for a foreign value. Static. */
const char *aegis_trace_kind_name(aegis_trace_kind kind);

#ifdef __cplusplus
}
#endif
#endif
