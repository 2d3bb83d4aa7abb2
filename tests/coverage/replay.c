// SPDX-License-Identifier: Apache-2.0
/*
 * replay.c - runs a fuzz target on the inputs in directories, without libFuzzer.
 */
#include "../fuzz/invariant.h"

#include <dirent.h>

enum { INPUT_MAX = 1 << 20 };

static void run(const char *directory, const char *name)
{
    static uint8_t bytes[INPUT_MAX];
    char path[4096];
    uint8_t *copy;
    size_t size;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    file = fopen(path, "re");
    INVARIANT(file);
    size = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    copy = malloc(size ? size : 1); /* as libFuzzer does: nothing can be read behind it */
    INVARIANT(copy);
    memcpy(copy, bytes, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

int main(int argc, char *argv[])
{
    unsigned inputs = 0;

    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        const struct dirent *entry;

        INVARIANT(directory);
        while ((entry = readdir(directory))) {
            if (entry->d_name[0] == '.')
                continue;
            run(argv[i], entry->d_name);
            inputs++;
        }
        closedir(directory);
    }
    printf("%u inputs\n", inputs);
    return inputs == 0;
}
