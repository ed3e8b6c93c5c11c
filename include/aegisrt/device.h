/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_DEVICE_H
#define AEGISRT_DEVICE_H

/**
 * @file device.h A device: its capabilities, its one arena, streams, events and buffers.
 *
 * A device reserves and touches one arena when it is created; every buffer lies in it and its
 * size is a hard limit. Beside it lies one region of pinned host memory, from which and into which
 * the device copies at full speed. A stream runs what is put into it in order. Each stream has a
 * host thread of its own (its submission thread): on the host device that thread does the work, on
 * a GPU it enqueues kernels and completion is asynchronous. The same conformance suite runs over
 * all devices.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aegis_device aegis_device;
typedef struct aegis_stream aegis_stream;
typedef struct aegis_event aegis_event;

typedef enum aegis_device_kind {
    AEGIS_DEVICE_AUTO = 0, /**< CUDA when one is there, else the host */
    AEGIS_DEVICE_HOST,
    AEGIS_DEVICE_CUDA
} aegis_device_kind;

/** How a capability was obtained. */
typedef enum aegis_figure_source {
    AEGIS_FIGURE_UNKNOWN = 0,
    AEGIS_FIGURE_READ,    /**< the system or driver says so */
    AEGIS_FIGURE_DERIVED, /**< computed from figures that were read */
    AEGIS_FIGURE_MEASURED /**< timed on this machine */
} aegis_figure_source;

/** What a device is. A figure that is not known is 0, never a guess. */
typedef struct aegis_device_capabilities {
    aegis_device_kind kind;
    int index;
    char name[128];
    int multiprocessor_count;    /**< SMs of a GPU, usable cores of a host (affinity, cgroup) */
    uint64_t total_memory_bytes; /**< of the device (host: RAM or the control group's limit) */
    uint64_t free_memory_bytes;  /**< when queried */
    uint64_t shared_memory_per_block_bytes;                 /**< host: L1 data cache of a core */
    uint64_t l2_cache_bytes;                                /**< host: last level cache */
    int max_threads_per_block;                              /**< host: hardware threads of a core */
    int compute_capability_major, compute_capability_minor; /**< 0.0 on a host */
    int core_clock_khz;                                     /**< maximum */
    int memory_clock_khz;
    int memory_bus_width_bits;
    int fp32_lanes_per_multiprocessor; /**< FP32 multiply-adds a clock and SM or core; of a core
                                            whose model is not known: those of one vector unit */
    bool integrated;                   /**< one memory pool with the host */
    int stream_priorities;             /**< number of distinct stream priorities */
    uint64_t measured_bandwidth_bytes_per_second; /**< 0 until measured */
    uint64_t measured_flops;   /**< single precision, all cores; 0 until measured */
    int copy_engines;          /**< copies that run beside execution and one another; 0 on a host */
    int partition_granularity; /**< multiprocessors that streams can have for themselves come in
                                    multiples of this; 0: they cannot (driver or device) */
} aegis_device_capabilities;

/**
 * Peak memory bandwidth in bytes/s: 2 * memory clock * bus width / 8 (double data rate) when both
 * are known (DERIVED), else the measured figure (MEASURED), else 0 (UNKNOWN). A measured figure
 * above the derived one refutes it and is returned. `ret_source` may be NULL.
 */
uint64_t aegis_device_theoretical_bandwidth(const aegis_device_capabilities *capabilities,
                                            aegis_figure_source *ret_source);

/** Peak FP32 FLOP/s: 2 * lanes * multiprocessors * clock (DERIVED), else measured, else 0; the
 * larger of the two as above. `ret_source` may be NULL. */
uint64_t aegis_device_theoretical_flops(const aegis_device_capabilities *capabilities,
                                        aegis_figure_source *ret_source);

/** Capabilities without creating the device. `measure` also times bandwidth and FLOP rate (under a
 * second; a figure that cannot be measured, as when memory is too short to leave the caches, stays
 * 0). @return DEVICE_NOT_AVAILABLE when there is no such device; INVALID_ARGUMENT (no output, no
 * such kind). Any thread. */
aegis_status aegis_device_query(aegis_device_kind kind,
                                int index,
                                bool measure,
                                aegis_device_capabilities *ret_capabilities,
                                aegis_error *err);

/** All devices of this machine, the host first. Writes at most `capacity` entries and the number
 * that exist to `ret_count`. Not measured. @return INVALID_ARGUMENT (no output). */
aegis_status aegis_device_query_all(aegis_device_capabilities *capabilities,
                                    size_t capacity,
                                    size_t *ret_count,
                                    aegis_error *err);

typedef struct aegis_device_config {
    aegis_device_kind kind;
    int index;             /**< which one of that kind */
    uint64_t arena_bytes;  /**< hard limit of everything on the device */
    bool lock_memory;      /**< mlock the arena; PERMISSION when refused (host) */
    bool measure;          /**< measure bandwidth and FLOP rate at create */
    bool huge_pages;       /**< ask for transparent huge pages (host) */
    uint64_t pinned_bytes; /**< pinned host memory beside the arena, a hard limit too; 0: none. On a
                                host it is ordinary memory, locked with lock_memory */
} aegis_device_config;

/**
 * Creates a device with arena and pinned memory reserved and touched; nothing is reserved later.
 * Before touching, both together are compared with what the machine and its control groups have
 * available where they come from one pool (host, integrated GPU), and pinned memory alone
 * elsewhere, so that the process is refused here and not killed later. @return owned by the caller,
 * destroy after its streams and events. NO_MEMORY; DEVICE_NOT_AVAILABLE (no such device);
 * PERMISSION (lock_memory); INVALID_ARGUMENT (no arena, no such kind).
 */
aegis_status aegis_device_create(const aegis_device_config *config,
                                 const aegis_allocator *allocator,
                                 aegis_device **ret_device,
                                 aegis_error *err);
void aegis_device_destroy(aegis_device *device);

/** Borrowed until the device is destroyed. */
const aegis_device_capabilities *aegis_device_get_capabilities(const aegis_device *device);

/** True when host code may read and write device pointers directly. */
bool aegis_device_host_addressable(const aegis_device *device);

/** First byte and size of the arena. The pointer is the device's address space. */
void aegis_device_get_arena(const aegis_device *device, void **ret_base, uint64_t *ret_size_bytes);

/* ---- buffers: named parts of the arena, taken before start ---- */

/** A part of the arena. Plain data: freed by aegis_device_free. */
typedef struct aegis_buffer {
    void *pointer;
    uint64_t offset_bytes; /**< from the base of the arena */
    uint64_t size_bytes;
} aegis_buffer;

/** Takes a part of the arena (first fit). `alignment` is a power of two, at most 4096, 0 means 64.
 * @return NO_MEMORY (permanent) with need, largest hole and free in the message; INVALID_ARGUMENT
 * (no bytes, a wrong alignment). Any thread. */
aegis_status aegis_device_alloc(aegis_device *device,
                                uint64_t size_bytes,
                                uint64_t alignment,
                                aegis_buffer *ret_buffer,
                                aegis_error *err);
/** Gives a part back; double free and foreign buffers are INVALID_ARGUMENT. */
aegis_status aegis_device_free(aegis_device *device, const aegis_buffer *buffer, aegis_error *err);

/** Bytes taken now and at most since create. Lock-free, any thread. */
void aegis_device_usage(const aegis_device *device, uint64_t *ret_used, uint64_t *ret_peak);

/** First byte and size of the pinned host memory; NULL and 0 when the device has none. Host code
 * reads and writes it; kernels of a CUDA device reach it at the same address. */
void aegis_device_get_pinned(const aegis_device *device, void **ret_base, uint64_t *ret_size_bytes);

/** As aegis_device_alloc, of the pinned host memory. Any thread. */
aegis_status aegis_device_pinned_alloc(aegis_device *device,
                                       uint64_t size_bytes,
                                       uint64_t alignment,
                                       aegis_buffer *ret_buffer,
                                       aegis_error *err);
/** As aegis_device_free, of the pinned host memory. */
aegis_status
aegis_device_pinned_free(aegis_device *device, const aegis_buffer *buffer, aegis_error *err);
/** As aegis_device_usage, of the pinned host memory. */
void aegis_device_pinned_usage(const aegis_device *device, uint64_t *ret_used, uint64_t *ret_peak);

/** Blocking copy between host memory and the arena (either may be either). For set-up, not for the
 * dispatch path. INVALID_ARGUMENT when a range starts in the arena and ends outside. Any thread. */
aegis_status aegis_device_copy(aegis_device *device,
                               void *destination,
                               const void *source,
                               size_t size_bytes,
                               aegis_error *err);

/* ---- streams ---- */

/** How a stream's thread waits, for its next command and for the device to complete its work. */
typedef enum aegis_completion {
    AEGIS_COMPLETION_ADAPTIVE = 0, /**< polls where the end is near (aegis_stream_expect, else the
                                        first 50 us), and sleeps before and after that */
    AEGIS_COMPLETION_POLL,         /**< never sleeps: quickest, and takes a whole core */
    AEGIS_COMPLETION_BLOCK         /**< sleeps at once: least load, latest to see the end */
} aegis_completion;

typedef struct aegis_stream_config {
    const char *name;  /**< thread name, at most 15 characters are used; borrowed for the call */
    int priority;      /**< 0 is the lowest; at most stream_priorities - 1 */
    int cpu;           /**< pin the thread to this CPU; -1: not pinned */
    int fifo_priority; /**< SCHED_FIFO priority 1..99; 0: ordinary scheduling */
    int width;         /**< cores that work on this stream may use (thread plus pool); >= 1,
                            on the host device at most its multiprocessor_count */
    size_t depth;      /**< commands that may wait behind the one that runs; 0 means 64, at
                            most 65536 */
    aegis_completion completion;
    int multiprocessors; /**< this many SMs, which no other stream with such a wish has, run its
                              kernels; rounded up to partition_granularity. 0: all, shared */
    uint64_t spin_ns;    /**< after a command the thread looks so long for the next one before it
                              sleeps, so that it need not be woken; 0: some microseconds (host) */
    bool ahead;          /**< work may be put behind a gate (aegis_stream_ahead_begin), where the
                              device can; takes a second stream of the device. Never with
                              AEGIS_COMPLETION_BLOCK */
} aegis_stream_config;

/** Lowest priority, not pinned, ordinary scheduling, one core, default depth, adaptive completion,
 * all multiprocessors. `name` may be NULL. */
aegis_stream_config aegis_stream_config_default(const char *name);

/** A function run on the stream's thread. Must not call back into the same stream's synchronize. */
typedef void (*aegis_stream_function)(void *argument);

/** @return PERMISSION when pinning or SCHED_FIFO was asked for and is refused (no silent fallback,
 * message with the cure); UNSUPPORTED for multiprocessors where partition_granularity is 0,
 * NO_MEMORY when as many are not left, or no host memory; DEVICE_LOST after a stream was abandoned;
 * INVALID_ARGUMENT (a number out of range). The caller owns the stream and destroys it before the
 * device. */
aegis_status aegis_stream_create(aegis_device *device,
                                 const aegis_stream_config *config,
                                 aegis_stream **ret_stream,
                                 aegis_error *err);
/** Waits for the stream's work, then ends its thread. NULL is fine. May wait for the whole device,
 * so for what stands behind gates of other streams. */
void aegis_stream_destroy(aegis_stream *stream);

/** Puts a call into the stream: `function(argument)` runs on the stream's thread after all before
 * it was issued. Any thread; what one puts in stays in its order. No allocation, no lock. @return
 * QUEUE_FULL; INVALID_ARGUMENT (no function); DEVICE (the device refuses the call). */
aegis_status aegis_stream_call(aegis_stream *stream,
                               aegis_stream_function function,
                               void *argument,
                               aegis_error *err);

/** As call, but runs after everything before it has COMPLETED on the device. It runs also when work
 * before it failed; aegis_stream_query tells it so. @return QUEUE_FULL; INVALID_ARGUMENT (no
 * function). */
aegis_status aegis_stream_notify(aegis_stream *stream,
                                 aegis_stream_function function,
                                 void *argument,
                                 aegis_error *err);

/** Copy in stream order. Pointers must stay valid until it completes. INVALID_ARGUMENT when a range
 * starts in the arena and ends outside; QUEUE_FULL as call. Zero bytes are fine. */
aegis_status aegis_stream_copy(aegis_stream *stream,
                               void *destination,
                               const void *source,
                               size_t size_bytes,
                               aegis_error *err);

/** Waits until everything put into the stream has completed; reports the first failure of that work
 * and, unless it is fatal, forgets it: DEVICE, DEVICE_LOST. STATE from the stream's own thread;
 * INVALID_ARGUMENT (no stream). */
aegis_status aegis_stream_synchronize(aegis_stream *stream, aegis_error *err);

/** Waits likewise, and gives up at the CLOCK_MONOTONIC instant `until_ns`: TIMEOUT, with what was
 * waited for in the message and nothing changed, so that it can be called again; else what the work
 * returned. UNSUPPORTED when the device cannot; INVALID_ARGUMENT (no stream). This is how a hung
 * kernel is found without hanging. */
aegis_status
aegis_stream_synchronize_until(aegis_stream *stream, uint64_t until_ns, aegis_error *err);

/** In place of destroy, for a stream whose work does not end. OK when it ended after all within 0.1
 * s and the stream is destroyed. Else DEVICE_LOST, fatal, which is the report: the thread and all
 * that the work may still touch (stream, arena, pinned memory) stay until the process ends, the
 * device takes no new stream and can be destroyed without waiting. UNSUPPORTED, with nothing
 * changed, when the device cannot; INVALID_ARGUMENT (no stream). */
aegis_status aegis_stream_abandon(aegis_stream *stream, aegis_error *err);

/** The failure of the work (DEVICE, DEVICE_LOST), also while some is left; else BUSY when work is
 * left; OK when idle; INVALID_ARGUMENT (no stream). Never blocks and forgets nothing. Any thread,
 * from within a stream function too. */
aegis_status aegis_stream_query(aegis_stream *stream, aegis_error *err);

/** The first failure of the work since one was last reported by this or by synchronize; forgets it
 * unless it is fatal: what that work returned. OK when there was none, also while work is left;
 * INVALID_ARGUMENT (no stream). Never blocks. Meant for functions of aegis_stream_notify, which
 * learn so how the work before them ended. Any thread. */
aegis_status aegis_stream_take_failure(aegis_stream *stream, aegis_error *err);

/** From within a function of aegis_stream_call: what it enqueues is not expected to complete before
 * `least_ns` from now. With adaptive completion the thread sleeps up to shortly before that, then
 * polls: most of a core is saved and the end is seen as early as by polling. It counts for the next
 * notification, is no promise, and means nothing where work completes before its call returns. */
void aegis_stream_expect(aegis_stream *stream, uint64_t least_ns);

/* Launching ahead: while work of the stream runs, what may come next is enqueued behind a gate, and
 * whoever decides that it does come opens the gate with one store, where a launch would take some
 * microseconds. What stands behind the gate does not run, and holds up nothing else of the stream:
 * whatever is put into the stream goes past it. One piece of work at a time.
 *
 * It cannot be taken back: only run, once, by _take or by _discard. So the memory that it touches
 * has to stay until then, and calls that wait for the whole device (cudaFree, say) wait for it.
 * Nothing may be enqueued there that makes its caller wait for it: no copy from or to pageable
 * memory or from host to host, no kernel or graph that has yet to be loaded. */

/**
 * From within a function on the stream's own thread: what it enqueues from here to _end stands
 * behind the gate. The notification that comes next waits for what was enqueued before, no more.
 * @return UNSUPPORTED when the device cannot or the stream's configuration does not say `ahead`;
 * BUSY when something stands there already; STATE on another thread. No allocation, no lock.
 */
aegis_status aegis_stream_ahead_begin(aegis_stream *stream, aegis_error *err);
/** After each successful _begin, on the same thread. OK, or what the device returned. */
aegis_status aegis_stream_ahead_end(aegis_stream *stream, aegis_error *err);
/** Opens the gate: the work behind it begins. Work of the stream that ran before must have been
 * seen to end. One store, any thread, one at a time; between _end and _take, which still has to
 * follow. */
void aegis_stream_ahead_open(aegis_stream *stream);
/** From within a function on the stream's own thread, in place of enqueueing what stands behind the
 * gate: opens it, unless that was done, and the notification that comes next waits for that work.
 */
void aegis_stream_ahead_take(aegis_stream *stream);
/** From within a function on the stream's own thread, when nothing else of the stream runs: lets
 * what stands behind the gate run and waits for its end, however long that takes; a failure is
 * taken by aegis_stream_take_failure. Fine when nothing does, and where the device cannot. Before
 * its memory goes. */
void aegis_stream_ahead_discard(aegis_stream *stream);

/**
 * What the stream's own thread does while it waits for the work before a notification:
 * `function(argument)`, which may put work behind the gate. It is called once when the end is near,
 * AEGIS_STREAM_NEAR_NS before the instant of aegis_stream_expect (without one at once), and from
 * then on each time that it is asked for, as long as the thread polls. NULL: nothing. Only while
 * the stream is idle.
 * @return false when the device knows no such waiting: it is never called.
 */
bool aegis_stream_set_meanwhile(aegis_stream *stream,
                                aegis_stream_function function,
                                void *argument);
#define AEGIS_STREAM_NEAR_NS 60000u
/** Asks for it, once. Any thread; one store. */
void aegis_stream_ask_meanwhile(aegis_stream *stream);

/* From within a function that runs on the stream's own thread (aegis_stream_call), the following
 * three put work behind what that function has enqueued so far, at once and past the commands that
 * wait: with them a backend copies its inputs in and its outputs out in the order of its kernels.
 * STATE on another thread; UNSUPPORTED when the device cannot. They allocate nothing. */

/** Who shares the link with others copies at most so much at once: theirs get between the pieces,
 * so that none waits for all of a large one. */
#define AEGIS_COPY_PIECE_BYTES (UINT64_C(2) << 20)

/** A copy (aegis_stream_copy). From pageable memory it may wait for the copy, from pinned it does
 * not. STATE, UNSUPPORTED; INVALID_ARGUMENT when a range starts in the arena and ends outside. */
aegis_status aegis_stream_enqueue_copy(aegis_stream *stream,
                                       void *destination,
                                       const void *source,
                                       size_t size_bytes,
                                       aegis_error *err);
/** A record (aegis_event_record). STATE, UNSUPPORTED; BUSY when the event's record still waits in
 * another stream; INVALID_ARGUMENT (of different devices). */
aegis_status
aegis_stream_enqueue_record(aegis_stream *stream, aegis_event *event, aegis_error *err);
/** A wait (aegis_stream_wait_event). STATE, UNSUPPORTED; INVALID_ARGUMENT (of different devices).
 */
aegis_status aegis_stream_enqueue_wait(aegis_stream *stream, aegis_event *event, aegis_error *err);

int aegis_stream_width(const aegis_stream *stream);
aegis_device *aegis_stream_device(const aegis_stream *stream);

/* ---- events ---- */

/** An event that was not recorded yet counts as complete, as in CUDA. NO_MEMORY, INVALID_ARGUMENT.
 */
aegis_status aegis_event_create(aegis_device *device, aegis_event **ret_event, aegis_error *err);
/** NULL is fine. Commands of streams that still use the event complete as if it lived. */
void aegis_event_destroy(aegis_event *event);
/** Puts a record into the stream; the event completes when all before it has. An event whose record
 * is still waiting in another stream is BUSY. QUEUE_FULL as call; INVALID_ARGUMENT (of different
 * devices). */
aegis_status aegis_event_record(aegis_event *event, aegis_stream *stream, aegis_error *err);
/** OK when complete, BUSY when not; INVALID_ARGUMENT (no event). Never blocks. */
aegis_status aegis_event_query(aegis_event *event, aegis_error *err);
/** Blocks until complete. Not from the thread of a stream that must run first. INVALID_ARGUMENT (no
 * event). */
aegis_status aegis_event_synchronize(aegis_event *event, aegis_error *err);
/** Makes later work of `stream` wait for the record of the event that was put into a stream last.
 * QUEUE_FULL as call; INVALID_ARGUMENT (of different devices). */
aegis_status aegis_stream_wait_event(aegis_stream *stream, aegis_event *event, aegis_error *err);
/** Nanoseconds between two completed events. STATE when one is not complete or was never recorded;
 * INVALID_ARGUMENT (of different devices). */
aegis_status aegis_event_elapsed_ns(aegis_event *start,
                                    aegis_event *end,
                                    int64_t *ret_elapsed_ns,
                                    aegis_error *err);

/** "host", "cuda" or "auto"; "unknown" for a foreign value. Static. */
const char *aegis_device_kind_name(aegis_device_kind kind);

#ifdef __cplusplus
}
#endif
#endif
