/* SPDX-License-Identifier: Apache-2.0 */
/* Gates on a real GPU: what stands behind one does not run and holds nothing up, begins when it is
 * opened and sees what was written until then; jobs that go through them never overlap, whoever
 * comes between, whatever is stopped or goes. Exit 77 without a GPU. */
#include "support/cuda/gpu_bed.h"
#include "support/cuda/require.h"

#include <aegisrt/ext/cuda_graph.h>

#include <time.h>

#define MS UINT64_C(1000000)
#define STREAMS 10
#define VALUES ((size_t)1024)

typedef struct step {
    aegis_stream *stream;
    uint32_t *values;    /* device or pinned */
    uint32_t *from, *to; /* pinned; copied to `values` first, and from there; NULL: not */
    aegis_status status;
    int code;
    sem_t seen;
} step;

static void increment(step *self)
{
    struct CUstream_st *handle = NULL;
    if (self->from != NULL) {
        self->status =
            aegis_stream_enqueue_copy(self->stream, self->values, self->from, VALUES * 4, NULL);
    }
    if (aegis_cuda_stream_handle(self->stream, &handle, NULL) == AEGIS_OK) {
        self->code |= kernel_increment(handle, self->values, VALUES);
    }
    if (self->to != NULL && self->status == AEGIS_OK) {
        self->status =
            aegis_stream_enqueue_copy(self->stream, self->to, self->values, VALUES * 4, NULL);
    }
}

static void put(void *argument)
{
    step *self = argument;
    self->status = aegis_stream_ahead_begin(self->stream, NULL);
    if (self->status == AEGIS_OK) {
        increment(self);
        self->code |= aegis_stream_ahead_end(self->stream, NULL) != AEGIS_OK;
    }
}

static void run_now(void *argument)
{
    increment(argument);
}

static void take(void *argument)
{
    aegis_stream_ahead_take(((step *)argument)->stream);
}

static void discard(void *argument)
{
    aegis_stream_ahead_discard(((step *)argument)->stream);
}

static void see(void *argument)
{
    sem_post(&((step *)argument)->seen);
}

/* On the stream's thread, and to the end of what the next notification waits for. */
static void call(step *self, aegis_stream_function function)
{
    REQUIRE(aegis_stream_call(self->stream, function, self, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_notify(self->stream, see, self, NULL) == AEGIS_OK);
    gpu_sem_wait(&self->seen);
}

static aegis_stream *new_stream(aegis_device *device, aegis_completion completion, int processors)
{
    aegis_stream_config config = aegis_stream_config_default("ahead");
    aegis_stream *stream = NULL;
    aegis_error error;
    config.completion = completion;
    config.multiprocessors = processors;
    config.ahead = true;
    gpu_check(aegis_stream_create(device, &config, &stream, &error), &error);
    return stream;
}

static bool all_are(const uint32_t *values, uint32_t wanted)
{
    for (size_t i = 0; i < VALUES; i++) {
        if (values[i] != wanted) {
            return false;
        }
    }
    return true;
}

static void fill(uint32_t *values, uint32_t value)
{
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = value;
    }
}

static void
waits_passes_and_begins(aegis_device *device, aegis_completion completion, int processors)
{
    aegis_buffer in, out, beside, values;
    aegis_stream *stream = new_stream(device, completion, processors);
    step ahead = {.stream = stream}, now = {.stream = stream};
    sem_init(&ahead.seen, 0, 0);
    sem_init(&now.seen, 0, 0);
    REQUIRE(aegis_device_pinned_alloc(device, VALUES * 4, 0, &in, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_pinned_alloc(device, VALUES * 4, 0, &out, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_pinned_alloc(device, VALUES * 4, 0, &beside, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_alloc(device, VALUES * 4, 0, &values, NULL) == AEGIS_OK);
    ahead.from = in.pointer;
    ahead.values = values.pointer;
    ahead.to = out.pointer;
    now.values = beside.pointer;
    fill(beside.pointer, 0);
    call(&ahead, run_now);
    call(&now, run_now); /* what is loaded when it is used first is there then */
    fill(beside.pointer, 0);
    for (uint32_t i = 0; i < 50; i++) {
        fill(in.pointer, 7);
        fill(out.pointer, 0);
        call(&ahead, put); /* its notification does not wait for it */
        REQUIRE(ahead.status == AEGIS_OK && ahead.code == 0);
        call(&now, run_now); /* past it */
        REQUIRE(all_are(beside.pointer, i + 1) && all_are(out.pointer, 0));
        REQUIRE(aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
        REQUIRE(aegis_stream_call(stream, put, &now, NULL) == AEGIS_OK); /* a second one may not */
        REQUIRE(aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
        REQUIRE(now.status == AEGIS_ERROR_BUSY);
        fill(in.pointer, 100 + i); /* known only now */
        if (i % 3 == 0) {
            aegis_stream_ahead_open(stream);
        }
        call(&ahead, i % 3 == 2 ? discard : take);
        REQUIRE(all_are(out.pointer, 101 + i));
    }
    /* What nobody takes ends with the stream. */
    call(&ahead, put);
    aegis_stream_destroy(stream);
    REQUIRE(aegis_device_pinned_free(device, &in, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_pinned_free(device, &out, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_pinned_free(device, &beside, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_free(device, &values, NULL) == AEGIS_OK);
}

/* However many want gates, what stands at them leaves others their connections to the device, for
 * copies too. */
static void gates_hold_nobody_up(aegis_device *device)
{
    aegis_buffer values, from, to;
    step steps[STREAMS] = {0};
    bool stands[STREAMS];
    int gates = 0;
    REQUIRE(aegis_device_alloc(device, STREAMS * VALUES * 4, 0, &values, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_pinned_alloc(device, VALUES * 4, 0, &from, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_pinned_alloc(device, STREAMS * VALUES * 4, 0, &to, NULL) == AEGIS_OK);
    fill(from.pointer, 7);
    for (int i = 0; i < STREAMS; i++) {
        steps[i].stream = new_stream(device, AEGIS_COMPLETION_ADAPTIVE, 0);
        steps[i].values = (uint32_t *)values.pointer + (size_t)i * VALUES;
        steps[i].from = from.pointer;
        steps[i].to = (uint32_t *)to.pointer + (size_t)i * VALUES;
        fill(steps[i].to, 0);
        sem_init(&steps[i].seen, 0, 0);
    }
    for (int i = 0; i < STREAMS; i++) { /* with all streams there: making one may wait for gates */
        call(&steps[i], put);
        REQUIRE(steps[i].status == AEGIS_OK || steps[i].status == AEGIS_ERROR_UNSUPPORTED);
        stands[i] = steps[i].status == AEGIS_OK;
        gates += stands[i];
    }
    printf("%d of %d streams have gates\n", gates, STREAMS);
    REQUIRE(gates > 0 && gates < 4);
    for (int i = 0; i < STREAMS; i++) {
        REQUIRE(all_are(steps[i].to, 0));
        REQUIRE(aegis_stream_call(steps[i].stream, run_now, &steps[i], NULL) == AEGIS_OK);
        REQUIRE(aegis_stream_synchronize_until(steps[i].stream, gpu_now_ns() + 2000 * MS, NULL) ==
                AEGIS_OK);
        REQUIRE(all_are(steps[i].to, 8));
    }
    fill(from.pointer, 20); /* what stands there sees it */
    for (int i = 0; i < STREAMS; i++) {
        call(&steps[i], discard);
        REQUIRE(all_are(steps[i].to, stands[i] ? 21 : 8));
    }
    for (int i = 0; i < STREAMS; i++) {
        aegis_stream_destroy(steps[i].stream);
    }
    REQUIRE(aegis_device_pinned_free(device, &to, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_pinned_free(device, &from, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_free(device, &values, NULL) == AEGIS_OK);
}

/* ---- below the scheduler ---- */

static void note_end(void *self, const aegis_job_result *result)
{
    failures += result->end != AEGIS_JOB_COMPLETED;
    sem_post(self);
}

static int by_start(const void *a, const void *b)
{
    uint64_t first = ((const kernel_stamp *)a)->start_ns;
    uint64_t second = ((const kernel_stamp *)b)->start_ns;
    return (first > second) - (first < second);
}

/* Kernels of both models, in the order of their starts. */
static size_t none_overlap(gpu_bed *bed)
{
    kernel_stamp all[2048];
    size_t used = 0;
    for (uint32_t m = 0; m < bed->count; m++) {
        size_t count;
        const kernel_stamp *stamps = kernel_model_stamps(bed->models[m], &count);
        memcpy(all + used, stamps, count * sizeof *stamps);
        used += count;
    }
    qsort(all, used, sizeof *all, by_start);
    for (size_t i = 0; i + 1 < used; i++) {
        REQUIRE(all[i].end_ns > 0 && all[i].end_ns <= all[i + 1].start_ns);
    }
    return used;
}

static uint64_t opened(const gpu_bed *bed)
{
    aegis_scheduler_metrics metrics;
    aegis_error error;
    gpu_check(aegis_scheduler_get_metrics(bed->scheduler, &metrics, &error), &error);
    return metrics.opened;
}

static void
open_ahead(gpu_bed *bed, const char *policy, aegis_completion completion, aegis_wait_mode wait)
{
    gpu_bed_open(bed, &(gpu_bed_config){.wait = wait,
                                        .completion = completion,
                                        .ahead = true,
                                        .policy = policy,
                                        .wake_bound_ns = MS / 100,
                                        .overhead_bound_ns = MS / 100});
}

/* A long job of many segments, and short ones that come between them. */
static void jobs_never_overlap(aegis_completion completion, aegis_wait_mode wait)
{
    gpu_bed bed;
    sem_t ended;
    sem_init(&ended, 0, 0);
    open_ahead(&bed, "np-fp", completion, wait);
    uint32_t cut = gpu_bed_add(&bed, "32x50000", GPU_BED_HOUR_NS, 9, 2);
    uint32_t urgent = gpu_bed_add(&bed, "2x30000", GPU_BED_HOUR_NS, 1, 3);
    gpu_bed_start(&bed);
    for (int i = 0; i < 10; i++) {
        gpu_bed_submit(&bed, cut, note_end, &ended);
        for (int k = 0; k < 3; k++) {
            gpu_bed_submit(&bed, urgent, note_end, &ended);
            gpu_sem_wait(&ended);
        }
        gpu_sem_wait(&ended);
    }
    uint64_t through = opened(&bed);
    printf("%llu of 380 segments came through the gate\n", (unsigned long long)through);
    REQUIRE(through >= 200 && through <= 340);
    REQUIRE(aegis_scheduler_stop(bed.scheduler, NULL) == AEGIS_OK);
    REQUIRE(none_overlap(&bed) == 380);
    gpu_bed_close(&bed);
}

/* A stop, or the model going, in the middle of a job: nothing stands at the gate any more. */
static void ends_in_the_middle(bool evict)
{
    for (int i = 0; i < 20; i++) {
        gpu_bed bed;
        aegis_error error;
        gpu_bed_open(&bed, &(gpu_bed_config){.wait = AEGIS_WAIT_POLL,
                                             .completion = AEGIS_COMPLETION_POLL,
                                             .ahead = true,
                                             .wake_bound_ns = MS,
                                             .overhead_bound_ns = MS});
        uint32_t model = gpu_bed_add(&bed, "32x30000", GPU_BED_HOUR_NS, 0, 1);
        gpu_bed_start(&bed);
        gpu_bed_submit(&bed, model, NULL, NULL);
        while (opened(&bed) < (uint64_t)(1 + i % 7)) {
            /* somewhere in the job */
        }
        if (evict) {
            gpu_check(aegis_scheduler_evict(bed.scheduler, model, &error), &error);
        }
        gpu_check(aegis_scheduler_stop(bed.scheduler, &error), &error);
        none_overlap(&bed);
        gpu_bed_close(&bed);
    }
}

/* ---- from job to job ---- */

/* The driver's clock is the real one: a job that is submitted before its period is over is held
 * back, by as much as the gate is measured by. */
static void sleep_ns(uint64_t ns)
{
    struct timespec nap = {.tv_sec = (time_t)(ns / 1000000000u),
                           .tv_nsec = (long)(ns % 1000000000u)};
    nanosleep(&nap, NULL);
}

/* Behind a long kernel, jobs of two models of one segment each, in turns. */
static void whole_models_follow_one_another(aegis_completion completion, aegis_wait_mode wait)
{
    gpu_bed bed;
    sem_t ended;
    sem_init(&ended, 0, 0);
    open_ahead(&bed, NULL, completion, wait);
    uint32_t first = gpu_bed_add(&bed, "1x5000000", GPU_BED_HOUR_NS, 0, 4);
    uint32_t a = gpu_bed_add(&bed, "1x50000", GPU_BED_HOUR_NS, 0, 4);
    uint32_t b = gpu_bed_add(&bed, "1x50000", GPU_BED_HOUR_NS, 0, 4);
    gpu_bed_start(&bed);
    for (int i = 0; i < 20; i++) {
        gpu_bed_submit(&bed, first, note_end, &ended);
        for (int k = 0; k < 4; k++) { /* released one period after the other, before it ends */
            gpu_bed_submit(&bed, a, note_end, &ended);
            gpu_bed_submit(&bed, b, note_end, &ended);
        }
        for (int k = 0; k < 9; k++) {
            gpu_sem_wait(&ended);
        }
        sleep_ns(bed.periods_ns[first]);
    }
    uint64_t through = opened(&bed);
    printf("%llu of 160 jobs that followed another came through the gate\n",
           (unsigned long long)through);
    REQUIRE(through >= 120 && through <= 160);
    REQUIRE(aegis_scheduler_stop(bed.scheduler, NULL) == AEGIS_OK);
    REQUIRE(none_overlap(&bed) == 180);
    gpu_bed_close(&bed);
}

/* b stands behind the gate while a runs, when c comes, sooner or later; c goes past it. */
static void a_more_urgent_job_comes(aegis_completion completion, aegis_wait_mode wait)
{
    gpu_bed bed;
    sem_t ended;
    sem_init(&ended, 0, 0);
    open_ahead(&bed, "np-fp", completion, wait);
    uint32_t a = gpu_bed_add(&bed, "1x500000", GPU_BED_HOUR_NS, 9, 4);
    uint32_t b = gpu_bed_add(&bed, "2x50000", GPU_BED_HOUR_NS, 5, 4);
    uint32_t c = gpu_bed_add(&bed, "3x30000", GPU_BED_HOUR_NS, 1, 4);
    gpu_bed_start(&bed);
    for (uint64_t i = 0; i < 60; i++) {
        gpu_bed_submit(&bed, a, note_end, &ended);
        sleep_ns(MS / 10);
        gpu_bed_submit(&bed, b, note_end, &ended);
        sleep_ns(i * 10000);
        gpu_bed_submit(&bed, c, note_end, &ended);
        for (int k = 0; k < 3; k++) {
            gpu_sem_wait(&ended);
        }
        sleep_ns(bed.periods_ns[a]);
    }
    printf("%llu of 360 segments came through the gate\n", (unsigned long long)opened(&bed));
    REQUIRE(opened(&bed) >= 60);
    REQUIRE(aegis_scheduler_stop(bed.scheduler, NULL) == AEGIS_OK);
    REQUIRE(none_overlap(&bed) == 360);
    gpu_bed_close(&bed);
}

typedef enum in_between {
    STOPPED,
    ITSELF_GONE,
    ANOTHER_GONE
} in_between;

/* b, of a job that follows, stands behind the gate while a runs: at once, since a is thought to be
 * short, and for long. */
static void ends_before_it_is_taken(in_between what)
{
    for (uint64_t i = 0; i < 20; i++) {
        gpu_bed bed;
        aegis_error error;
        gpu_bed_open(&bed, &(gpu_bed_config){.wait = AEGIS_WAIT_POLL,
                                             .completion = AEGIS_COMPLETION_POLL,
                                             .ahead = true,
                                             .policy = "np-fp",
                                             .wake_bound_ns = MS,
                                             .overhead_bound_ns = MS,
                                             .least_ns = AEGIS_STREAM_NEAR_NS});
        uint32_t a = gpu_bed_add(&bed, "1x2000000", GPU_BED_HOUR_NS, 1, 4);
        uint32_t b = gpu_bed_add(&bed, "1x50000", GPU_BED_HOUR_NS, 2, 4);
        uint32_t c = gpu_bed_add(&bed, "1x500000", GPU_BED_HOUR_NS, 3, 4);
        gpu_bed_start(&bed);
        gpu_bed_submit(&bed, c, NULL, NULL);
        gpu_bed_submit(&bed, a, NULL, NULL);
        gpu_bed_submit(&bed, b, NULL, NULL);
        sleep_ns(MS / 2 + i * MS / 8); /* c runs, then a, and in the last ones that has ended */
        if (what != STOPPED) {
            gpu_check(aegis_scheduler_evict(bed.scheduler, what == ITSELF_GONE ? b : c, &error),
                      &error);
        }
        gpu_check(aegis_scheduler_stop(bed.scheduler, &error), &error);
        none_overlap(&bed);
        gpu_bed_close(&bed);
    }
}

typedef struct twice {
    aegis_stream *stream;
    aegis_cuda_graph *graph;
    kernel_stamp *stamp;
    bool runs_on; /* when the second launch has returned */
    sem_t seen;
} twice;

static void capture_spin(void *argument)
{
    twice *self = argument;
    const aegis_allocator allocator = aegis_allocator_default();
    struct CUstream_st *handle = NULL;
    REQUIRE(aegis_cuda_capture_begin(self->stream, NULL) == AEGIS_OK);
    REQUIRE(aegis_cuda_stream_handle(self->stream, &handle, NULL) == AEGIS_OK);
    REQUIRE(kernel_spin(handle, 50 * MS, self->stamp) == 0);
    REQUIRE(aegis_cuda_capture_end(self->stream, &allocator, &self->graph, NULL, NULL) == AEGIS_OK);
}

static void launch_twice(void *argument)
{
    twice *self = argument;
    REQUIRE(aegis_cuda_graph_launch(self->graph, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_ahead_begin(self->stream, NULL) == AEGIS_OK);
    REQUIRE(aegis_cuda_graph_launch(self->graph, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_ahead_end(self->stream, NULL) == AEGIS_OK);
    self->runs_on = *(volatile uint64_t *)&self->stamp->end_ns == 0;
}

static void take_second(void *argument)
{
    aegis_stream_ahead_take(((twice *)argument)->stream);
}

static void see_twice(void *argument)
{
    sem_post(&((twice *)argument)->seen);
}

/* The next job in the same slot of a model without state is the same graph: put there while it
 * runs, it holds up neither the thread nor the one that runs. */
static void a_graph_waits_while_it_runs(aegis_device *device)
{
    aegis_buffer stamp;
    twice self = {.stream = new_stream(device, AEGIS_COMPLETION_POLL, 0)};
    sem_init(&self.seen, 0, 0);
    REQUIRE(aegis_device_pinned_alloc(device, sizeof *self.stamp, 64, &stamp, NULL) == AEGIS_OK);
    self.stamp = stamp.pointer;
    *self.stamp = (kernel_stamp){0};
    REQUIRE(aegis_stream_call(self.stream, capture_spin, &self, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_call(self.stream, launch_twice, &self, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_notify(self.stream, see_twice, &self, NULL) == AEGIS_OK);
    gpu_sem_wait(&self.seen);
    REQUIRE(self.runs_on);
    const kernel_stamp first = *self.stamp;
    REQUIRE(first.end_ns > first.start_ns);
    REQUIRE(aegis_stream_call(self.stream, take_second, &self, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_notify(self.stream, see_twice, &self, NULL) == AEGIS_OK);
    gpu_sem_wait(&self.seen);
    REQUIRE(self.stamp->start_ns >= first.end_ns && self.stamp->end_ns > first.end_ns);
    aegis_cuda_graph_destroy(self.graph);
    aegis_stream_destroy(self.stream);
    REQUIRE(aegis_device_pinned_free(device, &stamp, NULL) == AEGIS_OK);
}

/* ---- what a thread does while it waits ---- */

typedef struct waiting {
    step next; /* which it puts behind the gate, the second time that it is called */
    kernel_stamp *stamp;
    uint64_t expect_ns, called_ns;
    _Atomic int calls;
} waiting;

static void spin_long(void *argument)
{
    waiting *self = argument;
    struct CUstream_st *handle = NULL;
    REQUIRE(aegis_cuda_stream_handle(self->next.stream, &handle, NULL) == AEGIS_OK);
    if (self->expect_ns > 0) {
        self->called_ns = gpu_now_ns() + self->expect_ns - AEGIS_STREAM_NEAR_NS;
        aegis_stream_expect(self->next.stream, self->expect_ns);
    }
    REQUIRE(kernel_spin(handle, 50 * MS, self->stamp) == 0);
}

static void put_the_second_time(void *argument)
{
    waiting *self = argument;
    REQUIRE(gpu_now_ns() >= self->called_ns);
    REQUIRE(*(volatile uint64_t *)&self->stamp->end_ns == 0);
    if (++self->calls == 2) {
        put(&self->next);
    }
}

/* Its end being near, or nothing being known of it, it is called, and called again when it is
 * asked; what it puts behind the gate waits there. */
static void
what_is_done_while_it_waits(aegis_device *device, aegis_completion completion, uint64_t expect_ns)
{
    aegis_buffer stamp, values;
    waiting self = {.next = {.stream = new_stream(device, completion, 0)}, .expect_ns = expect_ns};
    aegis_stream *stream = self.next.stream;
    sem_init(&self.next.seen, 0, 0);
    REQUIRE(aegis_device_pinned_alloc(device, sizeof *self.stamp, 64, &stamp, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_pinned_alloc(device, VALUES * 4, 64, &values, NULL) == AEGIS_OK);
    memset(stamp.pointer, 0, sizeof *self.stamp);
    fill(values.pointer, 0);
    self.stamp = stamp.pointer;
    self.next.values = values.pointer;
    self.next.status = AEGIS_ERROR_STATE;
    REQUIRE(aegis_stream_set_meanwhile(stream, put_the_second_time, &self));
    REQUIRE(aegis_stream_call(stream, spin_long, &self, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_notify(stream, see, &self.next, NULL) == AEGIS_OK);
    while (self.calls == 0) {
        /* until it is near */
    }
    aegis_stream_ask_meanwhile(stream);
    gpu_sem_wait(&self.next.seen);
    REQUIRE(self.calls == 2);
    REQUIRE(self.next.status == AEGIS_OK && self.next.code == 0 && all_are(values.pointer, 0));
    (void)aegis_stream_set_meanwhile(stream, NULL, NULL);
    call(&self.next, take);
    REQUIRE(all_are(values.pointer, 1));
    aegis_stream_destroy(stream);
    REQUIRE(aegis_device_pinned_free(device, &stamp, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_pinned_free(device, &values, NULL) == AEGIS_OK);
}

int main(void)
{
    aegis_device *device = gpu_device(65536, 65536);
    setvbuf(stdout, NULL, _IOLBF, 0);
    REQUIRE(kernel_load() == 0);
    waits_passes_and_begins(device, AEGIS_COMPLETION_POLL, 0);
    printf("polling\n");
    waits_passes_and_begins(device, AEGIS_COMPLETION_ADAPTIVE, 0);
    printf("adaptive\n");
    if (aegis_device_get_capabilities(device)->partition_granularity > 0) {
        waits_passes_and_begins(device, AEGIS_COMPLETION_POLL, 16);
        printf("on multiprocessors of its own\n");
    }
    gates_hold_nobody_up(device);
    printf("nobody held up\n");
    a_graph_waits_while_it_runs(device);
    printf("a graph beside itself\n");
    what_is_done_while_it_waits(device, AEGIS_COMPLETION_POLL, 0);
    what_is_done_while_it_waits(device, AEGIS_COMPLETION_POLL, 40 * MS);
    what_is_done_while_it_waits(device, AEGIS_COMPLETION_ADAPTIVE, 40 * MS);
    printf("asked while it waits\n");
    aegis_device_destroy(device);
    jobs_never_overlap(AEGIS_COMPLETION_POLL, AEGIS_WAIT_POLL);
    jobs_never_overlap(AEGIS_COMPLETION_ADAPTIVE, AEGIS_WAIT_SLEEP);
    ends_in_the_middle(false);
    printf("stopped\n");
    ends_in_the_middle(true);
    printf("gone\n");
    whole_models_follow_one_another(AEGIS_COMPLETION_POLL, AEGIS_WAIT_POLL);
    whole_models_follow_one_another(AEGIS_COMPLETION_ADAPTIVE, AEGIS_WAIT_SLEEP);
    a_more_urgent_job_comes(AEGIS_COMPLETION_POLL, AEGIS_WAIT_POLL);
    a_more_urgent_job_comes(AEGIS_COMPLETION_ADAPTIVE, AEGIS_WAIT_SLEEP);
    ends_before_it_is_taken(STOPPED);
    ends_before_it_is_taken(ITSELF_GONE);
    ends_before_it_is_taken(ANOTHER_GONE);
    printf("before it is taken\n");
    printf("%s\n", failures == 0 ? "ok" : "FAIL");
    return failures == 0 ? 0 : 1;
}
