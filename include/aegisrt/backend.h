/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_BACKEND_H
#define AEGISRT_BACKEND_H

/**
 * @file backend.h A runtime that executes models, and a model in it.
 *
 * The life of a model: compile (offline, once, into a cache) -> open (trial: in memory of its own,
 * allocations are recorded) -> record and profile -> place (into the arena, at planned addresses)
 * -> execute -> close. An open, unplaced model can be executed too: that is how it is profiled.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/device.h>
#include <aegisrt/error.h>
#include <aegisrt/memory_plan.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aegis_backend aegis_backend;
typedef struct aegis_model aegis_model;

/** Which runtimes there are and which of them this build holds. Whether one can be loaded here,
 * aegis_backend_create says. */
typedef struct aegis_runtime_info {
    const char *name; /**< "onnxruntime", "transformer", "null" */
    bool built;
    bool production;        /**< false: not offered in messages to users */
    const char *build_flag; /**< "AEGISRT_BUILD_ONNXRUNTIME" */
} aegis_runtime_info;
const aegis_runtime_info *aegis_runtime_list(size_t *ret_count);

typedef struct aegis_backend_config {
    const char *runtime;   /**< a name of aegis_runtime_list */
    const char *library;   /**< path of the runtime's shared library; NULL: built-in search list */
    const char *cache_dir; /**< where compiled models are kept; created when missing */
    const char *consumer;  /**< who wants it, for the message when it is not there */
} aegis_backend_config;

/** Loads a runtime once. RUNTIME_NOT_AVAILABLE names the key, the flag and the consumer;
 * UNSUPPORTED for a device whose memory it cannot work in; INVALID_ARGUMENT; NO_MEMORY; and what
 * making the cache's folder returned. The device is borrowed and outlives the backend. */
aegis_status aegis_backend_create(const aegis_backend_config *config,
                                  aegis_device *device,
                                  const aegis_allocator *allocator,
                                  aegis_backend **ret_backend,
                                  aegis_error *err);
/** After its models. NULL is fine. */
void aegis_backend_destroy(aegis_backend *backend);
const char *aegis_backend_name(const aegis_backend *backend);
/** Version of the runtime that is loaded. */
const char *aegis_backend_version(const aegis_backend *backend);

typedef enum aegis_element {
    AEGIS_ELEMENT_F32 = 1,
    AEGIS_ELEMENT_F16,
    AEGIS_ELEMENT_BF16,
    AEGIS_ELEMENT_F64,
    AEGIS_ELEMENT_I8,
    AEGIS_ELEMENT_U8,
    AEGIS_ELEMENT_I16,
    AEGIS_ELEMENT_U16,
    AEGIS_ELEMENT_I32,
    AEGIS_ELEMENT_U32,
    AEGIS_ELEMENT_I64,
    AEGIS_ELEMENT_U64,
    AEGIS_ELEMENT_BOOL
} aegis_element;
size_t aegis_element_bytes(aegis_element element);
const char *aegis_element_name(aegis_element element);

#define AEGIS_MAX_RANK 8

/** A tensor at the model's surface. In a description negative dimensions are free. */
typedef struct aegis_tensor_info {
    const char *name;
    aegis_element element;
    int rank;
    int64_t shape[AEGIS_MAX_RANK];
    uint64_t size_bytes; /**< 0 while a dimension is free */
} aegis_tensor_info;

typedef struct aegis_input_shape {
    const char *name;
    int rank;
    int64_t shape[AEGIS_MAX_RANK];
} aegis_input_shape;

/** An output that is fed back as an input of the next job. */
typedef struct aegis_state_pair {
    const char *input, *output;
} aegis_state_pair;

/** What fills one input that the caller does not give. */
typedef enum aegis_source_kind {
    AEGIS_SOURCE_ZEROS = 0,
    AEGIS_SOURCE_RANDOM,   /**< floats in [0, 1); integers in [low, high] */
    AEGIS_SOURCE_CONSTANT, /**< every element is `constant` */
    AEGIS_SOURCE_FILE,     /**< a .npy file of the exact dtype and shape */
    AEGIS_SOURCE_EXTERNAL  /**< given at every submission */
} aegis_source_kind;

typedef struct aegis_source {
    const char *input; /**< NULL: all inputs not named otherwise */
    aegis_source_kind kind;
    double constant;
    int64_t low, high;
    const char *path;
} aegis_source;

/** Where the weights are between runs. */
typedef enum aegis_residency {
    AEGIS_RESIDENT = 0, /**< in memory as long as the model is open */
    AEGIS_PAGED,        /**< in a file of the cache; read in before a run that does not find them in
                             the paged region of its lane, which all paged models of the lane share.
                             Reading is part of the execution, and is measured and bounded with it
                             as if it were always necessary */
    AEGIS_STREAMED      /**< of a language model with a memory limit: what does not fit into it
                             comes anew for every job, while other parts compute. Segments are what
                             the backend makes them; a model that fits is as a resident one.
                             On the host it is read from the model's own files, which nothing
                             bounds and which is no part of the execution: a segment waits for its
                             bytes off the lane (aegis_model_awaited_segments), so background models
                             alone can be streamed. On a CUDA device it is copied from pinned host
                             memory (aegis_device_config.pinned_bytes) by the segments themselves:
                             the copies are part of the execution, measured and bounded with it */
} aegis_residency;

/** Whether loading may take `bytes` of the process's memory beside the plan. What it returns beside
 * OK ends the open. */
typedef aegis_status (*aegis_model_reserve)(void *self, uint64_t bytes, aegis_error *err);

typedef struct aegis_model_config {
    const char *name;
    const char *path;
    const aegis_input_shape
        *inputs; /**< fixed shapes; inputs without free dimensions may be left out */
    size_t input_count;
    const aegis_state_pair *state;
    size_t state_count;
    const aegis_source *sources;
    size_t source_count;
    uint64_t seed;    /**< of random inputs */
    unsigned threads; /**< cores that a run may use; 0: 1 */
    uint32_t slots;   /**< jobs whose inputs and outputs exist at once; 0: 1 */
    bool prepack;     /**< let the runtime keep packed copies of weights (faster, more bytes);
                           what a plain session of the runtime does. Without it results can
                           differ in their last bits */
    uint64_t memory_limit_bytes; /**< known at load: exceeding it ends the load; 0: none */
    /** Positions (aegis_cut_candidate) at which the model is cut into cut_count + 1 segments,
     * ascending; NULL: the model is one segment. Borrowed for the call. */
    const uint32_t *cuts;
    size_t cut_count;
    aegis_residency residency; /**< PAGED: UNSUPPORTED where the backend cannot, and together with
                                    cuts: another model could overwrite the weights between two
                                    segments. STREAMED: UNSUPPORTED where the backend cannot, CONFIG
                                    without a memory limit and with cuts */
    uint32_t context_tokens; /**< of a language model: positions of its keys and values; 0: 1024, or
                                  what the model can. Other runtimes pass it over */
    /** Of a language model: UTF-8 text whose tokens are its input `tokens`, by the tokenizer.json
     * beside the model; the shape follows. NULL: `inputs` and `sources` say. Borrowed for the call.
     */
    const char *prompt;
    uint32_t prompt_block; /**< of a language model on a CUDA device: tokens of the prompt that one
                                job takes at most, at most 1,024, by cuBLAS; 0, 1: one. Jobs are
                                then as long as such a block is. With STREAMED its memory comes
                                first, layers get what is left. UNSUPPORTED on other devices,
                                RUNTIME_NOT_AVAILABLE without cuBLAS */
    /** That runs it: needed on a CUDA device, where models are bound to it at load; open, record,
     * place and close them from any other thread than the stream's. Borrowed until close. Others
     * pass it over. */
    aegis_stream *stream;
    bool eager;        /**< on a CUDA device: launch operator by operator, capture nothing */
    bool early_copies; /**< jobs do not copy their inputs to the device: aegis_model_enqueue_inputs
                            does, before their first segment, on a stream of its own. UNSUPPORTED
                            where the backend cannot */
    bool copies_in_pieces; /**< on a CUDA device: of AEGIS_COPY_PIECE_BYTES, for the sake of others
                                that copy early. Early copies always are */
    bool allow_cpu_nodes;  /**< on a CUDA device: nodes without a kernel there may run on the CPU;
                                else they are UNSUPPORTED, and the message names them */
    bool stop_at_end;      /**< of a language model: behind the end of its text or context jobs do
                                nothing until reset; else the sequence begins anew */
    /** Asked during open, before the memory is taken. Language models on the host and `null` know
     * it exactly; ONNX Runtime asks for what reading the file takes, then for an estimate of what
     * compiling takes, when the model is not in the cache, and on the host for what its sessions
     * took when it was opened before (the first time: its weights). NULL: anything may be taken. */
    aegis_model_reserve reserve;
    void *reserve_self;
} aegis_model_config;

/** A place between two operators of the compiled graph where a model can be cut. */
typedef struct aegis_cut_candidate {
    uint32_t position;     /**< operators before it, in execution order */
    uint32_t live_tensors; /**< that cross it (inputs and outputs of the model not counted) */
    uint64_t live_bytes;   /**< of those */
    uint64_t elapsed_ns;   /**< median measured time of the operators before it; for a CUDA device
                                their share of a run on the CPU, of a whole run on the device */
} aegis_cut_candidate;

/**
 * Compiles (or finds in the cache) and opens a model in trial mode. Statuses: INVALID_ARGUMENT (no
 * name or path, a count without its array), NOT_FOUND, PERMISSION or IO (file), PARSE (not a model,
 * truncated), CONFIG (shape, name or dtype wrong: says which input, what the model declares, the
 * cure), UNSUPPORTED (operator, control flow), ENGINE_BUILD, ENGINE_DESERIALIZE (damaged in the
 * cache), INFERENCE (a run that loading takes failed), BUDGET_EXCEEDED, NO_MEMORY, and what its
 * reserve returned. With cuts also CONFIG (positions that do not
 * ascend or lie outside of the graph) and UNSUPPORTED (this graph cannot be cut, or not there).
 */
aegis_status aegis_model_open(aegis_backend *backend,
                              const aegis_model_config *config,
                              aegis_model **ret_model,
                              aegis_error *err);
/** Ends the model and frees its memory (not its part of the arena). NULL is fine. */
void aegis_model_close(aegis_model *model);

const char *aegis_model_name(const aegis_model *model);
/** SHA-256 of the model file (with external data), 64 hex digits. */
const char *aegis_model_hash(const aegis_model *model);
/** "onnxruntime 1.31.1 on host". */
const char *aegis_model_label(const aegis_model *model);
/** What is worth knowing about how it runs: nodes that stay on the CPU, why it could not be
 * captured; "" when there is nothing. After record. */
const char *aegis_model_note(const aegis_model *model);
/** False once the model was lost (its runtime failed in a way that no later run can mend). */
bool aegis_model_is_valid(const aegis_model *model);

/** Inputs and outputs with the shapes that were fixed. Borrowed. */
const aegis_tensor_info *aegis_model_inputs(const aegis_model *model, size_t *ret_count);
const aegis_tensor_info *aegis_model_outputs(const aegis_model *model, size_t *ret_count);

/** Segments, executed in order. 1 until a model is cut. */
uint32_t aegis_model_segment_count(const aegis_model *model);

/** Lists where the model can be cut, ascending by position: where one tensor crosses, and where at
 * most eight do and no neighbouring position is crossed by fewer bytes; with the measured time up
 * to each. For an open, recorded, uncut model in trial mode; runs it some times on the calling
 * thread. A cut leaves weights, state, inputs and outputs as they are; what crosses it is written
 * where the next segments read it. The list is borrowed until close or the next call; it can be
 * empty. UNSUPPORTED when the backend or this graph (control flow) cannot be cut: then it is one
 * segment; STATE; INFERENCE; NO_MEMORY. */
aegis_status aegis_model_cut_candidates(aegis_model *model,
                                        aegis_stream *stream,
                                        const aegis_cut_candidate **ret_candidates,
                                        size_t *ret_count,
                                        aegis_error *err);

/** Runs the model once and again in trial mode and records its allocations; checks that both
 * sequences agree. On the host it runs on the calling thread and `stream` may be NULL. Inputs are
 * what they are now; outputs that depend on other values may depart later. STATE when placed;
 * DEPARTURE when two runs differ; UNSUPPORTED when runs keep memory or allocate from threads of
 * their own; BUDGET_EXCEEDED (memory_limit_bytes); INFERENCE (a run failed); NO_MEMORY;
 * INVALID_ARGUMENT. Needed before lifetimes. */
aegis_status aegis_model_record(aegis_model *model, aegis_stream *stream, aegis_error *err);

/** Device bytes by class, before any plan: sums of the permanent classes; for activations and for
 * boundary tensors the most that live at once, which no plan can undercut. STATE before record;
 * INVALID_ARGUMENT. */
aegis_status aegis_model_estimate_memory(const aegis_model *model,
                                         uint64_t ret_by_class[AEGIS_MEMORY_CLASS_COUNT],
                                         aegis_error *err);
/** Lifetimes of all its tensors: weights, prepacked, state, inputs, outputs, activations.
 * Borrowed until close. STATE before record; INVALID_ARGUMENT. */
aegis_status aegis_model_estimate_lifetimes(const aegis_model *model,
                                            const aegis_tensor_lifetime **ret_lifetimes,
                                            size_t *ret_count,
                                            aegis_error *err);
/** Bytes that the runtime took from malloc for this model (graph, kernels): measured at open. */
uint64_t aegis_model_overhead_bytes(const aegis_model *model);
/** The largest extra memory while it was loading. */
uint64_t aegis_model_loading_peak_bytes(const aegis_model *model);

/** Where a placed model lives: pointers into the arena, made from a binding by the system layer. */
typedef struct aegis_model_placement {
    void *base; /**< of the planned region, device address */
    uint64_t size_bytes;
    const aegis_memory_binding
        *binding;     /**< in the order of the model's lifetimes; borrowed until close */
    void *spill_base; /**< of the lane */
    uint64_t spill_bytes;
    const void **paged_resident; /**< whose weights lie in the lane's paged region: one word for all
                                      paged models of a lane, NULL at first. They alone write it, on
                                      the lane or while it rests. NULL: weights are read before
                                      every run. Borrowed until close */
} aegis_model_placement;

/** Moves the model into the arena: weights, pre-packed copies, state and inputs at planned
 * addresses; trial memory is given back. INVALID_ARGUMENT for a binding that is not of these
 * lifetimes or lies outside; STATE when it is placed already; ENGINE_DESERIALIZE when loading
 * departs from its record; NO_MEMORY. */
aegis_status
aegis_model_place(aegis_model *model, const aegis_model_placement *placement, aegis_error *err);
bool aegis_model_is_placed(const aegis_model *model);

/** Refills the state with zeros and the inputs from their sources. Not while a run is going on.
 * INVALID_ARGUMENT, and what reading the sources returned. */
aegis_status aegis_model_reset(aegis_model *model, aegis_error *err);

/** Address and size of an input or output of a slot, for the host: where the device's memory cannot
 * be reached from there it is pinned memory, which jobs copy in when they begin and out when they
 * end. NOT_FOUND for a name or slot that it does not have; INVALID_ARGUMENT. */
aegis_status aegis_model_input(aegis_model *model,
                               uint32_t slot,
                               const char *name,
                               void **ret_data,
                               uint64_t *ret_size,
                               aegis_error *err);
aegis_status aegis_model_output(aegis_model *model,
                                uint32_t slot,
                                const char *name,
                                void **ret_data,
                                uint64_t *ret_size,
                                aegis_error *err);

/**
 * Executes one segment for the job in `slot`. Called on the stream's own thread (put there with
 * aegis_stream_call); on the host it returns when the segment is done, on a GPU when it is
 * enqueued. Segments of a job run in order, and a model has one job at a time between its first and
 * its last segment; the last one that ran may run again, and segment 0 begins a new job at any
 * time. The output and the state that it writes count once the last segment has completed.
 * Statuses: OK; INVALID_ARGUMENT (no such segment or slot); STATE (another segment is due, or the
 * model is lost); TERMINATED (by terminate); DEPARTURE (allocations differ from the recording:
 * index, expected and asked size in the message; the result is discarded); BUDGET_EXCEEDED (past
 * its spill); INFERENCE (the runtime's words); of weights that are read for the run IO, and
 * ENGINE_DESERIALIZE when they are not what was written.
 */
aegis_status aegis_model_execute(
    aegis_model *model, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err);
/** True when the backend can enqueue ahead and take what it enqueued. */
bool aegis_model_can_go_ahead(const aegis_model *model);
/** Whether what the next one enqueues depends on the number of commits. False: of a model without
 * state, and always the same for a segment and a slot. */
bool aegis_model_ahead_has_halves(const aegis_model *model);
/**
 * Between aegis_stream_ahead_begin and _end: enqueues for this segment the work of an execution,
 * all of it or nothing, and changes nothing else. What is enqueued depends on the segment, the slot
 * and, where aegis_model_ahead_has_halves, whether the number of commits so far is even: as long as
 * these are what they were it may run, in place of an execution, once, and until it does they may
 * not be executed in another way. UNSUPPORTED when this model's work cannot be put ahead, and what
 * the device returned.
 */
aegis_status aegis_model_enqueue_ahead(
    aegis_model *model, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err);
/** In place of aegis_model_execute, with its rules, for a segment that was put ahead and now runs
 * (aegis_stream_ahead_take): notes that it does. Same thread. STATE (another segment is due);
 * UNSUPPORTED when this model's work cannot be put ahead. */
aegis_status
aegis_model_take_ahead(aegis_model *model, uint32_t segment, uint32_t slot, aegis_error *err);
/** True when it was opened with aegis_model_config.early_copies. */
bool aegis_model_copies_early(const aegis_model *model);
/** Of a model with early copies: copies the inputs of `slot`, state apart, from where
 * aegis_model_input says to where its segments read them; they have arrived when the stream has
 * completed. Called on the stream's own thread, which need not be the one that runs the model,
 * while no job of that slot is between its first and its last segment. Allocates nothing.
 * UNSUPPORTED for other models, INVALID_ARGUMENT (no such slot), and what the device returned. */
aegis_status aegis_model_enqueue_inputs(aegis_model *model,
                                        uint32_t slot,
                                        aegis_stream *stream,
                                        aegis_error *err);
/** Called by a model whose bytes come from elsewhere; from a thread of its own, shortly, at any
 * time. */
typedef void (*aegis_model_wake)(void *self);
/**
 * Segments that can have to wait before they are executed, bit by bit: for weights that come from a
 * disk. 0: none; such a model is ready at any time. Nothing bounds the wait, so it is no part of
 * an execution: the one who executes asks aegis_model_is_ready before. Executing a segment that is
 * not ready waits.
 */
uint64_t aegis_model_awaited_segments(const aegis_model *model);
/** Whether `segment`, which is to be executed next, would not wait; sees to it that what it needs
 * comes. Also true when it cannot come: executing the segment says why. Takes no lock and makes no
 * system call but to wake a thread. Not while a segment of the model runs; the thread may change.
 */
bool aegis_model_is_ready(aegis_model *model, uint32_t segment);
/** Comes back when aegis_model_is_ready holds: for measuring; the dispatch path does not wait. */
void aegis_model_await(aegis_model *model, uint32_t segment);
/** `wake` is called whenever an answer of aegis_model_is_ready may have changed; NULL: no more, and
 * not any longer once this has returned. */
void aegis_model_watch(aegis_model *model, aegis_model_wake wake, void *self);
/** Makes the run that is going on end at the next point where it can. Any thread; no lock, no
 * allocation. Has no effect on a later run. */
void aegis_model_terminate(aegis_model *model);
/** True when terminate can end a segment part-way. */
bool aegis_model_can_terminate(const aegis_model *model);
/** Makes the state written by the last complete job the current one. Stream thread or when idle. */
void aegis_model_commit(aegis_model *model);

/** Spill of the last run: bytes, and first departing allocation (-1: none). */
typedef struct aegis_model_spill {
    uint64_t bytes;
    int64_t first_index;
    uint64_t expected_bytes, asked_bytes;
} aegis_model_spill;
void aegis_model_last_spill(const aegis_model *model, aegis_model_spill *ret_spill);

/** Bytes of weights that were read in before the last run; 0: they were there, or the model is not
 * paged. Of the stream's thread, or when idle. */
uint64_t aegis_model_last_paged_bytes(const aegis_model *model);

/** Shows ranges of host memory that runs read or write and that stay where they are until the model
 * is placed or closed: weights, packed copies, state, inputs, outputs, and its runtime's code. A
 * profile is taken with none of them in a cache. Ranges can be missing (activations of a trial lie
 * elsewhere in each run) and shown twice. False: its backend does not tell, nothing was shown. When
 * idle. */
typedef void (*aegis_model_visit)(void *self, const void *bytes, size_t size);
bool aegis_model_visit_touched(const aegis_model *model, aegis_model_visit visit, void *self);

#ifdef __cplusplus
}
#endif
#endif
