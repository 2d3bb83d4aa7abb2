// SPDX-License-Identifier: Apache-2.0
#include "fuse/form.h"

#include <linux/fuse.h>
#include <stdint.h>
#include <string.h>

/* Older kernels send less of INIT, and SETXATTR has its longer form only where libfuse asked for it. */
enum { INIT_IN_MIN = 16, SETXATTR_IN_MIN = 8 };

static const struct form {
    uint8_t fixed; /* bytes behind the header, */
    uint8_t names; /* and so many names behind these */
} forms[] = {
    [FUSE_LOOKUP] = {0, 1},
    [FUSE_FORGET] = {sizeof(struct fuse_forget_in), 0},
    [FUSE_GETATTR] = {sizeof(struct fuse_getattr_in), 0},
    [FUSE_SETATTR] = {sizeof(struct fuse_setattr_in), 0},
    [FUSE_SYMLINK] = {0, 2},
    [FUSE_MKNOD] = {sizeof(struct fuse_mknod_in), 1},
    [FUSE_MKDIR] = {sizeof(struct fuse_mkdir_in), 1},
    [FUSE_UNLINK] = {0, 1},
    [FUSE_RMDIR] = {0, 1},
    [FUSE_RENAME] = {sizeof(struct fuse_rename_in), 2},
    [FUSE_LINK] = {sizeof(struct fuse_link_in), 1},
    [FUSE_OPEN] = {sizeof(struct fuse_open_in), 0},
    [FUSE_READ] = {sizeof(struct fuse_read_in), 0},
    [FUSE_WRITE] = {sizeof(struct fuse_write_in), 0},
    [FUSE_RELEASE] = {sizeof(struct fuse_release_in), 0},
    [FUSE_FSYNC] = {sizeof(struct fuse_fsync_in), 0},
    [FUSE_SETXATTR] = {SETXATTR_IN_MIN, 1},
    [FUSE_GETXATTR] = {sizeof(struct fuse_getxattr_in), 1},
    [FUSE_LISTXATTR] = {sizeof(struct fuse_getxattr_in), 0},
    [FUSE_REMOVEXATTR] = {0, 1},
    [FUSE_FLUSH] = {sizeof(struct fuse_flush_in), 0},
    [FUSE_INIT] = {INIT_IN_MIN, 0},
    [FUSE_OPENDIR] = {sizeof(struct fuse_open_in), 0},
    [FUSE_READDIR] = {sizeof(struct fuse_read_in), 0},
    [FUSE_RELEASEDIR] = {sizeof(struct fuse_release_in), 0},
    [FUSE_FSYNCDIR] = {sizeof(struct fuse_fsync_in), 0},
    [FUSE_GETLK] = {sizeof(struct fuse_lk_in), 0},
    [FUSE_SETLK] = {sizeof(struct fuse_lk_in), 0},
    [FUSE_SETLKW] = {sizeof(struct fuse_lk_in), 0},
    [FUSE_ACCESS] = {sizeof(struct fuse_access_in), 0},
    [FUSE_CREATE] = {sizeof(struct fuse_create_in), 1},
    [FUSE_INTERRUPT] = {sizeof(struct fuse_interrupt_in), 0},
    [FUSE_BMAP] = {sizeof(struct fuse_bmap_in), 0},
    [FUSE_IOCTL] = {sizeof(struct fuse_ioctl_in), 0},
    [FUSE_POLL] = {sizeof(struct fuse_poll_in), 0},
    [FUSE_BATCH_FORGET] = {sizeof(struct fuse_batch_forget_in), 0},
    [FUSE_FALLOCATE] = {sizeof(struct fuse_fallocate_in), 0},
    [FUSE_READDIRPLUS] = {sizeof(struct fuse_read_in), 0},
    [FUSE_RENAME2] = {sizeof(struct fuse_rename2_in), 2},
    [FUSE_LSEEK] = {sizeof(struct fuse_lseek_in), 0},
    [FUSE_COPY_FILE_RANGE] = {sizeof(struct fuse_copy_file_range_in), 0},
};

static bool has_names(const char *bytes, size_t size, unsigned names)
{
    for (unsigned i = 0; i < names; i++) {
        const char *end = memchr(bytes, '\0', size);

        if (!end)
            return false;
        size -= (size_t)(end - bytes) + 1;
        bytes = end + 1;
    }
    return true;
}

static uint32_t opcode_of(const void *bytes)
{
    struct fuse_in_header header;

    memcpy(&header, bytes, sizeof(header));
    return header.opcode;
}

/* Bytes of a file have numbers from 0 to INT64_MAX. */
static bool lies_in_a_file(uint64_t offset, uint64_t size)
{
    return offset <= INT64_MAX && size <= INT64_MAX - offset;
}

bool form_is_sound(const void *bytes, size_t size)
{
    const uint32_t opcode = opcode_of(bytes);
    const char *body = (const char *)bytes + sizeof(struct fuse_in_header);
    const size_t length = size - sizeof(struct fuse_in_header);
    const struct form *form = opcode < sizeof(forms) / sizeof(forms[0]) ? &forms[opcode] : NULL;
    struct fuse_batch_forget_in batch;
    struct fuse_fallocate_in fallocate;
    struct fuse_setattr_in setattr;
    struct fuse_write_in write;
    struct fuse_read_in read;

    if (!form)
        return true;
    if (length < form->fixed || !has_names(body + form->fixed, length - form->fixed, form->names))
        return false;
    switch (opcode) {
    case FUSE_READ:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
        memcpy(&read, body, sizeof(read));
        return lies_in_a_file(read.offset, read.size);
    case FUSE_WRITE:
        memcpy(&write, body, sizeof(write));
        return lies_in_a_file(write.offset, write.size) && write.size <= length - sizeof(write);
    case FUSE_SETATTR:
        memcpy(&setattr, body, sizeof(setattr));
        return !(setattr.valid & FATTR_SIZE) || lies_in_a_file(0, setattr.size);
    case FUSE_FALLOCATE:
        memcpy(&fallocate, body, sizeof(fallocate));
        return lies_in_a_file(fallocate.offset, fallocate.length);
    case FUSE_BATCH_FORGET:
        memcpy(&batch, body, sizeof(batch));
        return batch.count <= (length - sizeof(batch)) / sizeof(struct fuse_forget_one);
    default:
        return true;
    }
}

bool form_wants_answer(const void *bytes)
{
    switch (opcode_of(bytes)) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        return false;
    default:
        return true;
    }
}
