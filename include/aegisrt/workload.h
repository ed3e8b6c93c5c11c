/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_WORKLOAD_H
#define AEGISRT_WORKLOAD_H

/** @file workload.h A workload file: device, schedule and models, read and checked whole. */

#include <aegisrt/backend.h>
#include <aegisrt/device.h>
#include <aegisrt/ext/core.h>
#include <aegisrt/memory_plan.h>
#include <aegisrt/scheduler.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Where a key stands, for messages. */
typedef struct aegis_workload_place {
    int line, column; /**< from 1; 0: not in the file */
} aegis_workload_place;

/** How a model is cut into segments. */
typedef enum aegis_cuts_mode {
    AEGIS_CUTS_NONE = 0, /**< it is one segment */
    AEGIS_CUTS_AUTO,     /**< where the others' deadlines need it, as few times as that takes */
    AEGIS_CUTS_EVEN,     /**< into at most `segments`, the longest as short as possible */
    AEGIS_CUTS_AT        /**< at `positions` */
} aegis_cuts_mode;

typedef struct aegis_workload_cuts {
    aegis_cuts_mode mode;
    uint32_t segments;         /**< 1..AEGIS_MAX_SEGMENTS */
    const uint32_t *positions; /**< ascending, below AEGIS_MAX_SEGMENTS of them */
    size_t position_count;
    aegis_workload_place place; /**< of the key */
} aegis_workload_cuts;

typedef struct aegis_workload_model {
    const char *name;
    const char *path;    /**< resolved: relative paths are tried against the working directory,
                              then against the workload's folder */
    const char *backend; /**< "onnxruntime" */
    aegis_model_config config; /**< name, path, inputs, state, sources, threads, slots, limit */
    uint64_t period_ns, deadline_ns, offset_ns, jitter_ns;
    uint64_t memory_bytes; /**< hard limit; 0: none */
    uint64_t compute_ns;   /**< hard limit per period; 0: none */
    int32_t priority;
    int lane; /**< -1: any */
    aegis_overrun_rule overrun;
    aegis_early_rule early;
    bool external; /**< source = "external": jobs are submitted, not released by the driver */
    bool background;
    uint32_t weight;
    uint32_t share_ppm; /**< of background models: most of its lane's time; 0: no limit */
    bool expect_refuse;
    aegis_workload_place
        copies_place;  /**< of copies = "early" (config.early_copies) or "auto"; line 0: inline
                        */
    bool absent;       /**< start = false: out until an event or aegis_system_add brings it in */
    bool copies_auto;  /**< early where the analysis says that it pays, else inline */
    bool prepack_auto; /**< config.prepack is true, and given up when the plan is short */
    double confidence, assurance, margin; /**< of the profile; 0: default */
    uint32_t samples;                     /**< minimum; 0: default */
    aegis_workload_cuts cuts;             /**< its own, else those of [schedule] */
    bool extreme_value;                   /**< bound_method = "evt" */
    double exceedance;                    /**< of that bound; 0: default */
    aegis_workload_place place;           /**< of the [[model]] */
    aegis_workload_place path_place;      /**< of its path: for what is wrong with the file */
    aegis_workload_place memory_place;    /**< of its memory limit; line 0: it has none */
    aegis_workload_place inputs_place; /**< of its inputs, or of the [[model]] without such a key:
                                            for shapes and names that the model does not have */
} aegis_workload_model;

typedef enum aegis_workload_change {
    AEGIS_CHANGE_ADD = 0, /**< aegis_system_add */
    AEGIS_CHANGE_REMOVE,  /**< aegis_system_remove */
    AEGIS_CHANGE_COMPACT, /**< aegis_system_compact, with a newcomer or without */
    AEGIS_CHANGE_PRESSURE /**< aegis_system_handle_pressure */
} aegis_workload_change;

#define AEGIS_CHANGE_OF_NOBODY UINT32_MAX /**< pressure; compaction without a newcomer */

/** One [[event]]: a change while the workload runs. */
typedef struct aegis_workload_event {
    uint64_t at_ns; /**< since the start */
    aegis_workload_change change;
    uint32_t model;     /**< index in models, or AEGIS_CHANGE_OF_NOBODY */
    bool expect_refuse; /**< the model is to be refused then */
    aegis_workload_place place;
    uint64_t needed_bytes;        /**< of pressure: to be freed, > 0; otherwise 0 */
    aegis_pressure_policy policy; /**< of pressure: by whose leaving */
} aegis_workload_event;

typedef struct aegis_workload {
    const char *path;
    aegis_device_kind device_kind;
    uint64_t memory_bytes;
    uint64_t process_bytes; /**< what the process may hold at most, all of it; 0: what the control
                                 group or the machine has left */
    uint64_t pinned_bytes;  /**< pinned host memory of the device; without the key 64 MiB on a GPU,
                                 which stages inputs and outputs there, and none on a host */
    bool pinned_given;      /**< the key stands in the file */
    aegis_completion completion; /**< how the lanes' threads wait */
    bool ahead;  /**< on a CUDA device: the segment that is foreseen to follow is launched while one
                      runs; without the key unless completion is "block" */
    bool graphs; /**< on a CUDA device: models run as captured graphs where they can be; true when
                      the key is missing */
    uint16_t lanes;
    uint64_t spill_bytes; /**< per lane; default 1 MiB */
    bool lock_memory;
    bool huge_pages;     /**< ask for huge pages for the arena; true when the key is missing */
    unsigned lane_width; /**< cores per lane; default 1 */
    int lane_cpu[64];    /**< -1: not pinned */
    int lane_multiprocessors[64]; /**< of a GPU, for the lane alone; 0: all of them, shared */
    bool lanes_alike; /**< so that what is measured on one lane holds on the others; else each model
                           names its lane */
    uint64_t lane_spin_ns; /**< how long a lane looks for its next segment before it sleeps */
    bool has_lane_spin;    /**< otherwise 50 us where the lanes leave a core free, else 0 */
    int fifo_priority;     /**< of lanes; the driver gets one more; 0: ordinary scheduling */
    const char *policy;
    uint32_t queue_depth;
    aegis_wait_mode wait;
    uint64_t hang_ns; /**< aegis_scheduler_config; without the key 10 s on a GPU and 0 on a host */
    bool hang_given;  /**< the key stands in the file */
    aegis_workload_cuts cuts; /**< of models that say nothing: NONE, AUTO or EVEN */
    const char *cache_dir;    /**< compiled models and profiles; default ".aegisrt-cache" beside the
                                  working directory, or $AEGISRT_CACHE_DIR */
    bool copies_early;        /**< some model copies early (config.early_copies), or may */
    const aegis_workload_model *models;
    size_t model_count;
    const aegis_workload_event *events; /**< by time; of one time as they stand in the file */
    size_t event_count;
} aegis_workload;

/** Reads and checks a workload. CONFIG, PARSE, UNSUPPORTED (what this version cannot do yet) or
 * NOT_FOUND (it, or a file that it names) with "file:line:column: key: what is wrong; cure".
 * Unknown keys are errors with a suggestion. IO, NO_MEMORY, INVALID_ARGUMENT (no path, no output).
 * Freed with aegis_workload_free. */
aegis_status aegis_workload_load(const char *path,
                                 const aegis_allocator *allocator,
                                 aegis_workload **ret_workload,
                                 aegis_error *err);
/** The same from memory; `origin` stands for the path in messages. File references are not
 * followed, so this is what the fuzzer calls. CONFIG, PARSE, UNSUPPORTED, NO_MEMORY,
 * INVALID_ARGUMENT. */
aegis_status aegis_workload_parse(const char *text,
                                  size_t size,
                                  const char *origin,
                                  const aegis_allocator *allocator,
                                  aegis_workload **ret_workload,
                                  aegis_error *err);
void aegis_workload_free(aegis_workload *workload);

#ifdef __cplusplus
}
#endif
#endif
