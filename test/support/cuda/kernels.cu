/* SPDX-License-Identifier: Apache-2.0 */
#include "support/cuda/kernels.h"

#include <algorithm>
#include <chrono>
#include <cudaTypedefs.h>
#include <cuda_runtime.h>
#include <vector>

namespace
{

__device__ uint64_t timer_ns()
{
    uint64_t now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)::"memory");
    return now;
}

__global__ void spin(uint64_t ns, kernel_stamp *stamp)
{
    uint64_t start = timer_ns(), now = start;
    while (now - start < ns) {
        now = timer_ns();
    }
    if (stamp != nullptr) {
        stamp->start_ns = start;
        stamp->end_ns = now;
    }
}

__global__ void spread(uint64_t ns, uint64_t *bits)
{
    uint32_t here;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(here));
    for (uint64_t start = timer_ns(); timer_ns() - start < ns;) {
    }
    atomicOr(reinterpret_cast<unsigned long long *>(&bits[here / 64 % 4]), 1ull << here % 64);
}

__global__ void increment(uint32_t *values, size_t count)
{
    size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x;
    if (i < count) {
        values[i] += 1;
    }
}

__global__ void trap()
{
    __trap();
}

/* The address is a value that the compiler cannot see through. */
__global__ void write_to(uint64_t address)
{
    *reinterpret_cast<volatile int *>(address) = 1;
}

__global__ void hang(const volatile int *flag, uint64_t limit_ns)
{
    for (uint64_t start = timer_ns(); *flag == 0 && timer_ns() - start < limit_ns;) {
    }
}

double now_ns()
{
    using namespace std::chrono;
    return static_cast<double>(
        duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count());
}

cudaError_t poll(cudaEvent_t event)
{
    cudaError_t code;
    do {
        code = cudaEventQuery(event);
    } while (code == cudaErrorNotReady);
    return code;
}

template <class Function> Function driver_call(const char *name, unsigned version)
{
    void *function = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    if (cudaGetDriverEntryPointByVersion(name, &function, version, cudaEnableDefault, &found) !=
        cudaSuccess) {
        return nullptr;
    }
    return reinterpret_cast<Function>(function);
}

double median(std::vector<double> &samples)
{
    std::sort(samples.begin(), samples.end());
    return samples[samples.size() / 2];
}

} // namespace

int kernel_load(void)
{
    cudaFuncAttributes attributes;
    const void *all[] = {
        reinterpret_cast<const void *>(spin),      reinterpret_cast<const void *>(spread),
        reinterpret_cast<const void *>(increment), reinterpret_cast<const void *>(trap),
        reinterpret_cast<const void *>(write_to),  reinterpret_cast<const void *>(hang)};
    for (const void *one : all) {
        cudaError_t code = cudaFuncGetAttributes(&attributes, one);
        if (code != cudaSuccess) {
            return code;
        }
    }
    return cudaSuccess;
}

int kernel_spin(struct CUstream_st *stream, uint64_t ns, kernel_stamp *stamp)
{
    spin<<<1, 1, 0, stream>>>(ns, stamp);
    return cudaGetLastError();
}

int kernel_spread(struct CUstream_st *stream, uint64_t ns, int blocks, uint64_t *bits)
{
    spread<<<blocks, 1024, 0, stream>>>(ns, bits);
    return cudaGetLastError();
}

int kernel_increment(struct CUstream_st *stream, uint32_t *values, size_t count)
{
    increment<<<static_cast<unsigned>((count + 255) / 256), 256, 0, stream>>>(values, count);
    return cudaGetLastError();
}

int kernel_trap(struct CUstream_st *stream)
{
    trap<<<1, 1, 0, stream>>>();
    return cudaGetLastError();
}

int kernel_illegal_address(struct CUstream_st *stream)
{
    write_to<<<1, 1, 0, stream>>>(UINT64_C(0x10));
    return cudaGetLastError();
}

int kernel_hang(struct CUstream_st *stream, const volatile int *flag, uint64_t limit_ns)
{
    hang<<<1, 1, 0, stream>>>(flag, limit_ns);
    return cudaGetLastError();
}

int bare_loop(struct CUstream_st *stream, uint64_t ns, kernel_stamp *stamps, size_t count)
{
    cudaError_t code = cudaSuccess;
    for (size_t i = 0; i < count && code == cudaSuccess; i++) {
        spin<<<1, 1, 0, stream>>>(ns, stamps + i);
        code = cudaGetLastError();
    }
    return code == cudaSuccess ? cudaStreamSynchronize(stream) : code;
}

int bare_waiting_loop(struct CUstream_st *stream, uint64_t ns, kernel_stamp *stamps, size_t count)
{
    cudaEvent_t event;
    cudaError_t code = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    if (code != cudaSuccess) {
        return code;
    }
    for (size_t i = 0; i < count && code == cudaSuccess; i++) {
        spin<<<1, 1, 0, stream>>>(ns, stamps + i);
        code = cudaEventRecord(event, stream);
        code = code == cudaSuccess ? poll(event) : code;
    }
    cudaEventDestroy(event);
    return code;
}

int bare_gated_loop(struct CUstream_st *stream,
                    uint64_t ns,
                    kernel_stamp *stamps,
                    size_t count,
                    volatile uint32_t *words)
{
    auto wait = driver_call<PFN_cuStreamWaitValue32_v11070>("cuStreamWaitValue32", 11070);
    auto write = driver_call<PFN_cuStreamWriteValue32_v11070>("cuStreamWriteValue32", 11070);
    volatile uint32_t *ended = words, *gate = words + 16;
    if (wait == nullptr || write == nullptr) {
        return -1;
    }
    for (uint32_t i = 0; i < count; i++) {
        int code =
            wait(stream, reinterpret_cast<CUdeviceptr>(gate), i + 1, CU_STREAM_WAIT_VALUE_GEQ);
        spin<<<1, 1, 0, stream>>>(ns, stamps + i);
        code |= write(stream, reinterpret_cast<CUdeviceptr>(ended), i + 1, 0);
        code |= cudaGetLastError();
        while (code == 0 && *ended != i) {
        }
        *gate = i + 1;
        if (code != 0) {
            *gate = static_cast<uint32_t>(count);
            cudaStreamSynchronize(stream);
            return code;
        }
    }
    return cudaStreamSynchronize(stream);
}

int bare_launch(struct CUstream_st *stream, double *ret_launch_ns, double *ret_round_trip_ns)
{
    std::vector<double> launches, trips;
    cudaEvent_t event;
    cudaError_t code = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    for (int i = 0; i < 2000 && code == cudaSuccess; i++) {
        double start = now_ns();
        spin<<<1, 1, 0, stream>>>(0, nullptr);
        launches.push_back(now_ns() - start);
        code = cudaEventRecord(event, stream);
        code = code == cudaSuccess ? poll(event) : code;
        trips.push_back(now_ns() - start);
    }
    if (code == cudaSuccess) {
        cudaEventDestroy(event);
        *ret_launch_ns = median(launches);
        *ret_round_trip_ns = median(trips);
    }
    return code;
}

int bare_copies(struct CUstream_st *stream,
                void *destination,
                const void *source,
                size_t size,
                size_t count,
                double *ret_ns)
{
    cudaEvent_t events[2] = {nullptr, nullptr};
    float milliseconds = 0;
    cudaError_t code = cudaEventCreate(&events[0]);
    code = code == cudaSuccess ? cudaEventCreate(&events[1]) : code;
    code = code == cudaSuccess ? cudaEventRecord(events[0], stream) : code;
    for (size_t i = 0; i < count && code == cudaSuccess; i++) {
        code = cudaMemcpyAsync(destination, source, size, cudaMemcpyDefault, stream);
    }
    code = code == cudaSuccess ? cudaEventRecord(events[1], stream) : code;
    code = code == cudaSuccess ? cudaEventSynchronize(events[1]) : code;
    code = code == cudaSuccess ? cudaEventElapsedTime(&milliseconds, events[0], events[1]) : code;
    cudaEventDestroy(events[0]);
    cudaEventDestroy(events[1]);
    *ret_ns = static_cast<double>(milliseconds) * 1e6;
    return code;
}
