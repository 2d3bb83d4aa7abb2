// SPDX-License-Identifier: Apache-2.0
/*
 * inode.h - from nodeids to slots and back, without a table.
 *
 * A nodeid is serial (42 bits) | file (4) | slot index (18). It stands for one name, and whoever has it open
 * for one array: if anybody has, data.bin and result.bin get another serial with a new array, so that the old
 * nodeid decodes to -ESTALE and the kernel looks the name up again. Forgetting one costs nothing.
 *
 * On the page-cache path pages belong to the nodeid, so all names of a chained segment have that of the array
 * in which it came to be (its home), for as long as any slot has it.
 */
#ifndef PYRMAPFS_INODE_H
#define PYRMAPFS_INODE_H

#include "exchange.h"
#include <sys/stat.h>

enum inode_kind { INODE_ROOT, INODE_DAEMON, INODE_SLOT };

enum { INODE_ROOT_ID = 1, INODE_DAEMON_FILES = 16 };

struct inode {
    enum inode_kind kind;
    struct slot *slot;   /* INODE_SLOT */
    enum slot_file file; /* INODE_SLOT */
    unsigned number;     /* INODE_DAEMON: 0 is the directory .pyrmap, n its n-th file */
};

/* Returns 0 or -ESTALE. */
int inode_decode(struct exchange *exchange, uint64_t nodeid, struct inode *inode);
uint64_t inode_encode(struct exchange *exchange, const struct inode *inode);
uint64_t inode_of(struct exchange *exchange, struct slot *slot, enum slot_file file);

/*
 * A second inode of metadata.bin or metadata.txt. The kernel locks an inode for as long as a write waits for
 * its answer; while a publish is parked, others get this one, and can fail, cancel or remove the slot.
 */
uint64_t inode_aside(struct exchange *exchange, struct slot *slot, enum slot_file file);

/* st_ino: the segment's number for data.bin and result.bin. */
uint64_t inode_number(struct exchange *exchange, const struct inode *inode);

/* What a nodeid of data.bin or result.bin carries: see exchange_array_identity. */
uint64_t inode_serial(uint64_t nodeid);

#endif
