/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_SAFETENSORS_H
#define AEGIS_TRANSFORMER_SAFETENSORS_H

/*
 * Where the tensors of a model lie: one SafeTensors file, or shards with an index. Only headers are
 * read; the weights stay on disk.
 *
 * A file is the length of the header (8 bytes, little-endian), the header (a JSON object: tensor ->
 * dtype, shape, data_offsets [begin, end) behind the header) and the data. Everything is checked
 * before a descriptor is given out: the header lies in the file and has at most
 * AEGIS_SAFETENSORS_HEADER_LIMIT bytes; no name occurs twice; end - begin = product(shape) * size
 * of the dtype, without overflow; the tensors cover the data from its first byte to the end of the
 * file without overlap or hole. Every tensor of a sharded model is in the file that the index
 * names, in no other, and the index names every tensor. Memory used is proportional to the header,
 * which is given back before open returns; what stays is about 100 bytes and the name a tensor.
 */

#include "backend/transformer/dtype.h"

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdint.h>

#define AEGIS_SAFETENSORS_HEADER_LIMIT (UINT64_C(100) * 1000 * 1000)
#define AEGIS_SAFETENSORS_MAX_RANK 8
#define AEGIS_SAFETENSORS_MAX_TENSORS (UINT32_C(1) << 20)
#define AEGIS_SAFETENSORS_MAX_FILES 1024
#define AEGIS_SAFETENSORS_DTYPE_BYTES 16

typedef struct aegis_safetensors aegis_safetensors;

/* One tensor in one file. Borrowed from the aegis_safetensors; constant. */
typedef struct aegis_tensor_source {
    const char *name;
    aegis_dtype dtype;
    char dtype_name[AEGIS_SAFETENSORS_DTYPE_BYTES]; /* as the file says: "F16", "BOOL" */
    uint32_t rank;
    uint64_t shape[AEGIS_SAFETENSORS_MAX_RANK];
    uint32_t file; /* index for aegis_safetensors_file_at */
    uint32_t
        alignment;   /* largest power of two, up to 4096, that divides the offset; often only 8 */
    uint64_t offset; /* of the first byte in the file, not in the data */
    uint64_t bytes;
} aegis_tensor_source;

/* One file. Borrowed; constant. */
typedef struct aegis_safetensors_file {
    const char *path;
    int fd; /* open for reading as long as the aegis_safetensors lives; use pread */
    uint64_t size_bytes;
    uint64_t data_offset; /* 8 + length of the header */
} aegis_safetensors_file;

/*
 * Opens `path`: a .safetensors file, a model.safetensors.index.json, or a folder that holds
 * model.safetensors or else model.safetensors.index.json.
 * NOT_FOUND (no such file, a shard is missing), PERMISSION, IO, NO_MEMORY; PARSE (malformed header
 * or index, truncated file, overlap, hole, size against shape, duplicate name); CONFIG (the index
 * and the shards contradict one another); UNSUPPORTED (dtype of less than a byte or unknown, rank
 * above the limit). The message names the file, the tensor, the key and the cure.
 */
aegis_status aegis_safetensors_open(const char *path,
                                    const aegis_allocator *allocator,
                                    aegis_safetensors **ret_tensors,
                                    aegis_error *err);
/* Closes the files and ends the mappings. NULL is fine. */
void aegis_safetensors_close(aegis_safetensors *tensors);

/* Tensors by name, ascending (strcmp). */
uint32_t aegis_safetensors_count(const aegis_safetensors *tensors);
const aegis_tensor_source *aegis_safetensors_at(const aegis_safetensors *tensors, uint32_t index);
/* The tensor, or NULL. */
const aegis_tensor_source *aegis_safetensors_find(const aegis_safetensors *tensors,
                                                  const char *name);

uint32_t aegis_safetensors_file_count(const aegis_safetensors *tensors);
const aegis_safetensors_file *aegis_safetensors_file_at(const aegis_safetensors *tensors,
                                                        uint32_t index);

/*
 * A read-only view of the whole file, made at the first call and kept until close. Its pages are
 * charged to the control group that touches them first: for models that fit their budget. A file
 * that someone shortens while it is mapped ends the process with SIGBUS; one that has changed its
 * size since it was opened is refused. Not thread-safe. IO, INVALID_ARGUMENT (no such file).
 */
aegis_status aegis_safetensors_map(aegis_safetensors *tensors,
                                   uint32_t file,
                                   const void **ret_bytes,
                                   aegis_error *err);

#endif
