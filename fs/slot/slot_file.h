// SPDX-License-Identifier: Apache-2.0
/*
 * slot_file.h - the files of a slot, by number and by name.
 */
#ifndef PYRMAPFS_SLOT_FILE_H
#define PYRMAPFS_SLOT_FILE_H

#include "protocol/record.h"
#include <stdbool.h>

/* The files of a slot, in the order of a listing. */
enum slot_file {
    SLOT_DIRECTORY,
    SLOT_METADATA_BIN,
    SLOT_METADATA_MEM,
    SLOT_METADATA_TXT,
    SLOT_DATA_BIN,
    SLOT_RESULT_BIN,
    SLOT_DATA_TXT,
    SLOT_RESULT_TXT,
    SLOT_DATA_NPY,
    SLOT_RESULT_NPY,
    SLOT_TASK,
    SLOT_ERROR,
    SLOT_OWNER,
    SLOT_WORKER,
    SLOT_SOURCE,
    SLOT_DATA_LINK, /* these three only where the data path is links */
    SLOT_RESULT_LINK,
    SLOT_METADATA_LINK,
    SLOT_FILES,
};

/* "metadata.bin" and so on; "" for the slot's directory. */
const char *slot_file_name(enum slot_file file);
/* The file of that name, SLOT_FILES if a slot has no place for it. */
enum slot_file slot_file_find(const char *name);
/* Whether it is an array or a view of one; these six are in pairs, input and result. */
bool slot_file_has_side(enum slot_file file);

/* data.* -> input; result.* -> result. Only for those six. */
enum record_side slot_file_side(enum slot_file file);

/* The array's own file. */
enum slot_file slot_file_of_side(enum record_side side);

#endif
