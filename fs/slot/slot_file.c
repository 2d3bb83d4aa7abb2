// SPDX-License-Identifier: Apache-2.0
#include "slot/slot_file.h"

#include <string.h>

static const char *const file_names[SLOT_FILES] = {
    [SLOT_DIRECTORY] = "",
    [SLOT_METADATA_BIN] = "metadata.bin",
    [SLOT_METADATA_MEM] = "metadata.mem",
    [SLOT_METADATA_TXT] = "metadata.txt",
    [SLOT_DATA_BIN] = "data.bin",
    [SLOT_RESULT_BIN] = "result.bin",
    [SLOT_DATA_TXT] = "data.txt",
    [SLOT_RESULT_TXT] = "result.txt",
    [SLOT_DATA_NPY] = "data.npy",
    [SLOT_RESULT_NPY] = "result.npy",
    [SLOT_TASK] = "task",
    [SLOT_ERROR] = "error",
    [SLOT_OWNER] = "owner",
    [SLOT_WORKER] = "worker",
    [SLOT_SOURCE] = "source",
    [SLOT_DATA_LINK] = "data.mem",
    [SLOT_RESULT_LINK] = "result.mem",
    [SLOT_METADATA_LINK] = "metadata.mem",
};

const char *slot_file_name(enum slot_file file)
{
    return file_names[file];
}

enum slot_file slot_file_find(const char *name)
{
    int file = SLOT_DIRECTORY + 1;

    while (file < SLOT_FILES && strcmp(file_names[file], name) != 0)
        file++;
    return (enum slot_file)file;
}

bool slot_file_has_side(enum slot_file file)
{
    return file >= SLOT_DATA_BIN && file <= SLOT_RESULT_NPY;
}

enum record_side slot_file_side(enum slot_file file)
{
    return slot_file_has_side(file) && (file - SLOT_DATA_BIN) % 2 ? RECORD_SIDE_RESULT : RECORD_SIDE_INPUT;
}

enum slot_file slot_file_of_side(enum record_side side)
{
    return side == RECORD_SIDE_INPUT ? SLOT_DATA_BIN : SLOT_RESULT_BIN;
}
