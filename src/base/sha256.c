/* SPDX-License-Identifier: Apache-2.0 */
/* The one place that includes OpenSSL. */
#include "base/base.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT "base.sha256"

static aegis_status
finish(EVP_MD_CTX *context, char ret_hex[AEGIS_SHA256_HEX_BYTES], aegis_error *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    if (EVP_DigestFinal_ex(context, digest, &size) != 1 || size != 32) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INTERNAL,
                               "SHA-256 is not available in this OpenSSL");
    }
    for (unsigned int i = 0; i < size; i++) {
        snprintf(ret_hex + 2 * i, 3, "%02x", digest[i]);
    }
    return AEGIS_OK;
}

aegis_status aegis_sha256_bytes(const void *bytes,
                                size_t size,
                                char ret_hex[AEGIS_SHA256_HEX_BYTES],
                                aegis_error *err)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    aegis_status status;
    if (context == NULL || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(context, bytes, size) != 1) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INTERNAL,
                                 "OpenSSL could not start SHA-256");
    } else {
        status = finish(context, ret_hex, err);
    }
    EVP_MD_CTX_free(context);
    return status;
}

aegis_status
aegis_sha256_file(const char *path, char ret_hex[AEGIS_SHA256_HEX_BYTES], aegis_error *err)
{
    char block[65536];
    aegis_status status = AEGIS_OK;
    EVP_MD_CTX *context = NULL;
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        int code = errno;
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT),
                                      code == ENOENT ? AEGIS_ERROR_NOT_FOUND : AEGIS_ERROR_IO, code,
                                      "cannot open %s: %s", path, strerror(code));
    }
    context = EVP_MD_CTX_new();
    if (context == NULL || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INTERNAL,
                                 "OpenSSL could not start SHA-256");
        goto done;
    }
    for (;;) {
        size_t got = fread(block, 1, sizeof block, file);
        if (got > 0 && EVP_DigestUpdate(context, block, got) != 1) {
            status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INTERNAL,
                                     "OpenSSL could not go on with SHA-256");
            goto done;
        }
        if (got < sizeof block) {
            break;
        }
    }
    status = ferror(file) ? aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO,
                                            "cannot read %s", path)
                          : finish(context, ret_hex, err);
done:
    EVP_MD_CTX_free(context);
    fclose(file);
    return status;
}
