/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies between pinned memory and the arena by aegis_stream_copy, against plain cudaMemcpyAsync
 * over the same bytes, in turns within one run; and how much of a copy hides behind execution.
 *
 *     bench_gpu_copies [ROUNDS]
 *
 * The goal: at least 0.9 of the plain bandwidth. `pageable` is the same with memory that is not
 * pinned, for comparison. Overlap: a copy on a copy stream beside a kernel of about the same length
 * on a lane; the ratio is the time of both one after the other over the time of both at once (2 is
 * perfect, 1 is none).
 */
#include "gpu.h"

#define DEFAULT_ROUNDS 15
#define LARGEST ((size_t)64 << 20)
#define BYTES_A_ROUND ((size_t)128 << 20)
#define MOST_COPIES ((size_t)2048)

typedef struct side {
    aegis_device *device;
    aegis_stream *stream, *lane;
    aegis_buffer arena, pinned;
    void *pageable;
} side;

typedef struct plain {
    side *all;
    void *destination;
    const void *source;
    size_t size, count;
    double ns;
    int code;
} plain;

static struct CUstream_st *handle_of(aegis_stream *stream)
{
    struct CUstream_st *handle = NULL;
    aegis_error error;
    gpu_check(aegis_cuda_stream_handle(stream, &handle, &error), &error);
    return handle;
}

static void run_plain(void *argument)
{
    plain *self = argument;
    self->code = bare_copies(handle_of(self->all->stream), self->destination, self->source,
                             self->size, self->count, &self->ns);
}

static double
time_plain(side *all, void *destination, const void *source, size_t size, size_t count)
{
    aegis_error error;
    plain self = {
        .all = all, .destination = destination, .source = source, .size = size, .count = count};
    gpu_check(aegis_stream_call(all->stream, run_plain, &self, &error), &error);
    gpu_check(aegis_stream_synchronize(all->stream, &error), &error);
    gpu_must(self.code, "plain copies");
    return self.ns;
}

/* Between two events of the same stream, as the plain copies are timed. */
static double time_ours(side *all, void *destination, const void *source, size_t size, size_t count)
{
    aegis_event *events[2] = {NULL, NULL};
    aegis_error error;
    int64_t elapsed = 0;
    for (int i = 0; i < 2; i++) {
        gpu_check(aegis_event_create(all->device, &events[i], &error), &error);
    }
    gpu_check(aegis_event_record(events[0], all->stream, &error), &error);
    for (size_t i = 0; i < count; i++) {
        gpu_check(aegis_stream_copy(all->stream, destination, source, size, &error), &error);
    }
    gpu_check(aegis_event_record(events[1], all->stream, &error), &error);
    gpu_check(aegis_event_synchronize(events[1], &error), &error);
    gpu_check(aegis_event_elapsed_ns(events[0], events[1], &elapsed, &error), &error);
    aegis_event_destroy(events[0]);
    aegis_event_destroy(events[1]);
    return (double)elapsed;
}

static void
measure(bench_report *report, side *all, bool in, bool pinned, size_t size, size_t rounds)
{
    char name[96];
    void *host = pinned ? all->pinned.pointer : all->pageable;
    void *destination = in ? all->arena.pointer : host;
    const void *source = in ? host : all->arena.pointer;
    size_t count = BYTES_A_ROUND / size;
    count = count > MOST_COPIES ? MOST_COPIES : count;
    double bytes = (double)size * (double)count;
    double *ours = gpu_samples(rounds), *bare = gpu_samples(rounds), *ratios = gpu_samples(rounds);
    time_ours(all, destination, source, size, count); /* warm */
    for (size_t i = 0; i < rounds; i++) {
        double our_ns = time_ours(all, destination, source, size, count);
        double bare_ns = time_plain(all, destination, source, size, count);
        ours[i] = bytes / our_ns;
        bare[i] = bytes / bare_ns;
        ratios[i] = bare_ns / our_ns;
    }
    const char *kind = pinned ? "pinned" : "pageable", *way = in ? "in" : "out";
    snprintf(name, sizeof name, "%s_%s_%zuKiB", kind, way, size >> 10);
    bench_report_samples(report, name, "GB/s", ours, rounds);
    snprintf(name, sizeof name, "%s_%s_%zuKiB_plain", kind, way, size >> 10);
    bench_report_samples(report, name, "GB/s", bare, rounds);
    snprintf(name, sizeof name, "%s_%s_%zuKiB_ratio", kind, way, size >> 10);
    bench_report_samples(report, name, "AegisRT over plain", ratios, rounds);
    free(ours);
    free(bare);
    free(ratios);
}

typedef struct spin_call {
    aegis_stream *lane;
    uint64_t ns;
    int code;
} spin_call;

static void run_spin(void *argument)
{
    spin_call *self = argument;
    self->code = kernel_spin(handle_of(self->lane), self->ns, NULL);
}

static double time_pair(side *all, spin_call *spin, bool at_once)
{
    aegis_error error;
    uint64_t begin = gpu_now_ns();
    gpu_check(aegis_stream_call(all->lane, run_spin, spin, &error), &error);
    if (!at_once) {
        gpu_check(aegis_stream_synchronize(all->lane, &error), &error);
    }
    gpu_check(
        aegis_stream_copy(all->stream, all->arena.pointer, all->pinned.pointer, LARGEST, &error),
        &error);
    gpu_check(aegis_stream_synchronize(all->stream, &error), &error);
    gpu_check(aegis_stream_synchronize(all->lane, &error), &error);
    gpu_must(spin->code, "a kernel");
    return (double)(gpu_now_ns() - begin);
}

static void measure_overlap(bench_report *report, side *all, size_t rounds)
{
    double *ratios = gpu_samples(rounds);
    spin_call spin = {.lane = all->lane};
    spin.ns = (uint64_t)time_ours(all, all->arena.pointer, all->pinned.pointer, LARGEST, 1);
    time_pair(all, &spin, true);
    for (size_t i = 0; i < rounds; i++) {
        double apart = time_pair(all, &spin, false), together = time_pair(all, &spin, true);
        ratios[i] = apart / together;
    }
    bench_report_samples(report, "overlap_of_copy_and_kernel", "apart over together", ratios,
                         rounds);
    free(ratios);
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = {(size_t)64 << 10, (size_t)1 << 20, (size_t)16 << 20, LARGEST};
    long rounds = argc > 1 ? atol(argv[1]) : DEFAULT_ROUNDS;
    aegis_error error;
    if (rounds < 1) {
        fprintf(stderr, "ROUNDS must be positive\n");
        return 2;
    }
    side all = {.device = gpu_device(LARGEST, LARGEST), .pageable = malloc(LARGEST)};
    aegis_stream_config config = aegis_stream_config_default("copies");
    config.depth = MOST_COPIES + 2;
    gpu_check(aegis_stream_create(all.device, &config, &all.stream, &error), &error);
    gpu_check(aegis_stream_create(all.device, &config, &all.lane, &error), &error);
    gpu_check(aegis_device_alloc(all.device, LARGEST, 0, &all.arena, &error), &error);
    gpu_check(aegis_device_pinned_alloc(all.device, LARGEST, 0, &all.pinned, &error), &error);
    gpu_must(kernel_load(), "kernels");
    memset(all.pageable, 1, LARGEST);
    bench_report report = bench_report_begin("gpu_copies");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        measure(&report, &all, true, true, sizes[i], (size_t)rounds);
        measure(&report, &all, false, true, sizes[i], (size_t)rounds);
    }
    measure(&report, &all, true, false, LARGEST, (size_t)rounds);
    measure(&report, &all, false, false, LARGEST, (size_t)rounds);
    measure_overlap(&report, &all, (size_t)rounds);
    gpu_report_device(&report);
    bench_report_end(&report);
    aegis_stream_destroy(all.lane);
    aegis_stream_destroy(all.stream);
    aegis_device_destroy(all.device);
    free(all.pageable);
    return 0;
}
