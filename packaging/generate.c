// SPDX-License-Identifier: Apache-2.0
/*
 * generate.c - prints the parts of other files that repeat the C code; packaging/generate puts them there.
 *
 *   generate conf      the keys as conf/pyrmapfs.conf documents them
 *   generate conf.5    the keys as the manual page pyrmapfs.conf(5) does
 *   generate layout.py the layout of the record for the Python package
 *   generate layout.R  the dtypes for the R package
 */
#include "conf.h"
#include "protocol/record.h"
#include <stdio.h>
#include <string.h>

static const char *section_before(size_t index)
{
    return index > 0 ? conf_doc(index - 1)->section : "";
}

static void print_conf(void)
{
    const struct conf_doc *doc;

    for (size_t i = 0; (doc = conf_doc(i)) != NULL; i++) {
        if (i > 0)
            puts("");
        if (strcmp(doc->section, section_before(i)) != 0)
            printf("[%s]\n", doc->section);
        for (const char *line = doc->text; *line != '\0'; line = strchr(line, '\n') + 1)
            printf("# %.*s\n", (int)strcspn(line, "\n"), line);
        if (conf_is_live(i))
            puts("# A reload (SIGHUP) reads it again.");
        printf("#%s =%s%s\n", doc->key, doc->fallback[0] != '\0' ? " " : "", doc->fallback);
    }
}

static void print_conf_5(void)
{
    const struct conf_doc *doc;

    for (size_t i = 0; (doc = conf_doc(i)) != NULL; i++) {
        if (strcmp(doc->section, section_before(i)) != 0)
            printf("%s.Ss [%s]\n.Bl -tag -width 4n\n", i > 0 ? ".El\n" : "", doc->section);
        printf(".It Ic %s No = Ar %s", doc->key, doc->values);
        if (doc->fallback[0] != '\0')
            printf(" Pq default: Cm %s", doc->fallback);
        printf("\n%s", doc->text);
        if (conf_is_live(i))
            puts("A reload\n.Pq Dv SIGHUP\nreads it again.");
    }
    puts(".El");
}

#define PRINT(constant)                            printf("%s = %d\n", #constant, (int)(constant))
#define PRINT_OFFSET(field)                        printf("    \"%s\": %zu,\n", #field, offsetof(struct record, field))
#define PRINT_DTYPE(NAME, ...)                     PRINT(RECORD_##NAME);
#define PRINT_NUMPY(NAME, code, name, type, numpy) print_numpy(#NAME, numpy);
#define PRINT_CODE(NAME, code, name, type, numpy)  print_code(#name, code, numpy);

/* A bundle is no array of one type. */
static void print_numpy(const char *name, const char *numpy)
{
    if (numpy)
        printf("    RECORD_%s: \"%s\",\n", name, numpy);
}

static void print_code(const char *name, int code, const char *numpy)
{
    if (numpy)
        printf("%s%s = %dL", code > 1 ? ", " : "", name, code);
}

static void print_layout_py(void)
{
    puts("# SPDX-License-Identifier: Apache-2.0\n"
         "\"\"\"The layout of the record. Generated from fs/protocol/record.h by `make generate`: change it "
         "there.\"\"\"\n"
         "from __future__ import annotations\n");
    PRINT(RECORD_SIZE);
    PRINT(RECORD_PAGE_SIZE);
    PRINT(RECORD_INLINE_MAX);
    PRINT(RECORD_VERSION);
    PRINT(RECORD_VERSION_GONE);
    PRINT(RECORD_NDIM_MAX);
    PRINT(RECORD_TAKE_INPUT);
    PRINT(RECORD_TAKE_RESULT);
    PRINT(RECORD_STEP_OF_ROUND);
    puts("");
    PRINT(RECORD_FLAG_NONE);
    PRINT(RECORD_FLAG_INPUT);
    PRINT(RECORD_FLAG_RESULT);
    PRINT(RECORD_FLAG_FAILED);
    puts("");
    PRINT(RECORD_DTYPE_SAME);
    RECORD_DTYPES(PRINT_DTYPE)
    puts("");
    PRINT(RECORD_LENGTH_ALL);
    puts("");
    PRINT(RECORD_ORDER_INPUT_F);
    PRINT(RECORD_ORDER_RESULT_F);
    PRINT(RECORD_ORDER_INPUT_LOGICAL);
    PRINT(RECORD_ORDER_RESULT_LOGICAL);
    puts("\n# Byte offset of each field; the same names as in struct record.\nRECORD_OFFSETS = {");
    PRINT_OFFSET(flag);
    PRINT_OFFSET(version);
    PRINT_OFFSET(input_length);
    PRINT_OFFSET(dtype);
    PRINT_OFFSET(result_dtype);
    PRINT_OFFSET(result_length);
    PRINT_OFFSET(round);
    PRINT_OFFSET(input_ndim);
    PRINT_OFFSET(result_ndim);
    PRINT_OFFSET(input_shape);
    PRINT_OFFSET(result_shape);
    PRINT_OFFSET(order);
    PRINT_OFFSET(change);
    PRINT_OFFSET(input_inline);
    PRINT_OFFSET(result_inline);
    PRINT_OFFSET(task_change);
    puts("}\n\n# NumPy's name of each dtype.\nRECORD_NUMPY = {");
    RECORD_DTYPES(PRINT_NUMPY)
    puts("}");
}

static void print_layout_r(void)
{
    puts("# SPDX-License-Identifier: Apache-2.0\n"
         "# Generated from fs/protocol/record.h by `make generate`: change it there.\n\n"
         "# The codes of the dtypes of arrays in the record.");
    printf("dtypes <- c(");
    RECORD_DTYPES(PRINT_CODE)
    puts(")");
    puts("\n# The code of a bundle, several arrays in one.");
    printf("dtype_bundle <- %dL\n", RECORD_BUNDLE);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } parts[] = {
        {"conf", print_conf},
        {"conf.5", print_conf_5},
        {"layout.py", print_layout_py},
        {"layout.R", print_layout_r},
    };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (argc == 2 && strcmp(argv[1], parts[i].name) == 0) {
            parts[i].print();
            return 0;
        }
    }
    fprintf(stderr, "usage: generate conf|conf.5|layout.py|layout.R\n");
    return 2;
}
