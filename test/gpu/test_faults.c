/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong on a real GPU, each in a process of its own because most of it ends the context:
 *
 *     test_gpu_faults CASE
 *
 * Each must be reported with its status and category, and the process must end by itself. Exit 77
 * without a GPU. */
#include "support/cuda/gpu_bed.h"
#include "support/cuda/require.h"

#include <time.h>

#define MS UINT64_C(1000000)
#define HANG_LIMIT_NS (UINT64_C(20000) * MS)

static void show(const char *what, const aegis_error *error)
{
    printf("%s: %s, %s: %s\n", what, aegis_status_name(error->status),
           aegis_error_category_name(error->category), error->message);
}

typedef struct launch {
    aegis_stream *stream;
    int (*kernel)(struct CUstream_st *stream);
    int code;
    aegis_status seen; /* by the function behind the kernel */
    aegis_error error;
} launch;

static void launch_it(void *argument)
{
    launch *self = argument;
    struct CUstream_st *handle = NULL;
    if (aegis_cuda_stream_handle(self->stream, &handle, NULL) == AEGIS_OK) {
        self->code = self->kernel(handle);
    }
}

static void look(void *argument)
{
    launch *self = argument;
    self->seen = aegis_stream_take_failure(self->stream, &self->error);
}

static aegis_stream *new_stream(aegis_device *device)
{
    aegis_stream_config config = aegis_stream_config_default("faults");
    aegis_stream *stream = NULL;
    aegis_error error;
    gpu_check(aegis_stream_create(device, &config, &stream, &error), &error);
    return stream;
}

/* A kernel ends the context: the function behind it, the wait and every later call say so. */
static void device_is_lost(int (*kernel)(struct CUstream_st *))
{
    aegis_device *device = gpu_device(MS, 0);
    aegis_stream *stream = new_stream(device), *other = new_stream(device), *late = NULL;
    aegis_stream_config config = aegis_stream_config_default("late");
    launch one = {.stream = stream, .kernel = kernel, .code = -1};
    aegis_error error = {0};
    char bytes[16] = {0};
    void *base;
    REQUIRE(kernel_load() == 0);
    aegis_device_get_arena(device, &base, NULL);
    REQUIRE(aegis_stream_call(stream, launch_it, &one, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_notify(stream, look, &one, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_synchronize(stream, &error) == AEGIS_ERROR_DEVICE_LOST);
    show("synchronize", &error);
    REQUIRE(error.category == AEGIS_CATEGORY_FATAL && error.native_code != 0);
    REQUIRE(one.code == 0 && one.seen == AEGIS_ERROR_DEVICE_LOST);
    /* A fatal failure is not forgotten, and reaches everybody. */
    REQUIRE(aegis_stream_synchronize(stream, NULL) == AEGIS_ERROR_DEVICE_LOST);
    REQUIRE(aegis_stream_copy(other, base, bytes, sizeof bytes, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_synchronize(other, NULL) == AEGIS_ERROR_DEVICE_LOST);
    REQUIRE(aegis_device_copy(device, base, bytes, sizeof bytes, NULL) == AEGIS_ERROR_DEVICE_LOST);
    REQUIRE(aegis_stream_create(device, &config, &late, &error) == AEGIS_ERROR_DEVICE_LOST);
    show("another stream", &error);
    aegis_stream_destroy(other);
    aegis_stream_destroy(stream);
    aegis_device_destroy(device);
}

static void trap(void)
{
    device_is_lost(kernel_trap);
}

static void illegal_address(void)
{
    device_is_lost(kernel_illegal_address);
}

typedef struct ends {
    sem_t ended;
    aegis_job_result results[2];
    int count;
} ends;

static void note_end(void *self, const aegis_job_result *result)
{
    ends *all = self;
    all->results[all->count++ & 1] = *result;
    sem_post(&all->ended);
}

/* The same below the scheduler: the job ends as aborted, its model is faulted, stop is fatal. */
static void in_a_segment(const char *path)
{
    gpu_bed bed;
    ends all = {0};
    aegis_error error = {0}, fault = {0};
    sem_init(&all.ended, 0, 0);
    gpu_bed_open(&bed,
                 &(gpu_bed_config){.ahead = true, .wake_bound_ns = MS, .overhead_bound_ns = MS});
    uint32_t sound = gpu_bed_add(&bed, "2x100000", GPU_BED_HOUR_NS, 0, 4);
    uint32_t faulty = gpu_bed_add(&bed, path, GPU_BED_HOUR_NS, 0, 4);
    gpu_bed_start(&bed);
    gpu_bed_submit(&bed, sound, note_end, &all);
    gpu_sem_wait(&all.ended);
    REQUIRE(all.results[0].end == AEGIS_JOB_COMPLETED);
    gpu_bed_submit(&bed, faulty, note_end, &all);
    gpu_sem_wait(&all.ended);
    REQUIRE(all.results[1].end == AEGIS_JOB_ABORTED);
    REQUIRE(all.results[1].status == AEGIS_ERROR_DEVICE_LOST);
    REQUIRE(aegis_context_last_error(bed.contexts[faulty], &fault));
    show("model", &fault);
    REQUIRE(fault.category == AEGIS_CATEGORY_FATAL);
    REQUIRE(aegis_scheduler_stop(bed.scheduler, &error) == AEGIS_ERROR_DEVICE_LOST);
    show("stop", &error);
    REQUIRE(strstr(error.message, "model 'b'") != NULL);
    gpu_bed_close(&bed);
}

static void trap_in_a_segment(void)
{
    in_a_segment("2x100000:trap");
}

static void illegal_address_in_a_segment(void)
{
    in_a_segment("2x100000:illegal");
}

static void out_of_memory_at_create(void)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_device_capabilities is;
    aegis_error error = {0};
    aegis_device *device = NULL;
    aegis_device_config config = {.kind = AEGIS_DEVICE_CUDA};
    if (aegis_device_query(AEGIS_DEVICE_CUDA, 0, false, &is, &error) != AEGIS_OK) {
        gpu_check(error.status, &error);
    }
    /* More than is free and not more than there is: what CUDA itself refuses. */
    uint64_t wanted[] = {is.total_memory_bytes + 1, is.free_memory_bytes + 4096,
                         is.total_memory_bytes};
    for (int i = 0; i < 3; i++) {
        config.arena_bytes = wanted[i];
        REQUIRE(aegis_device_create(&config, &allocator, &device, &error) == AEGIS_ERROR_NO_MEMORY);
        show("arena", &error);
        REQUIRE(error.category == AEGIS_CATEGORY_PERMANENT && device == NULL);
        REQUIRE(strstr(error.message, "[device] memory") != NULL);
    }
    config.arena_bytes = MS;
    config.pinned_bytes = UINT64_C(1) << 50;
    REQUIRE(aegis_device_create(&config, &allocator, &device, &error) == AEGIS_ERROR_NO_MEMORY);
    show("pinned", &error);
    REQUIRE(strstr(error.message, "pinned") != NULL);
    config.pinned_bytes = 4096;
    REQUIRE(aegis_device_create(&config, &allocator, &device, &error) == AEGIS_OK);
    aegis_device_destroy(device);
}

typedef struct hang {
    aegis_stream *stream;
    const volatile int *flag;
    int code;
    bool notified;
} hang;

static void launch_hang(void *argument)
{
    hang *self = argument;
    struct CUstream_st *handle = NULL;
    if (aegis_cuda_stream_handle(self->stream, &handle, NULL) == AEGIS_OK) {
        self->code = kernel_hang(handle, self->flag, HANG_LIMIT_NS);
    }
}

static void note_notified(void *argument)
{
    ((hang *)argument)->notified = true;
}

/* A kernel that does not end, with and without a thread that waits for it. The limit of 20 s is for
 * the machine's sake; nothing here may take that long. */
static void hung(bool notify, aegis_completion completion, bool ends_after_all)
{
    static hang self; /* a thread that is left behind goes on to use it */
    aegis_device *device = gpu_device(MS, 4096);
    aegis_stream_config config = aegis_stream_config_default("hung");
    aegis_stream *late = NULL;
    aegis_buffer flag;
    aegis_error error = {0};
    REQUIRE(kernel_load() == 0);
    config.completion = completion;
    gpu_check(aegis_stream_create(device, &config, &self.stream, &error), &error);
    gpu_check(aegis_device_pinned_alloc(device, sizeof(int), 0, &flag, &error), &error);
    self.flag = flag.pointer;
    uint64_t begin = gpu_now_ns();
    REQUIRE(aegis_stream_call(self.stream, launch_hang, &self, NULL) == AEGIS_OK);
    if (notify) {
        REQUIRE(aegis_stream_notify(self.stream, note_notified, &self, NULL) == AEGIS_OK);
    }
    REQUIRE(aegis_stream_synchronize_until(self.stream, begin + 100 * MS, &error) ==
            AEGIS_ERROR_TIMEOUT);
    show("bounded wait", &error);
    REQUIRE(gpu_now_ns() - begin < 2000 * MS);
    if (ends_after_all) {
        *(volatile int *)flag.pointer = 1;
        REQUIRE(aegis_stream_synchronize_until(self.stream, gpu_now_ns() + 5000 * MS, &error) ==
                AEGIS_OK);
        REQUIRE(self.notified == notify);
        aegis_stream_destroy(self.stream);
        aegis_device_destroy(device);
        return;
    }
    REQUIRE(aegis_stream_abandon(self.stream, &error) == AEGIS_ERROR_DEVICE_LOST);
    show("abandon", &error);
    REQUIRE(error.category == AEGIS_CATEGORY_FATAL);
    REQUIRE(aegis_stream_create(device, &config, &late, NULL) == AEGIS_ERROR_DEVICE_LOST);
    aegis_device_destroy(device);
    REQUIRE(gpu_now_ns() - begin < 3000 * MS);
}

/* The driver finds it, the process goes on to its end. */
static void hung_kernel_in_a_segment(void)
{
    static gpu_bed bed; /* a lane that is left behind goes on to use it */
    aegis_error error = {0};
    gpu_bed_open(&bed, &(gpu_bed_config){.ahead = true,
                                         .wake_bound_ns = MS,
                                         .overhead_bound_ns = MS,
                                         .hang_ns = 300 * MS});
    uint32_t model = gpu_bed_add(&bed, "2x100000:hang", GPU_BED_HOUR_NS, 0, 4);
    gpu_bed_start(&bed);
    REQUIRE(aegis_scheduler_check(bed.scheduler, NULL) == AEGIS_OK);
    uint64_t begin = gpu_now_ns();
    gpu_bed_submit(&bed, model, NULL, NULL);
    while (aegis_scheduler_check(bed.scheduler, &error) == AEGIS_OK &&
           gpu_now_ns() - begin < 5000 * MS) {
        struct timespec nap = {.tv_nsec = 10000000};
        nanosleep(&nap, NULL);
    }
    show("check", &error);
    REQUIRE(error.status == AEGIS_ERROR_DEVICE_LOST && error.category == AEGIS_CATEGORY_FATAL);
    REQUIRE(gpu_now_ns() - begin < 2000 * MS);
    REQUIRE(aegis_scheduler_stop(bed.scheduler, &error) == AEGIS_ERROR_DEVICE_LOST);
    REQUIRE(aegis_scheduler_hangs(bed.scheduler));
    gpu_bed_close(&bed);
}

static void hung_kernel(void)
{
    hung(false, AEGIS_COMPLETION_ADAPTIVE, false);
}

static void hung_kernel_waited_for(void)
{
    hung(true, AEGIS_COMPLETION_ADAPTIVE, false);
}

static void hung_kernel_polled_for(void)
{
    hung(true, AEGIS_COMPLETION_POLL, false);
}

static void slow_kernel_is_no_fault(void)
{
    hung(true, AEGIS_COMPLETION_BLOCK, true);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"trap", trap},
    {"illegal_address", illegal_address},
    {"trap_in_a_segment", trap_in_a_segment},
    {"illegal_address_in_a_segment", illegal_address_in_a_segment},
    {"out_of_memory_at_create", out_of_memory_at_create},
    {"hung_kernel", hung_kernel},
    {"hung_kernel_waited_for", hung_kernel_waited_for},
    {"hung_kernel_polled_for", hung_kernel_polled_for},
    {"hung_kernel_in_a_segment", hung_kernel_in_a_segment},
    {"slow_kernel_is_no_fault", slow_kernel_is_no_fault},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (argc == 2 && strcmp(argv[1], cases[i].name) == 0) {
            cases[i].run();
            printf("%s: %s\n", failures == 0 ? "ok" : "FAIL", cases[i].name);
            return failures == 0 ? 0 : 1;
        }
    }
    fprintf(stderr, "usage: %s CASE, one of:\n", argv[0]);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fprintf(stderr, "  %s\n", cases[i].name);
    }
    return 2;
}
