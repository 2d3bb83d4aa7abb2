// SPDX-License-Identifier: Apache-2.0
#include "arena/hidden.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static const char key_name[] = "key";

int hidden_key_make(struct hidden_key *key)
{
    return getrandom(key, sizeof(*key), 0) == sizeof(*key) ? 0 : -errno;
}

int hidden_key_open(int directory, enum hidden_mode mode, struct hidden_key *key)
{
    int flags = mode == HIDDEN_NEW ? O_RDWR | O_CREAT | O_EXCL : O_RDONLY | O_NONBLOCK;
    int fd = openat(directory, key_name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    ssize_t got;

    if (fd < 0)
        return -errno;
    if (mode == HIDDEN_FOUND)
        got = pread(fd, key, sizeof(*key), 0);
    else
        got = hidden_key_make(key) < 0 ? -1 : pwrite(fd, key, sizeof(*key), 0);
    /* Without it the names of all other files mean nothing, so it must not be lost after them. */
    if (mode == HIDDEN_NEW && got == sizeof(*key) && (fdatasync(fd) < 0 || fsync(directory) < 0))
        got = -1;
    if (got < 0)
        got = -errno;
    else if (got != sizeof(*key))
        got = -EINVAL;
    if (got < 0 && mode == HIDDEN_NEW)
        unlinkat(directory, key_name, 0);
    close(fd);
    return got < 0 ? (int)got : 0;
}

void hidden_key_remove(int directory)
{
    unlinkat(directory, key_name, 0);
}

static uint64_t rotate(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

static void mix(uint64_t v[4], unsigned rounds)
{
    while (rounds-- > 0) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

static void absorb(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    mix(v, 2);
    v[0] ^= word;
}

uint64_t hidden_hash(const struct hidden_key *key, const char *text)
{
    const uint64_t a = key->halves[0], b = key->halves[1];
    uint64_t v[4] = {a ^ 0x736f6d6570736575, b ^ 0x646f72616e646f6d, a ^ 0x6c7967656e657261,
                     b ^ 0x7465646279746573};
    size_t length = strlen(text);
    uint64_t last = (uint64_t)length << 56;
    uint64_t word;

    for (; length >= sizeof(word); length -= sizeof(word), text += sizeof(word)) {
        memcpy(&word, text, sizeof(word));
        absorb(v, word);
    }
    word = 0;
    memcpy(&word, text, length);
    absorb(v, last | word);
    v[2] ^= 0xff;
    mix(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
