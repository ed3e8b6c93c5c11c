/* SPDX-License-Identifier: Apache-2.0 */
/* The one place that includes OpenSSL. */
#include "base/base.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT "base.sha256"

#define DIGEST_BYTES 32

static aegis_status unavailable(aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INTERNAL,
                           "OpenSSL could not compute SHA-256");
}

aegis_status aegis_sha256_start(aegis_sha256 *hash, aegis_error *err)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context == NULL || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(context);
        return unavailable(err);
    }
    hash->context = context;
    return AEGIS_OK;
}

aegis_status aegis_sha256_add(aegis_sha256 *hash, const void *bytes, size_t size, aegis_error *err)
{
    return EVP_DigestUpdate(hash->context, bytes, size) == 1 ? AEGIS_OK : unavailable(err);
}

aegis_status
aegis_sha256_finish(aegis_sha256 *hash, char ret_hex[AEGIS_SHA256_HEX_BYTES], aegis_error *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    if (EVP_DigestFinal_ex(hash->context, digest, &size) != 1 || size != DIGEST_BYTES) {
        return unavailable(err);
    }
    for (unsigned int i = 0; i < size; i++) {
        snprintf(ret_hex + 2 * i, 3, "%02x", digest[i]);
    }
    return AEGIS_OK;
}

void aegis_sha256_end(aegis_sha256 *hash)
{
    EVP_MD_CTX_free(hash->context);
    hash->context = NULL;
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool aegis_sha256_parse(const char *hex, uint8_t ret_digest[DIGEST_BYTES])
{
    uint8_t digest[DIGEST_BYTES];
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        int high = digit_of(hex[2 * i]), low = high < 0 ? -1 : digit_of(hex[2 * i + 1]);
        if (low < 0) {
            return false;
        }
        digest[i] = (uint8_t)(16 * high + low);
    }
    if (hex[2 * DIGEST_BYTES] != '\0') {
        return false;
    }
    memcpy(ret_digest, digest, sizeof digest);
    return true;
}

aegis_status aegis_sha256_bytes(const void *bytes,
                                size_t size,
                                char ret_hex[AEGIS_SHA256_HEX_BYTES],
                                aegis_error *err)
{
    aegis_sha256 hash = {NULL};
    aegis_status status = aegis_sha256_start(&hash, err);
    if (status == AEGIS_OK) {
        status = aegis_sha256_add(&hash, bytes, size, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_sha256_finish(&hash, ret_hex, err);
    }
    aegis_sha256_end(&hash);
    return status;
}

aegis_status
aegis_sha256_file(const char *path, char ret_hex[AEGIS_SHA256_HEX_BYTES], aegis_error *err)
{
    char block[65536];
    aegis_sha256 hash = {NULL};
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        int code = errno;
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT),
                                      code == ENOENT ? AEGIS_ERROR_NOT_FOUND : AEGIS_ERROR_IO, code,
                                      "cannot open %s: %s", path, strerror(code));
    }
    aegis_status status = aegis_sha256_start(&hash, err);
    for (size_t got = sizeof block; status == AEGIS_OK && got == sizeof block;) {
        got = fread(block, 1, sizeof block, file);
        status = aegis_sha256_add(&hash, block, got, err);
    }
    if (status == AEGIS_OK) {
        status = ferror(file) ? aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO,
                                                "cannot read %s", path)
                              : aegis_sha256_finish(&hash, ret_hex, err);
    }
    aegis_sha256_end(&hash);
    fclose(file);
    return status;
}
