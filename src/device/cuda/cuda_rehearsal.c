/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cuda/cuda_rehearsal.h"

#define STREAMS 6u
#define GRAPHS 2u /* in each: one waits behind the other */
#define COPIED_BYTES 64u
/* Some 2 us each: so long the streams wait, and all that is launched overlaps. */
#define STEPS 1000

typedef struct rehearsal {
    const aegis_cuda_gate *gate;
    cudaStream_t streams[STREAMS];
    cudaGraphExec_t graphs[STREAMS][GRAPHS];
    cudaStream_t later; /* lets them go: not the host, which waits in launches under some tools */
    cudaGraphExec_t steps;
    void *memory; /* on the device */
} rehearsal;

/* In, a kernel, out. */
static cudaError_t enqueue_work(const rehearsal *self, cudaStream_t stream)
{
    char *host = (char *)&self->gate->words[AEGIS_CUDA_GATE_SPARE_WORD] + COPIED_BYTES;
    cudaError_t code =
        cudaMemcpyAsync(self->memory, host, COPIED_BYTES, cudaMemcpyHostToDevice, stream);
    if (code == cudaSuccess) {
        code = cudaMemsetAsync(self->memory, 0, COPIED_BYTES, stream);
    }
    return code == cudaSuccess
               ? cudaMemcpyAsync(host, self->memory, COPIED_BYTES, cudaMemcpyDeviceToHost, stream)
               : code;
}

static cudaError_t enqueue_steps(const rehearsal *self, cudaStream_t stream)
{
    cudaError_t code = cudaSuccess;
    for (int i = 0; i < STEPS && code == cudaSuccess; i++) {
        code = cudaMemsetAsync(self->memory, 0, COPIED_BYTES, stream);
    }
    return code;
}

static cudaError_t make_graph(const rehearsal *self,
                              cudaStream_t stream,
                              cudaError_t (*enqueue)(const rehearsal *, cudaStream_t),
                              cudaGraphExec_t *ret_graph)
{
    cudaGraph_t captured = NULL;
    cudaError_t code = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    if (code != cudaSuccess) {
        return code;
    }
    const cudaError_t enqueued = enqueue(self, stream);
    code = cudaStreamEndCapture(stream, &captured);
    code = enqueued != cudaSuccess ? enqueued : code;
    if (code == cudaSuccess) {
        code = cudaGraphInstantiate(ret_graph, captured, 0);
    }
    if (captured != NULL) {
        (void)cudaGraphDestroy(captured);
    }
    return code;
}

static cudaError_t make(rehearsal *self)
{
    cudaError_t code = cudaMalloc(&self->memory, COPIED_BYTES);
    if (code == cudaSuccess) {
        code = cudaStreamCreateWithFlags(&self->later, cudaStreamNonBlocking);
    }
    if (code == cudaSuccess) {
        code = make_graph(self, self->later, enqueue_steps, &self->steps);
    }
    for (unsigned i = 0; i < STREAMS && code == cudaSuccess; i++) {
        code = cudaStreamCreateWithFlags(&self->streams[i], cudaStreamNonBlocking);
        for (unsigned k = 0; k < GRAPHS && code == cudaSuccess; k++) {
            code = make_graph(self, self->streams[i], enqueue_work, &self->graphs[i][k]);
        }
    }
    return code;
}

static CUdeviceptr word_of(const rehearsal *self)
{
    return self->gate->address + AEGIS_CUDA_GATE_SPARE_WORD * sizeof *self->gate->words;
}

static cudaError_t hold(const rehearsal *self, unsigned stream, uint32_t round)
{
    cudaError_t code = (cudaError_t)self->gate->wait(self->streams[stream], word_of(self), round,
                                                     CU_STREAM_WAIT_VALUE_GEQ);
    for (unsigned k = 0; k < GRAPHS && code == cudaSuccess; k++) {
        code = cudaGraphLaunch(self->graphs[stream][k], self->streams[stream]);
    }
    return code;
}

/* In the first `count` streams. */
static cudaError_t play(const rehearsal *self, unsigned count)
{
    cudaError_t code = cudaGraphLaunch(self->steps, self->later);
    if (code == cudaSuccess) {
        code = (cudaError_t)self->gate->write(self->later, word_of(self), count,
                                              CU_STREAM_WRITE_VALUE_DEFAULT);
    }
    for (unsigned i = 0; i < count && code == cudaSuccess; i++) {
        code = hold(self, i, count);
    }
    for (unsigned i = 0; i < count && code == cudaSuccess; i++) {
        code = cudaStreamSynchronize(self->streams[i]);
    }
    return code == cudaSuccess ? cudaStreamSynchronize(self->later) : code;
}

static void release(const rehearsal *self)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        for (unsigned k = 0; k < GRAPHS; k++) {
            if (self->graphs[i][k] != NULL) {
                (void)cudaGraphExecDestroy(self->graphs[i][k]);
            }
        }
        if (self->streams[i] != NULL) {
            (void)cudaStreamDestroy(self->streams[i]);
        }
    }
    if (self->steps != NULL) {
        (void)cudaGraphExecDestroy(self->steps);
    }
    if (self->later != NULL) {
        (void)cudaStreamDestroy(self->later);
    }
    (void)cudaFree(self->memory);
}

cudaError_t aegis_cuda_rehearse(const aegis_cuda_gate *gate)
{
    rehearsal self = {.gate = gate};
    cudaError_t code = make(&self);
    for (unsigned count = 2; count <= STREAMS && code == cudaSuccess; count++) {
        code = play(&self, count);
    }
    release(&self);
    return code;
}
