// SPDX-License-Identifier: Apache-2.0
/*
 * slot_files_fixture.h - the small files of a slot, opened, read and written as the kernel does it.
 */
#ifndef PYRMAPFS_SLOT_FILES_FIXTURE_H
#define PYRMAPFS_SLOT_FILES_FIXTURE_H

#include "exchange_fixture.h"
#include "files/slot_files.h"

enum { CONTENT_MAX = 70000 };

struct handle *open_file(struct world *world, struct slot *slot, enum slot_file file,
                         enum handle_access access);
void close_file(struct world *world, struct handle *handle);

/* Reads it to the end, step bytes at a time; a NUL follows. Returns the size. */
size_t read_open(struct world *world, struct handle *handle, size_t step, char content[CONTENT_MAX]);
size_t read_file(struct world *world, struct slot *slot, enum slot_file file, char content[CONTENT_MAX]);
/* Expects that the file has exactly this content and shows its size. */
void expect_content(struct world *world, struct slot *slot, enum slot_file file, const char *expected);

/* One write(2). Returns 0, WAIT_FOR_PEER or -errno. */
int write_at(struct world *world, struct slot *slot, enum slot_file file, const void *bytes, size_t size,
             off_t offset);
int write_text(struct world *world, struct slot *slot, enum slot_file file, const char *text);

int remove_file(struct world *world, struct slot *slot, enum slot_file file);

#endif
