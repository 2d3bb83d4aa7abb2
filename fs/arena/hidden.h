// SPDX-License-Identifier: Apache-2.0
/*
 * hidden.h - names that nobody can guess: a file's name ends in a hash of it, under a key of the arena.
 *
 * Clients of other users reach the arena's files past the mount but cannot list their directory. The mode and
 * the access list of a file (grant.h) say who may open it; its name keeps the others from asking for its size.
 */
#ifndef PYRMAPFS_HIDDEN_H
#define PYRMAPFS_HIDDEN_H

#include <stdint.h>

struct hidden_key {
    uint64_t halves[2];
};

/* Returns 0 or -errno. */
int hidden_key_make(struct hidden_key *key);

/*
 * Makes the key of a directory (HIDDEN_NEW) or reads the one that is there. The key is a file that only we
 * may read. Returns 0 or -errno; HIDDEN_NEW: -EEXIST if there is one, else: -ENOENT, or -EINVAL for a file
 * that is no key.
 */
enum hidden_mode { HIDDEN_NEW, HIDDEN_FOUND };
int hidden_key_open(int directory, enum hidden_mode mode, struct hidden_key *key);
void hidden_key_remove(int directory);

/* SipHash-2-4. */
uint64_t hidden_hash(const struct hidden_key *key, const char *text);

#endif
