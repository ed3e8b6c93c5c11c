/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_CUDA_H
#define AEGIS_BACKEND_ORT_CUDA_H

/*
 * Models on a CUDA device. Sessions use ONNX Runtime's CUDA provider on the stream of the lane that
 * runs the model, with our allocators: what they ask for on the device is recorded and planned as
 * on the host, weights included, which the runtime copies there itself. Inputs and outputs lie on
 * the device and, for the caller, in pinned memory; the copies between the two are part of the
 * first and of the last segment. What a segment enqueues is captured once into a CUDA graph for
 * each slot (and each half of the state), and only launched from then on.
 *
 * Everything that touches the runtime happens on the lane's own thread, so that its handles exist
 * once. A segment that is on the device cannot be ended.
 */

#include "backend/onnxruntime/heap.h"
#include "backend/onnxruntime/ort.h"
#include "backend/surface.h"

#include <aegisrt/ext/cuda_graph.h>

struct aegis_ort_model;
struct CUstream_st;

typedef struct aegis_ort_cuda {
    aegis_allocator allocator;
    aegis_device *device;
    aegis_stream *stream;
    struct CUstream_st *handle;
    aegis_event *event; /* to wait for the device from the stream's own thread */
    bool eager;         /* nothing is captured */
    bool allow_cpu_nodes;
    aegis_ort_heap heap, pinned, host;
    aegis_surface mirror; /* the model's surface; its buffers are where they are on the device */
    bool has_state;
    bool early_copies; /* segments find their inputs on the device */
    bool in_pieces;    /* of copies */

    aegis_cuda_graph **graphs; /* by segment, slot and parity; NULL: not captured */
    size_t graph_count;
    uint32_t graph_slots;
    aegis_cuda_graph_info info; /* of all segments, one slot */
    bool captured;
    char cpu_nodes[256]; /* what is not on the device; "" */
    char note[384];      /* that, and why it is not captured; "" */
} aegis_ort_cuda;

/* Runs `step` on the stream's own thread, waits for it and for the device. Not from that thread. */
aegis_status aegis_ort_cuda_on_stream(aegis_stream *stream,
                                      aegis_status (*step)(void *argument, aegis_error *err),
                                      void *argument,
                                      aegis_error *err);

/* ---- the model ---- */

/* Makes model->cuda. CONFIG without a stream. */
aegis_status aegis_ort_cuda_open(struct aegis_ort_model *model,
                                 const aegis_model_config *config,
                                 aegis_error *err);
void aegis_ort_cuda_close(struct aegis_ort_model *model);
/* Requests of this context go to the model's heaps. */
void aegis_ort_cuda_own(const struct aegis_ort_model *model, aegis_ort_context *context);

/* Pinned memory under the surface and trial memory under its mirror, filled. */
aegis_status aegis_ort_cuda_open_surface(struct aegis_ort_model *model, aegis_error *err);
/* The mirror's buffers are at `pointers` from now on, and filled. */
aegis_status aegis_ort_cuda_place_surface(struct aegis_ort_model *model,
                                          void *const *pointers,
                                          aegis_error *err);
/* Sources and zeros, on the host and on the device. */
aegis_status aegis_ort_cuda_reset(struct aegis_ort_model *model, aegis_error *err);

/* ---- sessions ---- */

/* Appends the provider. With `strict` the session is refused when nodes stay on the CPU. */
OrtStatus *aegis_ort_cuda_configure(const aegis_ort *ort,
                                    const aegis_ort_cuda *cuda,
                                    OrtSessionOptions *options,
                                    bool strict);
/* The failure is that refusal. */
bool aegis_ort_cuda_is_refusal(const aegis_ort *ort, const OrtStatus *native);

/* Nodes that stay on the CPU, read from the runtime's log while a session is made. */
typedef struct aegis_ort_cpu_nodes {
    aegis_ort_log_taker taker;
    bool listing;
    unsigned count;
    char names[256];
} aegis_ort_cpu_nodes;
void aegis_ort_cpu_nodes_listen(aegis_ort_cpu_nodes *nodes);
void aegis_ort_cpu_nodes_end(void);

/* ---- runs, on the stream's own thread ---- */

/* The inputs of a slot to the device, on the thread of `stream`. */
aegis_status aegis_ort_cuda_copy_in(const struct aegis_ort_model *model,
                                    uint32_t slot,
                                    aegis_stream *stream,
                                    aegis_error *err);
/* One segment: launches its graph, or enqueues copies and operators. */
aegis_status aegis_ort_cuda_run(struct aegis_ort_model *model,
                                uint32_t segment,
                                uint32_t slot,
                                aegis_error *err);
/* Launches the graph of a segment; UNSUPPORTED when it has none. */
aegis_status aegis_ort_cuda_launch_ahead(const struct aegis_ort_model *model,
                                         uint32_t segment,
                                         uint32_t slot,
                                         aegis_error *err);
/* All segments in slot 0, to their end on the device. */
aegis_status aegis_ort_cuda_run_job(struct aegis_ort_model *model, aegis_error *err);
/* Captures every segment for the first `slots` slots, runs both ways and compares the results. What
 * cannot be captured runs without: `captured` and `note` say so; with 0 slots nothing is, and the
 * note stays. An error when a run fails. */
aegis_status
aegis_ort_cuda_capture(struct aegis_ort_model *model, uint32_t slots, aegis_error *err);
void aegis_ort_cuda_drop_graphs(struct aegis_ort_model *model);

#endif
