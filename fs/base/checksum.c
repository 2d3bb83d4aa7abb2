// SPDX-License-Identifier: Apache-2.0
#include "base/checksum.h"

#include <string.h>

static const uint64_t prime1 = 0x9E3779B185EBCA87U;
static const uint64_t prime2 = 0xC2B2AE3D27D4EB4FU;
static const uint64_t prime3 = 0x165667B19E3779F9U;
static const uint64_t prime4 = 0x85EBCA77C2B2AE63U;
static const uint64_t prime5 = 0x27D4EB2F165667C5U;

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static uint64_t load64(const unsigned char *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof(word));
    return word;
}

static uint32_t load32(const unsigned char *at)
{
    uint32_t word;

    memcpy(&word, at, sizeof(word));
    return word;
}

static uint64_t mix(uint64_t lane, uint64_t word)
{
    return rotate(lane + word * prime2, 31) * prime1;
}

static uint64_t merge(uint64_t hash, uint64_t lane)
{
    return (hash ^ mix(0, lane)) * prime1 + prime4;
}

/* Four lanes of eight bytes, which a processor works on at the same time. */
static uint64_t hash_stripes(const unsigned char **at, const unsigned char *end, uint64_t seed)
{
    uint64_t a = seed + prime1 + prime2, b = seed + prime2, c = seed, d = seed - prime1;
    const unsigned char *next = *at;

    for (; end - next >= 32; next += 32) {
        a = mix(a, load64(next));
        b = mix(b, load64(next + 8));
        c = mix(c, load64(next + 16));
        d = mix(d, load64(next + 24));
    }
    *at = next;
    return merge(merge(merge(merge(rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18), a), b), c),
                 d);
}

static uint64_t hash_tail(const unsigned char *at, const unsigned char *end, uint64_t hash)
{
    for (; end - at >= 8; at += 8)
        hash = rotate(hash ^ mix(0, load64(at)), 27) * prime1 + prime4;
    if (end - at >= 4) {
        hash = rotate(hash ^ load32(at) * prime1, 23) * prime2 + prime3;
        at += 4;
    }
    for (; at < end; at++)
        hash = rotate(hash ^ *at * prime5, 11) * prime1;
    return hash;
}

uint64_t checksum_of(const void *bytes, size_t size, uint64_t seed)
{
    const unsigned char *at = bytes;
    const unsigned char *end = at + size;
    uint64_t hash = size >= 32 ? hash_stripes(&at, end, seed) : seed + prime5;

    hash = hash_tail(at, end, hash + size);
    hash = (hash ^ hash >> 33) * prime2;
    hash = (hash ^ hash >> 29) * prime3;
    return hash ^ hash >> 32;
}
