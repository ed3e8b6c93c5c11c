/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cuda/cuda_measure.h"

#include <cuda_runtime_api.h>
#include <stdlib.h>

#define RUNS 5
#define COPIES 8
#define LARGEST_COPY_BYTES (UINT64_C(256) << 20)
/* Four blocks of 512 threads fill a multiprocessor; the loop takes a few milliseconds. */
#define FMA_BLOCK 512u
#define FMA_BLOCKS_A_MULTIPROCESSOR 4u
#define FMA_ROUNDS 4096u
#define FMA_A_ROUND 64u

static int compare(const void *left, const void *right)
{
    float a = *(const float *)left, b = *(const float *)right;
    return (a > b) - (a < b);
}

/* Median milliseconds of COPIES copies from one half to the other; 0 when a call fails. */
static float time_copies(char *memory, size_t half, cudaStream_t stream, const cudaEvent_t *events)
{
    float times[RUNS];
    for (int run = 0; run < RUNS; run++) {
        bool good = cudaEventRecord(events[0], stream) == cudaSuccess;
        for (int i = 0; good && i < COPIES; i++) {
            good = cudaMemcpyAsync(memory, memory + half, half, cudaMemcpyDeviceToDevice, stream) ==
                   cudaSuccess;
        }
        if (!good || cudaEventRecord(events[1], stream) != cudaSuccess ||
            cudaEventSynchronize(events[1]) != cudaSuccess ||
            cudaEventElapsedTime(&times[run], events[0], events[1]) != cudaSuccess) {
            return 0;
        }
    }
    qsort(times, RUNS, sizeof *times, compare);
    return times[RUNS / 2];
}

uint64_t aegis_cuda_measure_bandwidth(const aegis_device_capabilities *capabilities)
{
    uint64_t half = capabilities->free_memory_bytes / 8;
    half = half > LARGEST_COPY_BYTES ? LARGEST_COPY_BYTES : half;
    void *memory = NULL;
    cudaStream_t stream = NULL;
    cudaEvent_t events[2] = {NULL, NULL};
    float milliseconds = 0;
    if (half >= 2 * capabilities->l2_cache_bytes && half > 0 &&
        cudaMalloc(&memory, 2 * half) == cudaSuccess &&
        cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess &&
        cudaEventCreate(&events[0]) == cudaSuccess && cudaEventCreate(&events[1]) == cudaSuccess) {
        milliseconds = time_copies(memory, half, stream, events);
    }
    for (int i = 0; i < 2; i++) {
        if (events[i] != NULL) {
            (void)cudaEventDestroy(events[i]);
        }
    }
    if (stream != NULL) {
        (void)cudaStreamDestroy(stream);
    }
    (void)cudaFree(memory);
    (void)cudaGetLastError();
    return milliseconds > 0 ? (uint64_t)(2.0 * COPIES * (double)half * 1e3 / (double)milliseconds)
                            : 0;
}

#if CUDART_VERSION >= 12080 /* kernels from memory through the runtime */
/* Eight independent chains of multiply-adds, eight links a round. As PTX, which the driver compiles
 * for whatever GPU this is, so that the device layer needs no CUDA compiler. The result is stored
 * only if it is not a number, which keeps the chains and costs no bandwidth. */
#define LINK                       \
    "fma.rn.f32 %f0, %f0, %a, %b;" \
    "fma.rn.f32 %f1, %f1, %a, %b;" \
    "fma.rn.f32 %f2, %f2, %a, %b;" \
    "fma.rn.f32 %f3, %f3, %a, %b;" \
    "fma.rn.f32 %f4, %f4, %a, %b;" \
    "fma.rn.f32 %f5, %f5, %a, %b;" \
    "fma.rn.f32 %f6, %f6, %a, %b;" \
    "fma.rn.f32 %f7, %f7, %a, %b;\n"

static const char fma_kernel[] =
    ".version 7.0\n"
    ".target sm_53\n"
    ".address_size 64\n"
    ".visible .entry aegis_fma(.param .u64 out, .param .u32 rounds)\n"
    "{\n"
    ".reg .f32 %f<8>; .reg .f32 %a; .reg .f32 %b; .reg .u32 %n; .reg .u32 %t; .reg .u64 %o; .reg "
    ".pred %p;\n"
    "ld.param.u64 %o, [out]; ld.param.u32 %n, [rounds];\n"
    "mov.u32 %t, %tid.x; cvt.rn.f32.u32 %f0, %t; mov.f32 %a, 0f3F000000; mov.f32 %b, 0f3F800000;\n"
    "add.f32 %f1, %f0, %b; add.f32 %f2, %f1, %b; add.f32 %f3, %f2, %b; add.f32 %f4, %f3, %b;\n"
    "add.f32 %f5, %f4, %b; add.f32 %f6, %f5, %b; add.f32 %f7, %f6, %b;\n"
    "again:\n" LINK LINK LINK LINK LINK LINK LINK LINK
    "sub.u32 %n, %n, 1; setp.ne.u32 %p, %n, 0; @%p bra again;\n"
    "add.f32 %f0, %f0, %f1; add.f32 %f2, %f2, %f3; add.f32 %f4, %f4, %f5; add.f32 %f6, %f6, %f7;\n"
    "add.f32 %f0, %f0, %f2; add.f32 %f4, %f4, %f6; add.f32 %f0, %f0, %f4;\n"
    "setp.nan.f32 %p, %f0, %f0; @%p st.global.f32 [%o], %f0;\n"
    "ret;\n"
    "}\n";

typedef struct fma_run {
    cudaLibrary_t library;
    cudaKernel_t kernel;
    cudaStream_t stream;
    cudaEvent_t events[2];
    void *out;
    unsigned blocks;
} fma_run;

static bool prepare_fma(fma_run *run)
{
    return cudaLibraryLoadData(&run->library, fma_kernel, NULL, NULL, 0, NULL, NULL, 0) ==
               cudaSuccess &&
           cudaLibraryGetKernel(&run->kernel, run->library, "aegis_fma") == cudaSuccess &&
           cudaStreamCreateWithFlags(&run->stream, cudaStreamNonBlocking) == cudaSuccess &&
           cudaEventCreate(&run->events[0]) == cudaSuccess &&
           cudaEventCreate(&run->events[1]) == cudaSuccess &&
           cudaMalloc(&run->out, sizeof(float)) == cudaSuccess;
}

static void finish_fma(fma_run *run)
{
    for (int i = 0; i < 2; i++) {
        if (run->events[i] != NULL) {
            (void)cudaEventDestroy(run->events[i]);
        }
    }
    if (run->stream != NULL) {
        (void)cudaStreamDestroy(run->stream);
    }
    if (run->library != NULL) {
        (void)cudaLibraryUnload(run->library);
    }
    (void)cudaFree(run->out);
    (void)cudaGetLastError();
}

/* Median milliseconds of a launch after a first one that nobody times; 0 when a call fails. */
static float time_fma(fma_run *run)
{
    float times[RUNS + 1];
    unsigned rounds = FMA_ROUNDS;
    void *arguments[] = {&run->out, &rounds};
    struct dim3 grid = {run->blocks, 1, 1}, block = {FMA_BLOCK, 1, 1};
    for (int i = 0; i <= RUNS; i++) {
        if (cudaEventRecord(run->events[0], run->stream) != cudaSuccess ||
            cudaLaunchKernel((const void *)run->kernel, grid, block, arguments, 0, run->stream) !=
                cudaSuccess ||
            cudaEventRecord(run->events[1], run->stream) != cudaSuccess ||
            cudaEventSynchronize(run->events[1]) != cudaSuccess ||
            cudaEventElapsedTime(&times[i], run->events[0], run->events[1]) != cudaSuccess) {
            return 0;
        }
    }
    qsort(times + 1, RUNS, sizeof *times, compare);
    return times[1 + RUNS / 2];
}

uint64_t aegis_cuda_measure_flops(const aegis_device_capabilities *capabilities)
{
    fma_run run = {.blocks =
                       (unsigned)capabilities->multiprocessor_count * FMA_BLOCKS_A_MULTIPROCESSOR};
    float milliseconds = prepare_fma(&run) ? time_fma(&run) : 0;
    finish_fma(&run);
    double operations = 2.0 * FMA_A_ROUND * FMA_ROUNDS * FMA_BLOCK * run.blocks;
    return milliseconds > 0 ? (uint64_t)(operations * 1e3 / (double)milliseconds) : 0;
}
#else
uint64_t aegis_cuda_measure_flops(const aegis_device_capabilities *capabilities)
{
    (void)capabilities;
    return 0;
}
#endif
