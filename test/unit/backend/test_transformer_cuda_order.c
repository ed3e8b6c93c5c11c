/* SPDX-License-Identifier: Apache-2.0 */
/* Copies, events and launches of a streamed model's segments, in a world that knows what happens
 * before what: no part reads a slot before its layer has come, nothing overwrites a slot before it
 * was read, nothing is on its way when the lane ends a segment. For steps and for blocks, whose
 * weights are unpacked on a third stream; for jobs that are given up and segments that run again.
 * Needs the CUDA headers, no GPU: these are the calls of CUDA's runtime that cuda_fetch.c makes. */
#include <stdio.h>

#ifdef AEGISRT_HAVE_CUDA
#include "backend/transformer/cuda/cuda_model.h"

#include <cuda_runtime_api.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define MIB ((uint64_t)1 << 20)
#define SLOTS AEGIS_RESIDENCY_SLOTS
#define MOST_SEGMENTS 64u
#define NOBODY UINT32_MAX
/* Addresses at which nothing lies. */
#define RING ((uint8_t *)(uintptr_t)0x100000000)
#define PINNED ((uint8_t *)(uintptr_t)0x200000000)
#define LAYERS ((uint8_t *)(uintptr_t)0x4000000000)

enum {
    LANE = 0,
    COPIES,
    UNPACKING,
    STREAMS
};

/* How many operations of each stream happened before. */
typedef struct moment {
    uint32_t of[STREAMS];
} moment;

struct CUstream_st {
    uint32_t index;
    moment now;
};

struct CUevent_st {
    moment recorded;
};

typedef struct world {
    cuda_model model;
    aegis_program_facts facts;
    uint32_t ends[MOST_SEGMENTS];
    struct CUstream_st streams[STREAMS];
    struct CUevent_st events[16];
    uint32_t streams_made, events_made;
    uint32_t holds[SLOTS];              /* the fetch; NOBODY: somebody else's bytes */
    moment written[SLOTS], read[SLOTS]; /* by which operations, up to now */
    uint32_t next_layer, copied;
    bool unpacks;       /* parts fork to another stream, as a block's */
    uint32_t fail_copy; /* the copy of this job that fails, from 1; 0: none */
} world;

static world *now; /* that the calls below stand in */

static moment later(moment a, const moment *b)
{
    for (uint32_t s = 0; s < STREAMS; s++) {
        a.of[s] = a.of[s] > b->of[s] ? a.of[s] : b->of[s];
    }
    return a;
}

static bool is_behind(const moment *at, const moment *all)
{
    for (uint32_t s = 0; s < STREAMS; s++) {
        if (all->of[s] > at->of[s]) {
            return false;
        }
    }
    return true;
}

static void touch(struct CUstream_st *stream, uint32_t slot, bool writes)
{
    const uint32_t count = ++stream->now.of[stream->index];
    assert_true(is_behind(&stream->now, &now->written[slot]));
    assert_true(!writes || is_behind(&stream->now, &now->read[slot]));
    (writes ? now->written : now->read)[slot].of[stream->index] = count;
}

/* ---- CUDA's runtime ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags)
{
    assert_int_equal(flags, cudaStreamNonBlocking);
    *stream = &now->streams[COPIES];
    now->streams_made++;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    assert_ptr_equal(stream, &now->streams[COPIES]);
    now->streams_made--;
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags)
{
    assert_int_equal(flags, cudaEventDisableTiming);
    assert_true(now->events_made < LENGTH(now->events));
    *event = &now->events[now->events_made++];
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    (void)event;
    now->events_made--;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    event->recorded = stream->now;
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags)
{
    assert_int_equal(flags, 0);
    stream->now = later(stream->now, &event->recorded);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(
    void *to, const void *from, size_t size_bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    const uint64_t bytes = now->facts.layer_bytes;
    const uint32_t fetch = (uint32_t)((uint64_t)((const uint8_t *)from - PINNED) / bytes);
    assert_int_equal(kind, cudaMemcpyHostToDevice);
    assert_int_equal(size_bytes, bytes);
    assert_ptr_equal(stream, &now->streams[COPIES]);
    assert_ptr_equal(from, PINNED + fetch * bytes);
    assert_ptr_equal(to, RING + fetch % SLOTS * bytes);
    assert_true(fetch < now->model.residency.streamed);
    if (++now->copied == now->fail_copy) {
        return cudaErrorInvalidValue;
    }
    touch(stream, fetch % SLOTS, true);
    now->holds[fetch % SLOTS] = fetch;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

const char *cudaGetErrorName(cudaError_t code)
{
    (void)code;
    return "made up";
}

const char *cudaGetErrorString(cudaError_t code)
{
    (void)code;
    return "made up";
}

/* ---- parts ---- */

/* Of a block: what it reads lies on another stream, which begins behind the lane and ends before
 * it goes on (aegis_prompt_layers). */
static void read_slot(uint32_t slot)
{
    struct CUstream_st *lane = &now->streams[LANE], *unpacking = &now->streams[UNPACKING];
    if (!now->unpacks) {
        touch(lane, slot, false);
        return;
    }
    unpacking->now = later(unpacking->now, &lane->now);
    touch(unpacking, slot, false);
    lane->now = later(lane->now, &unpacking->now);
}

static void check_part(const cuda_part *part)
{
    const cuda_model *model = &now->model;
    const uint64_t bytes = now->facts.layer_bytes;
    const uint32_t before = aegis_residency_streamed_before(&model->residency, part->first);
    assert_int_equal(part->first, now->next_layer);
    assert_true(part->last > part->first);
    now->next_layer = part->last;
    if (part->layers >= RING && part->layers < RING + SLOTS * bytes) {
        assert_ptr_equal(part->layers, RING + before % SLOTS * bytes);
        assert_int_equal(part->last, part->first + 1);
    } else {
        assert_ptr_equal(part->layers, LAYERS + (part->first - before) * bytes);
        assert_int_equal(aegis_residency_streamed_before(&model->residency, part->last), before);
    }
}

static aegis_status launch(void *self, const cuda_part *part, aegis_error *err)
{
    uint32_t *segment = self;
    (void)err;
    assert_int_equal(part->segment, *segment);
    check_part(part);
    if (part->layers < LAYERS) {
        const uint32_t which = aegis_residency_streamed_before(&now->model.residency, part->first);
        assert_int_equal(now->holds[which % SLOTS], which);
        read_slot(which % SLOTS);
    } else {
        now->streams[LANE].now.of[LANE]++;
    }
    return AEGIS_OK;
}

static aegis_status visit(void *self, const cuda_part *part, aegis_error *err)
{
    (void)self;
    (void)err;
    check_part(part);
    return AEGIS_OK;
}

/* ---- segments ---- */

static void nothing_is_on_its_way(void)
{
    for (uint32_t s = 0; s < STREAMS; s++) {
        assert_true(is_behind(&now->streams[LANE].now, &now->streams[s].now));
    }
}

/* Whose bytes the slots are between jobs; on the lane, as all segments of it. */
static void others_write(void)
{
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        touch(&now->streams[LANE], slot, true);
        now->holds[slot] = NOBODY;
    }
}

static void run_segment(uint32_t segment)
{
    cuda_model *model = &now->model;
    aegis_error err;
    const moment before = now->streams[COPIES].now;
    now->next_layer = segment > 0 ? now->ends[segment - 1] : 0;
    assert_int_equal(aegis_cuda_fetch_visit(model, segment, visit, &segment, &err), AEGIS_OK);
    assert_int_equal(now->next_layer, now->ends[segment]);
    assert_memory_equal(&before, &now->streams[COPIES].now, sizeof before);
    now->next_layer = segment > 0 ? now->ends[segment - 1] : 0;
    assert_int_equal(
        aegis_cuda_fetch_run(model, segment, &now->streams[LANE], launch, &segment, &err),
        AEGIS_OK);
    assert_int_equal(now->next_layer, now->ends[segment]);
    nothing_is_on_its_way();
}

static void run_job(uint32_t segments, int times, bool unpacks)
{
    now->unpacks = unpacks;
    now->copied = 0;
    for (uint32_t s = 0; s < segments; s++) {
        for (int t = 0; t < times; t++) {
            run_segment(s);
        }
    }
    assert_true(times > 1 || segments < now->model.base.segment_count ||
                now->copied == now->model.residency.streamed);
    others_write();
}

/* Each copy once; the lane stays behind what was begun, and the next job runs. */
static void fail_each_copy(uint32_t segments)
{
    uint32_t part = 0;
    aegis_error err;
    for (uint32_t fail = 1; fail <= now->model.residency.streamed; fail++) {
        aegis_status status = AEGIS_OK;
        now->copied = 0;
        now->fail_copy = fail;
        for (uint32_t s = 0; s < segments && status == AEGIS_OK; s++) {
            now->next_layer = s > 0 ? now->ends[s - 1] : 0;
            part = s;
            status = aegis_cuda_fetch_run(&now->model, s, &now->streams[LANE], launch, &part, &err);
        }
        assert_int_equal(status, AEGIS_ERROR_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, "cudaMemcpyAsync"));
        nothing_is_on_its_way();
        now->fail_copy = 0;
        others_write();
        run_job(segments, 1, fail % 2 == 0);
    }
}

static bool make_world(world *w, uint32_t layers, uint64_t bytes, uint32_t room, uint32_t most)
{
    cuda_model *model = &w->model;
    memset(w, 0, sizeof *w);
    w->facts = (aegis_program_facts){.layers = layers, .layer_bytes = bytes};
    for (uint32_t s = 0; s < STREAMS; s++) {
        w->streams[s].index = s;
    }
    model->facts = &w->facts;
    model->base.stream = true;
    model->ring = RING;
    model->layers = LAYERS;
    model->streamed.pointer = PINNED;
    model->ends = w->ends;
    now = w;
    if (!aegis_residency_divide(layers, bytes, room * bytes, most, &model->residency) ||
        model->residency.streamed == 0) {
        return false;
    }
    model->base.segment_count = model->residency.segments;
    for (uint32_t s = 0; s < model->residency.segments; s++) {
        w->ends[s] = aegis_residency_end_of(&model->residency, s);
    }
    return true;
}

static void nothing_is_read_before_it_came_or_overwritten_before_it_was_read(void **state)
{
    (void)state;
    static const uint32_t counts[] = {3, 4, 7, 12, 30};
    static const uint64_t sizes[] = {1000, 7 * MIB, 14 * MIB, 28 * MIB};
    static const uint32_t most[] = {1, 3, 64};
    static world w;
    uint32_t divided = 0;
    for (size_t c = 0; c < LENGTH(counts); c++) {
        for (size_t s = 0; s < LENGTH(sizes) * LENGTH(most); s++) {
            for (uint32_t room = SLOTS; room < counts[c]; room++) {
                aegis_error err;
                assert_true(make_world(&w, counts[c], sizes[s / LENGTH(most)], room,
                                       most[s % LENGTH(most)]));
                const uint32_t segments = w.model.base.segment_count;
                assert_int_equal(aegis_cuda_fetch_init(&w.model, &err), AEGIS_OK);
                for (int job = 0; job < 8; job++) { /* steps and blocks, all or the first half */
                    run_job(job % 4 == 3 ? (segments + 1) / 2 : segments, job < 4 ? 1 : 3,
                            job % 2 == 1);
                }
                fail_each_copy(segments);
                aegis_cuda_fetch_finish(&w.model);
                assert_int_equal(w.streams_made + w.events_made, 0);
                divided++;
            }
        }
    }
    assert_true(divided > 100);
}

/* A resident model's segment is one part, and copies nothing; one without layers is none. */
static void a_resident_segment_is_one_part(void **state)
{
    (void)state;
    static world w;
    aegis_error err;
    assert_false(make_world(&w, 12, MIB, 12, 64));
    w.model.base.stream = false;
    w.model.base.segment_count = 4;
    memcpy(w.ends, (const uint32_t[]){1, 5, 12, 12}, 4 * sizeof *w.ends);
    for (uint32_t s = 0; s < 4; s++) {
        w.next_layer = s > 0 ? w.ends[s - 1] : 0;
        assert_int_equal(aegis_cuda_fetch_run(&w.model, s, &w.streams[LANE], launch, &s, &err),
                         AEGIS_OK);
        assert_int_equal(w.next_layer, w.ends[s]);
    }
    assert_int_equal(w.streams[LANE].now.of[LANE], 3);
    assert_int_equal(w.copied, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_read_before_it_came_or_overwritten_before_it_was_read),
        cmocka_unit_test(a_resident_segment_is_one_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    puts("skipped: built without CUDA");
    return 77;
}
#endif
