/* SPDX-License-Identifier: Apache-2.0 */
/* Direct reads of weights: by the threads that edge-rt uses, and by io_uring with as many reads in
 * flight, in turns. Bytes a second, and processor time for each MiB, medians.
 * Usage: bench_llm_reads [FILE]; without one a file of 192 MiB is made in the working directory. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)512 << 10) /* what the engine reads at a time */
#define DEPTH 4
#define ROUNDS 9
#define MOST_BLOCKS 384

typedef struct bed {
    int fd;
    uint32_t blocks;
    _Atomic uint32_t next;
    _Atomic bool failed;
    uint8_t *buffers[DEPTH];
} bed;

typedef struct reader {
    bed *all;
    uint8_t *buffer;
} reader;

static void *read_blocks(void *argument)
{
    const reader *self = argument;
    bed *all = self->all;
    uint32_t block;
    while ((block = atomic_fetch_add(&all->next, 1)) < all->blocks) {
        if (pread(all->fd, self->buffer, BLOCK_BYTES, (off_t)block * (off_t)BLOCK_BYTES) <= 0) {
            atomic_store(&all->failed, true);
        }
    }
    return NULL;
}

static void by_threads(bed *all)
{
    pthread_t threads[DEPTH];
    reader readers[DEPTH];
    int started = 0;
    atomic_store(&all->next, 0);
    for (; started < DEPTH; started++) {
        readers[started] = (reader){all, all->buffers[started]};
        if (pthread_create(&threads[started], NULL, read_blocks, &readers[started]) != 0) {
            atomic_store(&all->failed, true);
            break;
        }
    }
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void submit(const bed *all, struct io_uring *ring, uint32_t block, size_t buffer)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(ring);
    io_uring_prep_read(entry, all->fd, all->buffers[buffer], BLOCK_BYTES,
                       (uint64_t)block * BLOCK_BYTES);
    io_uring_sqe_set_data64(entry, buffer);
}

static void by_ring(bed *all)
{
    struct io_uring ring;
    uint32_t sent = 0, done = 0;
    if (io_uring_queue_init(2 * DEPTH, &ring, 0) != 0) {
        atomic_store(&all->failed, true);
        return;
    }
    for (; sent < DEPTH && sent < all->blocks; sent++) {
        submit(all, &ring, sent, sent);
    }
    while (done < all->blocks && !atomic_load(&all->failed)) {
        struct io_uring_cqe *end;
        io_uring_submit_and_wait(&ring, 1);
        while (io_uring_peek_cqe(&ring, &end) == 0) {
            if (end->res <= 0) {
                atomic_store(&all->failed, true);
            }
            if (sent < all->blocks) { /* its buffer is free again */
                submit(all, &ring, sent++, (size_t)io_uring_cqe_get_data64(end));
            }
            io_uring_cqe_seen(&ring, end);
            done++;
        }
    }
    io_uring_queue_exit(&ring);
}

static double processor_ms(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e3 +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e3;
}

static void measure(bed *all, void (*way)(bed *all), double *ret_rate, double *ret_processor)
{
    const double mib = (double)all->blocks * (double)BLOCK_BYTES / (1 << 20);
    const double processor = processor_ms();
    const uint64_t begin = bench_now_ns();
    way(all);
    *ret_rate = mib * 1e9 / (double)(bench_now_ns() - begin);
    *ret_processor = (processor_ms() - processor) / mib;
}

static int open_file(const char *given)
{
    static const char made[] = "bench-llm-reads.tmp";
    if (given == NULL) {
        static uint8_t block[BLOCK_BYTES];
        FILE *file = fopen(made, "wbe");
        for (uint32_t i = 0; file != NULL && i < MOST_BLOCKS; i++) {
            memset(block, (int)i + 1, sizeof block); /* no holes */
            if (fwrite(block, sizeof block, 1, file) != 1) {
                fclose(file);
                file = NULL;
            }
        }
        if (file == NULL || fclose(file) != 0) {
            return -1;
        }
    }
    const int fd = open(given != NULL ? given : made, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (given == NULL) {
        unlink(made);
    }
    return fd;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"four threads", "io_uring, four in flight"};
    static void (*const ways[])(bed *all) = {by_threads, by_ring};
    double rates[2][ROUNDS], processor[2][ROUNDS];
    char name[64];
    bed all = {.fd = open_file(argc > 1 ? argv[1] : NULL)};
    if (all.fd < 0) {
        fprintf(stderr, "bench_llm_reads: no file for direct reads: %s\n", strerror(errno));
        return 1;
    }
    const off_t size = lseek(all.fd, 0, SEEK_END);
    all.blocks = (uint32_t)((size_t)size / BLOCK_BYTES);
    all.blocks = all.blocks < MOST_BLOCKS ? all.blocks : MOST_BLOCKS;
    for (int i = 0; i < DEPTH; i++) {
        all.buffers[i] = aligned_alloc(4096, BLOCK_BYTES);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int way = 0; way < 2; way++) {
            measure(&all, ways[way], &rates[way][round], &processor[way][round]);
        }
    }
    if (atomic_load(&all.failed)) {
        fprintf(stderr, "bench_llm_reads: reading failed; is io_uring allowed here?\n");
        return 1;
    }
    bench_report report = bench_report_begin("llm_reads");
    for (int way = 0; way < 2; way++) {
        snprintf(name, sizeof name, "%s, rate", names[way]);
        bench_report_samples(&report, name, "MiB/s", rates[way], ROUNDS);
        snprintf(name, sizeof name, "%s, processor time", names[way]);
        bench_report_samples(&report, name, "ms/MiB", processor[way], ROUNDS);
    }
    bench_report_end(&report);
    for (int i = 0; i < DEPTH; i++) {
        free(all.buffers[i]);
    }
    close(all.fd);
    return 0;
}
