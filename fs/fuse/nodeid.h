// SPDX-License-Identifier: Apache-2.0
/*
 * nodeid.h - from nodeids to slots and back, without a table.
 *
 * A nodeid is serial (41 bits) | file (5) | slot index (18). It stands for one name, and while a client has
 * that open, for one array: the next array of data.bin or result.bin then gets another serial, the old nodeid
 * decodes to -ESTALE, and the kernel looks the name up again. We have nothing to do at a FORGET.
 *
 * The numbers of an array (struct slot_array), and what each is for:
 *
 *   serial   tells whether it is still the same array: fresh with each; jobs, and nodeids of views, carry it
 *   inode    the serial that its nodeid carries on the passthrough path. Equal to serial, or the inode of
 *            the array before it if no client has that open: then the next open needs no lookup
 *   number   st_ino. Equal to serial, or the number of the array that a chain or mv brought here
 *   home     slot and side where the array was made; a follower with the same owner and mode has the source's
 *
 *                           serial         file            slot index
 *   nodeid, passthrough  =  inode        | of this name  | of this slot        each name has its own
 *   nodeid, page cache   =  number       | of home_side  | of home             names of the same pages share
 *
 * On the page-cache path pages belong to the nodeid, so names that share pages share the nodeid. To decode it
 * we try the home, then the home's followers, then all slots: linear in their number.
 */
#ifndef PYRMAPFS_NODEID_H
#define PYRMAPFS_NODEID_H

#include "exchange/exchange.h"
#include <sys/stat.h>

enum nodeid_kind { NODEID_ROOT, NODEID_DAEMON, NODEID_SLOT };

enum { NODEID_ROOT_ID = 1 };

struct nodeid_target {
    enum nodeid_kind kind;
    struct slot *slot;   /* NODEID_SLOT */
    enum slot_file file; /* NODEID_SLOT */
    unsigned number;     /* NODEID_DAEMON: 0 is the directory .pyrmap, n its n-th file */
};

/* Returns 0 or -ESTALE. */
int nodeid_decode(struct exchange *exchange, uint64_t nodeid, struct nodeid_target *inode);
uint64_t nodeid_encode(struct exchange *exchange, const struct nodeid_target *inode);
uint64_t nodeid_of(struct exchange *exchange, struct slot *slot, enum slot_file file);

/*
 * A second inode of metadata.bin or metadata.txt. The kernel locks an inode while a write to it waits for our
 * answer. While a publish is parked, other clients get this inode, and can fail, cancel or remove the slot.
 */
uint64_t nodeid_aside(struct exchange *exchange, struct slot *slot, enum slot_file file);

/* st_ino: the segment's number for data.bin and result.bin. */
uint64_t nodeid_number(struct exchange *exchange, const struct nodeid_target *inode);

/* The serial in a nodeid; of data.bin and result.bin, see step_array_identity. */
uint64_t nodeid_serial(uint64_t nodeid);

#endif
