/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_MEMORY_PLAN_H
#define AEGISRT_MEMORY_PLAN_H

/**
 * @file memory_plan.h Offsets for all buffers of all admitted models in one arena, with proof.
 *
 * Two levels. A *solver* (aegis_planner, replaceable) takes buffers with lifetimes on one axis and
 * returns offsets: dynamic storage allocation. The *orchestrator* knows models and lanes: what is
 * permanent (weights, pre-packed copies, state, inputs, outputs) gets bytes of its own; what dies
 * inside a segment (activations) shares the one activation region of its lane with all other
 * models of that lane. Every plan is checked by code that shares nothing with the solver before
 * it is used.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/device.h>
#include <aegisrt/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the solver: one axis, one capacity ---- */

/** One buffer, live in [lower, upper) of its axis. With `fixed` its place is given and the others
 * are planned around it: so are forbidden bytes, too, as a buffer over them that lives as long as
 * they are forbidden. Fixed buffers count in the height like all others. */
typedef struct aegis_plan_buffer {
    uint32_t id;          /**< the caller's, unique */
    int64_t lower, upper; /**< half open, lower < upper */
    uint64_t size_bytes;  /**< > 0 */
    uint64_t alignment;   /**< power of two; 0 means 1 */
    bool fixed;           /**< its offset is `fixed_offset`, a multiple of the alignment */
    uint64_t fixed_offset;
} aegis_plan_buffer;

typedef struct aegis_plan_limits {
    uint64_t capacity_bytes; /**< UINT64_MAX: minimise height; else any height that fits will do */
    uint64_t nodes;          /**< search nodes; 0: the planner's default (the product's: 1,000,000,
                                  fewer above 400 buffers). Makes plans reproducible */
    uint64_t timeout_ns;     /**< 0: none. With a timeout a plan may differ between machines */
    unsigned threads;        /**< at most; 0: one. Without a timeout they never change the plan. The
                                  product's planner takes up to 16 */
} aegis_plan_limits;

typedef enum aegis_plan_verdict {
    AEGIS_PLAN_FEASIBLE = 0,
    AEGIS_PLAN_INFEASIBLE, /**< proved: the lower bound is above the capacity, or search exhausted
                            */
    AEGIS_PLAN_UNDECIDED   /**< the limits ended the search without a plan that fits */
} aegis_plan_verdict;

typedef struct aegis_plan_result {
    aegis_plan_verdict verdict;
    uint64_t height_bytes;      /**< of the best plan found, even when it does not fit */
    uint64_t lower_bound_bytes; /**< proved */
    bool optimal;               /**< height is proved minimal */
    int64_t peak_at;            /**< instant of the largest sum of live sizes */
    uint64_t nodes;             /**< searched */
} aegis_plan_result;

typedef struct aegis_planner_ops aegis_planner_ops;

/** A solver. Copied by value, borrows `self`. */
typedef struct aegis_planner {
    const aegis_planner_ops *ops;
    void *self;
} aegis_planner;

/** The product's solver: greedy orders, then exact search within the node budget. */
aegis_planner aegis_planner_default(void);
/** Buffers end to end, nothing shared: the peer that swapping tests use. */
aegis_planner aegis_planner_stacked(void);

/**
 * Solves one instance; `ret_offsets[i]` belongs to `buffers[i]`. The plan is verified before this
 * returns. Deterministic: equal inputs and limits without a timeout give the same plan, byte for
 * byte, with any number of threads. @return OK whatever the verdict; INVALID_ARGUMENT for a
 * malformed instance or fixed buffers that overlap (naming the ids); OVERFLOW; NO_MEMORY;
 * INTERNAL (it made something else than a plan); and what the planner returns.
 */
aegis_status aegis_planner_solve(const aegis_planner *planner,
                                 const aegis_plan_buffer *buffers,
                                 size_t count,
                                 const aegis_plan_limits *limits,
                                 const aegis_allocator *allocator,
                                 uint64_t *ret_offsets,
                                 aegis_plan_result *ret_result,
                                 aegis_error *err);

/** Largest sum of sizes live at one instant; no plan can be lower. The instant goes to `ret_at`.
 * INVALID_ARGUMENT (a malformed buffer), OVERFLOW, NO_MEMORY. */
aegis_status aegis_plan_lower_bound(const aegis_plan_buffer *buffers,
                                    size_t count,
                                    const aegis_allocator *allocator,
                                    uint64_t *ret_bytes,
                                    int64_t *ret_at,
                                    aegis_error *err);

/** The separate checker: every pair that overlaps in time must be apart in space, offsets aligned,
 * fixed ones where they are fixed, heights within `capacity_bytes`. INTERNAL with the two ids on a
 * violation; INVALID_ARGUMENT (a malformed buffer), NO_MEMORY. */
aegis_status aegis_plan_verify(const aegis_plan_buffer *buffers,
                               const uint64_t *offsets,
                               size_t count,
                               uint64_t capacity_bytes,
                               const aegis_allocator *allocator,
                               aegis_error *err);

/* ---- buffers as text ---- */

/**
 * Reads `id,lower,upper,size` and, in any order, the columns `alignment` and `offset` when the
 * header line has them. A buffer with an offset is fixed there; an empty field leaves it free.
 * Blank lines are skipped; line ends may be LF or CRLF. `name` stands in messages
 * ("name:line:column"). The buffers are owned by the caller: aegis_plan_buffers_free. @return OK;
 * PARSE; NO_MEMORY; INVALID_ARGUMENT. Ids that occur twice are left to aegis_planner_solve.
 */
aegis_status aegis_plan_csv_parse(const char *text,
                                  size_t size,
                                  const char *name,
                                  const aegis_allocator *allocator,
                                  aegis_plan_buffer **ret_buffers,
                                  size_t *ret_count,
                                  aegis_error *err);

/** As aegis_plan_csv_parse, from a file of at most 256 MiB. Also IO, NOT_FOUND. */
aegis_status aegis_plan_csv_load(const char *path,
                                 const aegis_allocator *allocator,
                                 aegis_plan_buffer **ret_buffers,
                                 size_t *ret_count,
                                 aegis_error *err);

/** Gives back what one of the two returned. NULL is fine. */
void aegis_plan_buffers_free(const aegis_allocator *allocator,
                             aegis_plan_buffer *buffers,
                             size_t count);

/* ---- the orchestrator: models, lanes, one arena ---- */

/*
 * An orchestrator belongs to one thread at a time (the admission path); nothing here is called
 * between jobs. Offsets count from the base of the region that it plans; that base must be aligned
 * to the largest alignment asked for. Regions and the models' own blocks are rounded up to 64
 * bytes.
 *
 * Layout: [activation region of each lane][paged region of each lane][spill region of each
 * lane][permanent block of each model][what is told by content]. Before the seal everything is only
 * counted; the seal fixes the first two parts, and from then on models come and go among the rest,
 * first fit, moving nobody.
 *
 * Weights with a content id are placed once, whichever models hold them and however often: they are
 * only read once a model is placed. They stay until the last model that holds them is released.
 * Packed copies with a content id too, if they are planned before the seal: loading writes them, so
 * all models that hold them have to be loaded before one of them runs. A model that comes after the
 * seal gets packed copies of its own.
 */

/** SHA-256 of a tensor's bytes. All zeros: none, the bytes are not shared. */
#define AEGIS_CONTENT_BYTES 32

typedef enum aegis_memory_class {
    AEGIS_MEMORY_WEIGHTS = 0, /**< initialisers; permanent */
    AEGIS_MEMORY_PREPACKED,   /**< what the runtime keeps from loading; permanent */
    AEGIS_MEMORY_STATE,       /**< outlives jobs; permanent; the demand lists both copies */
    AEGIS_MEMORY_INPUT,       /**< from submission to the end of the job; permanent per slot */
    AEGIS_MEMORY_OUTPUT,      /**< until the caller releases it; permanent per slot */
    AEGIS_MEMORY_ACTIVATION,  /**< dies inside a segment; shared within the lane */
    AEGIS_MEMORY_BOUNDARY,    /**< of a cut model: crosses a segment end; `start` and `end` are the
                                   segments [that writes it, after the last that reads it). Lies in
                                   the model's own block; those of one model whose segments do not
                                   overlap share bytes */
    AEGIS_MEMORY_SPILL,       /**< the lane's spill region */
    AEGIS_MEMORY_PAGED,       /**< weights of a paged model: read in from a file before a run that
                                   does not find them there. Lies in the paged region of its lane,
                                   which all paged models of the lane share, one at a time */
    AEGIS_MEMORY_CLASS_COUNT
} aegis_memory_class;

const char *aegis_memory_class_name(aegis_memory_class memory_class);

/** One tensor of one model. Times are positions in the model's own sequence of allocation events,
 * not nanoseconds. Permanent classes ignore them; of an OUTPUT they tell from which event of
 * `segment` on it is written (0: not known), for who plans a run of one model alone. */
typedef struct aegis_tensor_lifetime {
    uint32_t tensor; /**< index within the model: for activations the allocation's index */
    aegis_memory_class memory_class;
    uint32_t segment;    /**< of activations; of other classes it only says who uses it first */
    int64_t start, end;  /**< [first write, last read) in events of that segment */
    uint64_t size_bytes; /**< 0 is allowed and takes no bytes */
    uint64_t alignment;  /**< power of two; 0 means 64 */
    uint8_t content[AEGIS_CONTENT_BYTES]; /**< of WEIGHTS or PREPACKED that others may read too;
                                               zeros: none. Equal ids stand for equal bytes */
} aegis_tensor_lifetime;

/** What the orchestrator must place for one model. Borrowed for the call. */
typedef struct aegis_memory_demand {
    uint32_t model;
    const char *name;
    uint16_t lane;
    uint64_t limit_bytes; /**< the model's own budget (all classes); 0: none */
    const aegis_tensor_lifetime *lifetimes;
    size_t lifetime_count;
} aegis_memory_demand;

/** One placed tensor, offset from the base of the arena region that the orchestrator owns. */
typedef struct aegis_memory_placement {
    uint32_t tensor;
    aegis_memory_class memory_class;
    uint32_t segment;
    bool shared; /**< placed by its content id: weights are written by whoever comes first, packed
                      copies by each load, with equal bytes; then all only read */
    uint64_t offset_bytes, size_bytes;
} aegis_memory_placement;

/** A model's part of the plan. Owned by the orchestrator until release. */
typedef struct aegis_memory_binding {
    uint32_t model;
    uint16_t lane;
    const aegis_memory_placement *placements; /**< same order as the demand's lifetimes */
    size_t placement_count;
    uint64_t permanent_bytes;   /**< bytes of its own block */
    uint64_t shared_bytes;      /**< of what is placed by its content, each id once */
    uint64_t activation_height; /**< what its activations need, planned alone */
    uint64_t activation_lower_bound;
    bool activation_optimal;
    uint64_t paged_bytes; /**< of the lane's paged region, when it lies there */
    uint64_t total_bytes; /**< permanent + shared + paged + activation height: what it would need
                               alone, and what counts against its limit, whoever else reads the
                               shared */
} aegis_memory_binding;

typedef struct aegis_sharing_opportunity {
    uint32_t model_a, model_b; /**< two models of one lane, or one model with itself */
    uint64_t shared_bytes;     /**< saved: of two models the smaller activation height; of one the
                                    sum of its activation sizes less its height */
} aegis_sharing_opportunity;

/** Totals of a plan. */
typedef struct aegis_memory_totals {
    uint64_t capacity_bytes;
    uint64_t planned_bytes;                      /**< permanent + lane regions + spill */
    uint64_t by_class[AEGIS_MEMORY_CLASS_COUNT]; /**< placed; ACTIVATION, PAGED: sum of lane
                                                      regions; BOUNDARY: sum of the models' heights
                                                  */
    uint64_t padding_bytes;       /**< lost to alignment: planned less the sum of by_class */
    uint64_t activations_planned; /**< sum over lanes of the lane's region */
    uint64_t activations_sum;     /**< what the models' activations would need each alone */
    uint64_t sum_of_models;       /**< what the models would need each alone, all classes */
    uint64_t shared_bytes;        /**< of what is placed by its content, each counted once */
    uint64_t shared_saved;        /**< what more these would take if each model had its own */
    uint64_t paged_sum;           /**< what the paged models' weights would take if all were there;
                                       by_class[PAGED] is what they have */
} aegis_memory_totals;

typedef struct aegis_memory_orchestrator aegis_memory_orchestrator;

typedef struct aegis_memory_config {
    uint64_t capacity_bytes; /**< of the region to plan */
    uint16_t lanes;
    uint64_t spill_bytes_per_lane;
    aegis_plan_limits limits; /**< for each segment's plan; capacity ignored; nodes 0: 200,000 */
} aegis_memory_config;

/** `planner` is copied, its `self` is borrowed for the orchestrator's life. INVALID_ARGUMENT (no
 * capacity or lanes), NO_MEMORY (host memory, or spill regions above the capacity). */
aegis_status aegis_memory_orchestrator_create(const aegis_memory_config *config,
                                              const aegis_planner *planner,
                                              const aegis_allocator *allocator,
                                              aegis_memory_orchestrator **ret_orchestrator,
                                              aegis_error *err);
void aegis_memory_orchestrator_destroy(aegis_memory_orchestrator *orchestrator);

/**
 * Plans one more model beside those that are there, which keep their addresses. Lane regions may
 * grow only before `aegis_memory_orchestrator_seal`. On failure nothing changes but the refusal
 * record: BUDGET_EXCEEDED (its own limit: need, limit, largest class), NO_MEMORY (arena: bytes
 * missing, peak instant, buffers, and the model whose removal would make it fit, in the message;
 * also host memory). Also EXISTS, INVALID_ARGUMENT, OVERFLOW.
 */
aegis_status aegis_memory_orchestrator_plan(aegis_memory_orchestrator *orchestrator,
                                            const aegis_memory_demand *demand,
                                            aegis_error *err);

/** Tensors that a refusal names at the activation peak. */
#define AEGIS_REFUSAL_TENSORS 4

/** Why the last refused model did not fit. */
typedef struct aegis_memory_refusal {
    aegis_status status; /**< BUDGET_EXCEEDED or NO_MEMORY */
    uint32_t model;      /**< the refused one */
    bool lane_region;    /**< its lane's activation or paged region is fixed and too small */
    uint64_t need_bytes; /**< what it would add: to its budget, the arena or the lane's region */
    uint64_t capacity_bytes; /**< its limit, the arena, or the lane's region */
    uint64_t free_bytes;     /**< of that capacity; after the seal the largest hole */
    uint64_t missing_bytes;  /**< need less free */
    uint64_t by_class[AEGIS_MEMORY_CLASS_COUNT]; /**< of the refused model, planned alone */
    bool fits_after_moving; /**< no hole is large enough, but together they are: it would fit
                                 after aegis_memory_orchestrator_compact; with lane_region: when it
                                 is planned between unseal and seal */
    bool has_model_to_remove;
    uint32_t model_to_remove; /**< the one freeing least whose removal alone makes it fit */
    uint32_t peak_segment;    /**< where its activations peak */
    int64_t peak_at;          /**< the event of that segment */
    uint64_t peak_bytes;      /**< live there */
    size_t peak_count;        /**< entries below: the largest live there, largest first */
    uint32_t peak_tensors[AEGIS_REFUSAL_TENSORS];
    uint64_t peak_tensor_bytes[AEGIS_REFUSAL_TENSORS];
} aegis_memory_refusal;

/** Why the last call of `aegis_memory_orchestrator_plan` refused its model; false when it did not:
 * also when it failed for want of host memory. */
bool aegis_memory_orchestrator_last_refusal(const aegis_memory_orchestrator *orchestrator,
                                            aegis_memory_refusal *ret_refusal);

/** Lays the regions out: lane regions and permanent parts get their final offsets; afterwards lane
 * regions have a fixed size. Call before the first bind. STATE when sealed; NO_MEMORY. */
aegis_status aegis_memory_orchestrator_seal(aegis_memory_orchestrator *orchestrator,
                                            aegis_error *err);

/**
 * Opens a sealed layout again: offsets are given up, lane regions may grow, every binding dies. The
 * caller has closed (or will place anew) every model that lies there; nothing may run. Models that
 * are planned stay planned. STATE when not sealed.
 */
aegis_status aegis_memory_orchestrator_unseal(aegis_memory_orchestrator *orchestrator,
                                              aegis_error *err);

/** Unseals and seals: lays everything out anew without holes, with lane regions as large as the
 * models that are left need. What is said of unseal goes for the models. On failure nothing
 * changes: STATE when not sealed; NO_MEMORY. */
aegis_status aegis_memory_orchestrator_compact(aegis_memory_orchestrator *orchestrator,
                                               aegis_error *err);

/** The model's placements with final offsets, borrowed until its release. NOT_FOUND, STATE before
 * seal. */
aegis_status aegis_memory_orchestrator_bind(aegis_memory_orchestrator *orchestrator,
                                            uint32_t model,
                                            const aegis_memory_binding **ret_binding,
                                            aegis_error *err);

/** Frees a model's permanent bytes and the shared ones that nobody else holds; its binding dies.
 * The model is closed before another one may get these bytes. Before the seal its lane's region
 * shrinks to what the others need, afterwards it keeps its size. NOT_FOUND. */
aegis_status aegis_memory_orchestrator_release(aegis_memory_orchestrator *orchestrator,
                                               uint32_t model,
                                               aegis_error *err);

/** The lane's spill region. STATE before seal; INVALID_ARGUMENT (no such lane). */
aegis_status aegis_memory_orchestrator_spill_region(const aegis_memory_orchestrator *orchestrator,
                                                    uint16_t lane,
                                                    uint64_t *ret_offset,
                                                    uint64_t *ret_size,
                                                    aegis_error *err);

typedef enum aegis_pressure_policy {
    AEGIS_PRESSURE_REPORT = 0,     /**< say what removing all would free; names none */
    AEGIS_PRESSURE_NEWEST,         /**< name the model planned last */
    AEGIS_PRESSURE_LARGEST,        /**< name the model whose removal frees most */
    AEGIS_PRESSURE_SMALLEST_ENOUGH /**< name the smallest model whose removal frees `needed` */
} aegis_pressure_policy;

typedef struct aegis_pressure_answer {
    bool found;
    uint32_t model;       /**< named by the policy, when found */
    uint64_t freed_bytes; /**< by its removal; REPORT: by removing all */
} aegis_pressure_answer;

/** Answers what could be freed; frees nothing itself: no hidden eviction. INVALID_ARGUMENT (no
 * such policy). */
aegis_status
aegis_memory_orchestrator_handle_pressure(const aegis_memory_orchestrator *orchestrator,
                                          aegis_pressure_policy policy,
                                          uint64_t needed_bytes,
                                          aegis_pressure_answer *ret_answer,
                                          aegis_error *err);

/** What the removal of one model would free: its permanent block, the shared weights that nobody
 * else holds, and before the seal what its lane's region would shrink by. NOT_FOUND. */
aegis_status aegis_memory_orchestrator_freeable(const aegis_memory_orchestrator *orchestrator,
                                                uint32_t model,
                                                uint64_t *ret_bytes,
                                                aegis_error *err);

/** Planned bytes now, and the most since create. */
uint64_t aegis_memory_orchestrator_current(const aegis_memory_orchestrator *orchestrator);
uint64_t aegis_memory_orchestrator_peak(const aegis_memory_orchestrator *orchestrator);
void aegis_memory_orchestrator_totals(const aegis_memory_orchestrator *orchestrator,
                                      aegis_memory_totals *ret_totals);

/** Pairs of models that share activation bytes and how many. Writes at most `capacity` entries and
 * the number that exist to `ret_count`. Largest first. INVALID_ARGUMENT (no output). */
aegis_status aegis_memory_orchestrator_sharing(const aegis_memory_orchestrator *orchestrator,
                                               aegis_sharing_opportunity *opportunities,
                                               size_t capacity,
                                               size_t *ret_count,
                                               aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif
