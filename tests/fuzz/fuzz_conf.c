// SPDX-License-Identifier: Apache-2.0
/*
 * The configuration: a file of any bytes, then -o overrides; if it is accepted it prints and reads back the same.
 */
#include "conf.h"

#include "invariant.h"
#include <sys/mman.h>
#include <unistd.h>

/* The file starts here; the overrides before it are separated by NUL bytes and end with an empty one. */
struct input {
    const char *overrides;
    size_t overrides_size;
    const uint8_t *file;
    size_t file_size;
};

static void check_error(const char *error)
{
    size_t length = strnlen(error, CONF_ERROR_MAX);

    INVARIANT(length > 0 && length < CONF_ERROR_MAX);
    INVARIANT(strpbrk(error, "\r\n") == NULL);
}

static int read_bytes(struct conf *conf, const void *bytes, size_t size)
{
    char path[64], error[CONF_ERROR_MAX];
    int fd = memfd_create("conf", MFD_CLOEXEC);
    int result;

    INVARIANT(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    result = conf_read(conf, path, error);
    if (result != 0)
        check_error(error);
    close(fd);
    return result;
}

/* The configuration as text; the caller frees it. */
static char *print(const struct conf *conf, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);

    INVARIANT(out != NULL);
    conf_print(conf, out);
    INVARIANT(fclose(out) == 0);
    return text;
}

static void check_round_trip(const struct conf *conf)
{
    size_t size = 0, again_size = 0;
    char *text = print(conf, &size), *again_text;
    char error[CONF_ERROR_MAX];
    struct conf again;

    conf_init(&again);
    INVARIANT(read_bytes(&again, text, size) == 0);
    INVARIANT(conf_check(&again, error) == 0);
    again_text = print(&again, &again_size);
    INVARIANT(size == again_size && memcmp(text, again_text, size) == 0);
    free(text);
    free(again_text);
}

static struct input split(const uint8_t *data, size_t size)
{
    struct input input = {.file = data, .file_size = size};
    const char *text = (const char *)data;
    size_t at = 0;

    if (size == 0 || data[0] != '!')
        return input;
    input.overrides = text + 1;
    for (at = 1; at < size && text[at] != '\0'; at += strlen(text + at) + 1) {
        if (memchr(text + at, '\0', size - at) == NULL)
            return (struct input){.file = data, .file_size = size};
    }
    input.overrides_size = at - 1;
    input.file = data + (at < size ? at + 1 : size);
    input.file_size = at < size ? size - at - 1 : 0;
    return input;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = split(data, size);
    char error[CONF_ERROR_MAX];
    struct conf conf;

    conf_init(&conf);
    if (read_bytes(&conf, input.file, input.file_size) != 0)
        return 0;
    for (size_t at = 0; at < input.overrides_size; at += strlen(input.overrides + at) + 1) {
        if (conf_override(&conf, input.overrides + at, error) != 0) {
            check_error(error);
            return 0;
        }
    }
    if (conf_check(&conf, error) != 0)
        check_error(error);
    else
        check_round_trip(&conf);
    return 0;
}
