/* SPDX-License-Identifier: Apache-2.0 */
/* What is the host device's own: permissions, pinning, memory; and which device a kind means. */
#include <aegisrt/device.h>
#include <aegisrt/ext/device_ops.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

static aegis_status
make(uint64_t arena_bytes, bool lock, aegis_device **ret_device, aegis_error *err)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_device_config config = {
        .kind = AEGIS_DEVICE_HOST, .arena_bytes = arena_bytes, .lock_memory = lock};
    return aegis_device_create(&config, &allocator, ret_device, err);
}

/* Takes CAP_SYS_NICE and CAP_IPC_LOCK out of what this thread may use, and back. */
static struct __user_cap_data_struct saved[2];

static void drop_privileges(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct now[2];
    assert_int_equal(syscall(SYS_capget, &header, saved), 0);
    memcpy(now, saved, sizeof now);
    now[0].effective &= ~(UINT32_C(1) << CAP_SYS_NICE | UINT32_C(1) << CAP_IPC_LOCK |
                          UINT32_C(1) << CAP_SYS_RESOURCE);
    assert_int_equal(syscall(SYS_capset, &header, now), 0);
}

static void restore_privileges(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    assert_int_equal(syscall(SYS_capset, &header, saved), 0);
}

static void set_soft_limit(__rlimit_resource_t which, rlim_t value, struct rlimit *ret_before)
{
    assert_int_equal(getrlimit(which, ret_before), 0);
    struct rlimit changed = {value, ret_before->rlim_max};
    assert_int_equal(setrlimit(which, &changed), 0);
}

static void refused_lock_is_told_with_its_cure(void **state)
{
    (void)state;
    struct rlimit before;
    aegis_device *device = NULL;
    aegis_error err;
    set_soft_limit(RLIMIT_MEMLOCK, 4096, &before);
    drop_privileges();
    aegis_status status = make(1 << 20, true, &device, &err);
    restore_privileges();
    setrlimit(RLIMIT_MEMLOCK, &before);
    assert_int_equal(status, AEGIS_ERROR_PERMISSION);
    assert_null(device);
    assert_non_null(strstr(err.message, "ulimit -l"));
    assert_non_null(strstr(err.message, "lock_memory = false"));
    assert_int_not_equal(err.native_code, 0);
}

static void permitted_lock_works(void **state)
{
    (void)state;
    aegis_device *device = NULL;
    assert_int_equal(make(65536, true, &device, NULL), AEGIS_OK); /* below any usual limit */
    aegis_device_destroy(device);
}

static void refused_fifo_is_told_with_its_cure(void **state)
{
    (void)state;
    struct rlimit before;
    aegis_device *device;
    aegis_stream *stream = NULL;
    aegis_error err;
    aegis_stream_config config = aegis_stream_config_default("fifo");
    config.fifo_priority = 10;
    assert_int_equal(make(4096, false, &device, NULL), AEGIS_OK);
    set_soft_limit(RLIMIT_RTPRIO, 0, &before);
    drop_privileges();
    aegis_status status = aegis_stream_create(device, &config, &stream, &err);
    restore_privileges();
    setrlimit(RLIMIT_RTPRIO, &before);
    assert_int_equal(status, AEGIS_ERROR_PERMISSION);
    assert_null(stream);
    assert_non_null(strstr(err.message, "ulimit -r 10"));
    assert_non_null(strstr(err.message, "sched_rt_runtime_us"));
    aegis_device_destroy(device);
}

typedef struct placement {
    int cpu, policy, priority;
} placement;

static void look_around(void *argument)
{
    placement *self = argument;
    struct sched_param parameters = {0};
    self->cpu = sched_getcpu();
    self->policy = sched_getscheduler(0);
    sched_getparam(0, &parameters);
    self->priority = parameters.sched_priority;
}

/* Root and holders of CAP_SYS_NICE get SCHED_FIFO; others the refusal tested above. */
static void stream_is_placed_as_asked(void **state)
{
    (void)state;
    aegis_device *device;
    aegis_stream *stream = NULL;
    aegis_error err;
    placement seen = {-1, -1, -1};
    cpu_set_t allowed;
    assert_int_equal(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    int last = CPU_SETSIZE - 1;
    while (last > 0 && !CPU_ISSET((size_t)last, &allowed)) {
        last--;
    }
    aegis_stream_config config = aegis_stream_config_default("placed");
    config.cpu = last;
    config.fifo_priority = 1;
    assert_int_equal(make(4096, false, &device, NULL), AEGIS_OK);
    aegis_status status = aegis_stream_create(device, &config, &stream, &err);
    if (status == AEGIS_ERROR_PERMISSION) {
        config.fifo_priority = 0;
        status = aegis_stream_create(device, &config, &stream, &err);
    }
    assert_int_equal(status, AEGIS_OK);
    assert_int_equal(aegis_stream_call(stream, look_around, &seen, NULL), AEGIS_OK);
    assert_int_equal(aegis_stream_synchronize(stream, NULL), AEGIS_OK);
    assert_int_equal(seen.cpu, last);
    assert_int_equal(seen.policy, config.fifo_priority > 0 ? SCHED_FIFO : SCHED_OTHER);
    assert_int_equal(seen.priority, config.fifo_priority);
    aegis_stream_destroy(stream);
    aegis_device_destroy(device);
}

static void absent_cpu_is_refused(void **state)
{
    (void)state;
    aegis_device *device;
    aegis_stream *stream = NULL;
    aegis_error err;
    aegis_stream_config config = aegis_stream_config_default("nowhere");
    config.cpu = 30000;
    assert_int_equal(make(4096, false, &device, NULL), AEGIS_OK);
    assert_int_equal(aegis_stream_create(device, &config, &stream, &err), AEGIS_ERROR_PERMISSION);
    assert_non_null(strstr(err.message, "CPU 30000"));
    assert_null(stream);
    aegis_device_destroy(device);
}

static void width_beyond_the_cores_is_refused(void **state)
{
    (void)state;
    aegis_device *device;
    aegis_stream *stream = NULL;
    aegis_stream_config config = aegis_stream_config_default("wide");
    assert_int_equal(make(4096, false, &device, NULL), AEGIS_OK);
    config.width = aegis_device_get_capabilities(device)->multiprocessor_count;
    assert_int_equal(aegis_stream_create(device, &config, &stream, NULL), AEGIS_OK);
    assert_int_equal(aegis_stream_width(stream), config.width);
    aegis_stream_destroy(stream);
    config.width++;
    assert_int_equal(aegis_stream_create(device, &config, &stream, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    aegis_device_destroy(device);
}

static void arena_is_resident_from_the_start(void **state)
{
    (void)state;
    enum {
        PAGES = 256
    };
    unsigned char resident[PAGES];
    aegis_device *device;
    void *base;
    long page = sysconf(_SC_PAGESIZE);
    assert_int_equal(make((uint64_t)(PAGES * page), false, &device, NULL), AEGIS_OK);
    aegis_device_get_arena(device, &base, NULL);
    assert_true(aegis_device_host_addressable(device));
    assert_int_equal(mincore(base, (size_t)(PAGES * page), resident), 0);
    for (int i = 0; i < PAGES; i++) {
        assert_int_equal(resident[i] & 1, 1);
    }
    aegis_device_destroy(device);
}

static void arena_beyond_available_memory_names_the_figures(void **state)
{
    (void)state;
    aegis_device_capabilities is;
    aegis_device *device = NULL;
    aegis_error err;
    assert_int_equal(aegis_device_query(AEGIS_DEVICE_HOST, 0, false, &is, NULL), AEGIS_OK);
    assert_int_equal(make(2 * is.total_memory_bytes, false, &device, &err), AEGIS_ERROR_NO_MEMORY);
    assert_non_null(strstr(err.message, "available"));
    assert_non_null(strstr(err.message, "reduce arena_bytes"));
    assert_null(device);
}

static void kinds_and_indices_are_resolved(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_device_config config = {.kind = AEGIS_DEVICE_AUTO, .arena_bytes = 4096};
    aegis_device_capabilities all[4], is;
    aegis_device *device = NULL;
    aegis_error err;
    size_t count = 0;
    assert_int_equal(aegis_device_create(&config, &allocator, &device, NULL), AEGIS_OK);
    assert_int_equal(aegis_device_query(AEGIS_DEVICE_AUTO, 0, false, &is, NULL), AEGIS_OK);
    assert_int_equal(aegis_device_get_capabilities(device)->kind, is.kind);
    aegis_device_destroy(device);
    device = NULL;
    assert_int_equal(aegis_device_query_all(all, 4, &count, NULL), AEGIS_OK);
    assert_true(count >= 1);
    assert_int_equal(all[0].kind, AEGIS_DEVICE_HOST);
    assert_int_equal(is.kind, count > 1 ? AEGIS_DEVICE_CUDA : AEGIS_DEVICE_HOST);
    assert_int_equal(aegis_device_query_all(NULL, 0, &count, NULL), AEGIS_OK);
    assert_int_equal(aegis_device_query(AEGIS_DEVICE_HOST, 1, false, &is, &err),
                     AEGIS_ERROR_DEVICE_NOT_AVAILABLE);
    config = (aegis_device_config){.kind = (aegis_device_kind)77, .arena_bytes = 4096};
    assert_int_equal(aegis_device_create(&config, &allocator, &device, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    config = (aegis_device_config){.kind = AEGIS_DEVICE_HOST};
    assert_int_equal(aegis_device_create(&config, &allocator, &device, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_device_create(NULL, &allocator, &device, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_null(device);
    assert_string_equal(aegis_device_kind_name(AEGIS_DEVICE_CUDA), "cuda");
    assert_string_equal(aegis_device_kind_name((aegis_device_kind)77), "unknown");
}

static void absent_cuda_says_why(void **state)
{
    (void)state;
    aegis_device_capabilities is;
    aegis_error err;
    aegis_status status = aegis_device_query(AEGIS_DEVICE_CUDA, 1000, false, &is, &err);
    assert_int_equal(status, AEGIS_ERROR_DEVICE_NOT_AVAILABLE);
#ifdef AEGISRT_HAVE_CUDA
    assert_non_null(strstr(err.message, "CUDA"));
#else
    assert_non_null(strstr(err.message, "AEGISRT_BUILD_CUDA"));
#endif
}

/* ---- wrapping ---- */

typedef struct counting {
    int destroyed;
} counting;

static void count_destroy(void *self)
{
    ((counting *)self)->destroyed++;
}

static char small_arena[4096];

static void give_small_arena(void *self, void **ret_base, uint64_t *ret_size_bytes)
{
    (void)self;
    *ret_base = small_arena;
    *ret_size_bytes = sizeof small_arena;
}

static void incomplete_ops_are_refused_and_self_is_taken(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_device *host, *device = NULL;
    counting self = {0};
    assert_int_equal(make(4096, false, &host, NULL), AEGIS_OK);
    aegis_device_ops ops = *aegis_device_get_ops(host);
    ops.destroy = count_destroy;
    ops.version++;
    assert_int_equal(aegis_device_wrap(&ops, &self, &allocator, &device, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(self.destroyed, 1);
    ops.version--;
    ops.event_record = NULL;
    assert_int_equal(aegis_device_wrap(&ops, &self, &allocator, &device, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(self.destroyed, 2);
    assert_int_equal(aegis_device_wrap(NULL, &self, &allocator, &device, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_null(device);
    aegis_device_destroy(host);
    aegis_device_destroy(NULL);
}

static void never_opened(void *stream)
{
    (void)stream;
    fail_msg("an entry that the table's version does not have was called");
}

/* Gates come whole, and only from version 3 on. */
static void gates_are_all_there_or_none(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_stream_config config = aegis_stream_config_default("gates");
    aegis_device *host, *device = NULL;
    aegis_stream *stream = NULL;
    counting self = {0};
    assert_int_equal(make(4096, false, &host, NULL), AEGIS_OK);
    aegis_device_ops ops = *aegis_device_get_ops(host);
    ops.destroy = count_destroy;
    ops.arena = give_small_arena;
    ops.pinned = NULL;
    ops.ahead_discard = never_opened;
    assert_int_equal(aegis_device_wrap(&ops, &self, &allocator, &device, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    ops.version = 2;
    assert_int_equal(aegis_device_wrap(&ops, &self, &allocator, &device, NULL), AEGIS_OK);
    aegis_device_destroy(device);
    /* The host has none: to take nothing back is fine. */
    config.ahead = true;
    assert_int_equal(aegis_stream_create(host, &config, &stream, NULL), AEGIS_OK);
    assert_int_equal(aegis_stream_ahead_begin(stream, NULL), AEGIS_ERROR_UNSUPPORTED);
    aegis_stream_ahead_discard(stream);
    aegis_stream_destroy(stream);
    aegis_device_destroy(host);
}

static aegis_status
create_itself(void *self, const aegis_stream_config *config, void **ret_stream, aegis_error *err)
{
    (void)config;
    (void)err;
    *ret_stream = self;
    return AEGIS_OK;
}

static aegis_device_capabilities those_of_the_host;

static const aegis_device_capabilities *give_capabilities(void *self)
{
    (void)self;
    return &those_of_the_host;
}

static void destroy_nothing(void *stream)
{
    (void)stream;
}

static void take_meanwhile(void *stream, aegis_stream_function function, void *argument)
{
    assert_non_null(stream);
    function(argument);
}

/* Both or none, and only from version 4 on. */
static void what_is_done_while_a_stream_waits(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_stream_config config = aegis_stream_config_default("meanwhile");
    aegis_device *host, *device = NULL;
    aegis_stream *stream = NULL;
    counting self = {0}, other = {0};
    assert_int_equal(make(4096, false, &host, NULL), AEGIS_OK);
    /* The host's thread waits for nothing. */
    assert_int_equal(aegis_stream_create(host, &config, &stream, NULL), AEGIS_OK);
    aegis_stream_set_meanwhile(stream, never_opened, NULL);
    aegis_stream_ask_meanwhile(stream);
    assert_int_equal(aegis_stream_synchronize(stream, NULL), AEGIS_OK);
    aegis_stream_destroy(stream);
    aegis_device_ops ops = *aegis_device_get_ops(host);
    ops.destroy = count_destroy;
    ops.arena = give_small_arena;
    ops.pinned = NULL;
    those_of_the_host = *aegis_device_get_capabilities(host);
    ops.capabilities = give_capabilities;
    ops.stream_create = create_itself;
    ops.stream_destroy = destroy_nothing;
    ops.ask_meanwhile = never_opened;
    assert_int_equal(aegis_device_wrap(&ops, &self, &allocator, &device, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    ops.version = 3;
    assert_int_equal(aegis_device_wrap(&ops, &self, &allocator, &device, NULL), AEGIS_OK);
    assert_int_equal(aegis_stream_create(device, &config, &stream, NULL), AEGIS_OK);
    aegis_stream_ask_meanwhile(stream);
    aegis_stream_destroy(stream);
    aegis_device_destroy(device);
    ops.version = 4;
    ops.set_meanwhile = take_meanwhile;
    ops.ask_meanwhile = count_destroy;
    assert_int_equal(aegis_device_wrap(&ops, &self, &allocator, &device, NULL), AEGIS_OK);
    assert_int_equal(aegis_stream_create(device, &config, &stream, NULL), AEGIS_OK);
    aegis_stream_set_meanwhile(stream, count_destroy, &other);
    assert_int_equal(other.destroyed, 1);
    self.destroyed = 0;
    aegis_stream_ask_meanwhile(stream);
    assert_int_equal(self.destroyed, 1);
    aegis_stream_destroy(stream);
    aegis_device_destroy(device);
    aegis_device_destroy(host);
}

static void must_not_be_called(void *self, void **ret_base, uint64_t *ret_size_bytes)
{
    (void)self;
    (void)ret_base;
    (void)ret_size_bytes;
    fail_msg("an entry that the table's version does not have was called");
}

/* Behind the last entry of version 1 may lie anything. */
static void tables_of_version_one_are_taken(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_device *host, *device = NULL;
    aegis_buffer buffer;
    counting self = {0};
    uint64_t size = 1;
    assert_int_equal(make(4096, false, &host, NULL), AEGIS_OK);
    aegis_device_ops ops = *aegis_device_get_ops(host);
    ops.version = 1;
    ops.destroy = count_destroy;
    ops.arena = give_small_arena;
    ops.pinned = must_not_be_called;
    ops.stream_is_own_thread = NULL; /* refused in a table of version 2 */
    assert_int_equal(aegis_device_wrap(&ops, &self, &allocator, &device, NULL), AEGIS_OK);
    aegis_device_get_pinned(device, NULL, &size);
    assert_int_equal(size, 0);
    assert_int_equal(aegis_device_pinned_alloc(device, 64, 0, &buffer, NULL),
                     AEGIS_ERROR_NO_MEMORY);
    aegis_device_destroy(device);
    assert_int_equal(self.destroyed, 1);
    ops.version = 2;
    ops.pinned = NULL;
    assert_int_equal(aegis_device_wrap(&ops, &self, &allocator, &device, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    aegis_device_destroy(host);
}

static void pinned_memory_counts_with_the_arena(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_device_config config = {
        .kind = AEGIS_DEVICE_HOST, .arena_bytes = 4096, .pinned_bytes = UINT64_C(1) << 50};
    aegis_device *device = NULL;
    aegis_error err;
    assert_int_equal(aegis_device_create(&config, &allocator, &device, &err),
                     AEGIS_ERROR_NO_MEMORY);
    assert_null(device);
    assert_non_null(strstr(err.message, "pinned"));
    config.pinned_bytes = 4096;
    assert_int_equal(aegis_device_create(&config, &allocator, &device, NULL), AEGIS_OK);
    aegis_device_destroy(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_lock_is_told_with_its_cure),
        cmocka_unit_test(permitted_lock_works),
        cmocka_unit_test(refused_fifo_is_told_with_its_cure),
        cmocka_unit_test(stream_is_placed_as_asked),
        cmocka_unit_test(absent_cpu_is_refused),
        cmocka_unit_test(width_beyond_the_cores_is_refused),
        cmocka_unit_test(arena_is_resident_from_the_start),
        cmocka_unit_test(arena_beyond_available_memory_names_the_figures),
        cmocka_unit_test(kinds_and_indices_are_resolved),
        cmocka_unit_test(absent_cuda_says_why),
        cmocka_unit_test(incomplete_ops_are_refused_and_self_is_taken),
        cmocka_unit_test(gates_are_all_there_or_none),
        cmocka_unit_test(what_is_done_while_a_stream_waits),
        cmocka_unit_test(tables_of_version_one_are_taken),
        cmocka_unit_test(pinned_memory_counts_with_the_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
