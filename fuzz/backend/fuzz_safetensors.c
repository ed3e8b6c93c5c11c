/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the reader promises of every file that it lets through: each byte of the data belongs to
 * exactly one tensor. */
static void check(aegis_safetensors *tensors, size_t size)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < aegis_safetensors_count(tensors); i++) {
        const aegis_tensor_source *tensor = aegis_safetensors_at(tensors, i);
        if (tensor->offset > size || tensor->bytes > size - tensor->offset ||
            tensor->rank > AEGIS_SAFETENSORS_MAX_RANK || tensor->offset % tensor->alignment != 0 ||
            aegis_safetensors_find(tensors, tensor->name) != tensor) {
            abort();
        }
        sum += tensor->bytes;
    }
    if (sum + aegis_safetensors_file_at(tensors, 0)->data_offset != size) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    aegis_allocator allocator = aegis_allocator_default();
    aegis_safetensors *tensors = NULL;
    aegis_error error = {0};
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        abort();
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    aegis_status status = aegis_safetensors_open(path, &allocator, &tensors, &error);
    if (status == AEGIS_OK) {
        check(tensors, size);
        aegis_safetensors_close(tensors);
    } else if (tensors != NULL || error.status != status || error.message[0] == '\0') {
        abort();
    }
    close(fd);
    return 0;
}
