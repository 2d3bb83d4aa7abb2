// SPDX-License-Identifier: Apache-2.0
/*
 * slot_files.h - the files of a slot, one table row each: it serves lookup, getattr, readdir, open, read,
 * write and unlink.
 */
#ifndef PYRMAPFS_SLOT_FILES_H
#define PYRMAPFS_SLOT_FILES_H

#include "exchange/exchange.h"
#include "slot/handle.h"

enum slot_files_kind {
    SLOT_FILES_DIRECTORY,
    SLOT_FILES_RECORD, /* metadata.bin: read and written as a record, mapped as a page */
    SLOT_FILES_PAGE,   /* metadata.mem: read and mapped as a page */
    SLOT_FILES_ARRAY,  /* data.bin, result.bin: segments */
    SLOT_FILES_VIEW,   /* made on the fly from a segment */
    SLOT_FILES_TEXT,   /* small texts */
    SLOT_FILES_LINK,   /* source; and to pages, see fuse/links.h */
};

struct slot_files_row {
    enum slot_files_kind kind;

    /* Bytes, for st_size. NULL: the layer above knows. */
    off_t (*size)(struct exchange *exchange, struct slot *slot, enum slot_file file);

    /* Prepares a handle: a snapshot, or a view's segment. NULL: nothing to prepare. 0 or -errno. */
    int (*open)(struct exchange *exchange, struct slot *slot, struct handle *handle);

    /* Bytes or -errno. NULL for arrays, whose pages the kernel or exchange.h serves. */
    ssize_t (*read)(struct exchange *exchange, struct handle *handle, char *buffer, size_t size,
                    off_t offset);

    /*
     * One write(2) is one step. 0 or -errno; WAIT_FOR_PEER and WAIT_FOR_WORK: park, and call it again with
     * the same bytes. NULL: the file is never writable.
     */
    int (*write)(struct exchange *exchange, struct handle *handle, const struct caller *caller,
                 const char *bytes, size_t size, off_t offset);

    /* Truncation; NULL: to 0 is accepted and changes nothing, else -EINVAL. 0 or -errno. */
    int (*resize)(struct exchange *exchange, struct slot *slot, enum slot_file file, uint64_t size);

    /* unlink: what `rm` means for it; the name stays. NULL: nothing. 0 or -errno. */
    int (*unlink)(struct exchange *exchange, struct slot *slot, enum slot_file file,
                  const struct caller *caller);
};

/* Never NULL for a file below SLOT_FILES. */
const struct slot_files_row *slot_files_row(enum slot_file file);

/* The size of what an open view shows, which may be of an earlier round. */
off_t slot_files_view_size(const struct handle *handle);

/* Gives back what open prepared. */
void slot_files_close(struct exchange *exchange, struct handle *handle);

/*
 * The event that a write of this handle stands for: a parked write waits with it. HANDSHAKE_EVENTS: the write
 * does not touch the flag.
 */
enum handshake_event slot_files_write_event(const struct handle *handle, const char *bytes, size_t size,
                                            off_t offset);

#endif
