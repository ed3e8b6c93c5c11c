/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cuda/cuda_gate.h"

#include "device/cuda/cuda_partition.h"

#include <stdlib.h>
#include <sys/mman.h>

/* The words of one stream, each in a line of its own: 0, opened: what of the gate may begin; the
 * others are written by the device. */
#define LINE_WORDS 32u
#define GATE_ENDED LINE_WORDS
#define MAIN_ENDED (2 * LINE_WORDS)
#define BYTES 4096u
/* Of a device to its streams, unless CUDA_DEVICE_MAX_CONNECTIONS says otherwise. */
#define CONNECTIONS 8

static CUdeviceptr address_of(const aegis_cuda_gate *gate, unsigned word)
{
    return gate->address + word * sizeof *gate->words;
}

static cudaError_t
write_word(const aegis_cuda_gate *gate, cudaStream_t stream, unsigned word, uint32_t value)
{
    return (cudaError_t)gate->write(stream, address_of(gate, word), value,
                                    CU_STREAM_WRITE_VALUE_DEFAULT);
}

static bool works(aegis_cuda_gate *gate, cudaStream_t stream)
{
    return write_word(gate, stream, MAIN_ENDED, 1) == cudaSuccess &&
           cudaStreamSynchronize(stream) == cudaSuccess &&
           atomic_load(&gate->words[MAIN_ENDED]) == 1;
}

/* Zeroes. Memory of the process that CUDA only maps: a thread that was left behind with work that
 * never ends still reads it when CUDA has ended. */
static bool map_words(aegis_cuda_gate *gate)
{
    void *device = NULL;
    void *words = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (words == MAP_FAILED) {
        return false;
    }
    if (cudaHostRegister(words, BYTES, cudaHostRegisterMapped) == cudaSuccess) {
        if (cudaHostGetDevicePointer(&device, words, 0) == cudaSuccess) {
            gate->words = words;
            gate->address = (CUdeviceptr)(uintptr_t)device;
            return true;
        }
        (void)cudaHostUnregister(words);
    }
    (void)cudaGetLastError();
    (void)munmap(words, BYTES);
    return false;
}

static void unmap_words(aegis_cuda_gate *gate)
{
    if (gate->words != NULL) {
        (void)cudaHostUnregister((void *)gate->words);
        (void)munmap((void *)gate->words, BYTES);
        gate->words = NULL;
    }
}

void aegis_cuda_gate_init(aegis_cuda_gate *gate, cudaStream_t main_stream)
{
    *gate = (aegis_cuda_gate){0};
    /* POSIX lets a pointer to an object hold one to a function. */
    *(void **)&gate->wait = aegis_cuda_driver_function("cuStreamWaitValue32", 11070);
    *(void **)&gate->write = aegis_cuda_driver_function("cuStreamWriteValue32", 11070);
    if (gate->wait == NULL || gate->write == NULL || !map_words(gate)) {
        return;
    }
    if (!works(gate, main_stream)) {
        (void)cudaGetLastError();
        unmap_words(gate);
        return;
    }
    gate->told = 1;
}

bool aegis_cuda_gate_reserve(aegis_cuda_gate *gate, _Atomic int *gates)
{
    const char *given = getenv("CUDA_DEVICE_MAX_CONNECTIONS");
    long connections = given != NULL ? strtol(given, NULL, 10) : CONNECTIONS;
    if (gate->words == NULL) {
        return false;
    }
    if (atomic_fetch_add(gates, 1) >= connections / 2 - 1) {
        atomic_fetch_sub(gates, 1);
        return false;
    }
    gate->reserved = gates;
    return true;
}

cudaError_t aegis_cuda_gate_take_stream(aegis_cuda_gate *gate, cudaStream_t beside)
{
    gate->handle = beside;
    unsigned flags = cudaEventBlockingSync | cudaEventDisableTiming;
    cudaError_t code = cudaEventCreateWithFlags(&gate->ends[0], flags);
    return code == cudaSuccess ? cudaEventCreateWithFlags(&gate->ends[1], flags) : code;
}

void aegis_cuda_gate_finish(aegis_cuda_gate *gate)
{
    if (gate->handle != NULL) {
        aegis_cuda_gate_open(gate);
        (void)cudaStreamSynchronize(gate->handle);
        (void)cudaStreamDestroy(gate->handle);
    }
    for (int i = 0; i < 2; i++) {
        if (gate->ends[i] != NULL) {
            (void)cudaEventDestroy(gate->ends[i]);
        }
    }
    unmap_words(gate);
    if (gate->reserved != NULL) {
        atomic_fetch_sub(gate->reserved, 1);
    }
}

cudaError_t
aegis_cuda_gate_tell(aegis_cuda_gate *gate, cudaStream_t main_stream, aegis_cuda_end *ret_end)
{
    cudaError_t code = write_word(gate, main_stream, MAIN_ENDED, gate->told + 1);
    if (code == cudaSuccess) {
        gate->told++;
        *ret_end = (aegis_cuda_end){
            .handle = main_stream, .word = &gate->words[MAIN_ENDED], .value = gate->told};
    }
    return code;
}

cudaError_t aegis_cuda_gate_begin(aegis_cuda_gate *gate)
{
    return (cudaError_t)gate->wait(gate->handle, address_of(gate, 0), gate->put + 1,
                                   CU_STREAM_WAIT_VALUE_GEQ);
}

cudaError_t aegis_cuda_gate_end(aegis_cuda_gate *gate, bool event)
{
    uint32_t number = gate->put + 1;
    cudaError_t code = write_word(gate, gate->handle, GATE_ENDED, number);
    if (code == cudaSuccess && event) {
        code = cudaEventRecord(gate->ends[number & 1], gate->handle);
    }
    gate->put = number; /* also when that failed: something waits */
    return code;
}

aegis_cuda_end aegis_cuda_gate_last(const aegis_cuda_gate *gate, bool event)
{
    return (aegis_cuda_end){.handle = gate->handle,
                            .event = event ? gate->ends[gate->put & 1] : NULL,
                            .word = &gate->words[GATE_ENDED],
                            .value = gate->put};
}
