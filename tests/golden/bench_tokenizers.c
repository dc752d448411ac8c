/* bench_tokenizers.c - MB/s of a tokenizer on texts that are easy and on texts made to be hard: one letter,
 * spaces, no spaces at all, mixed scripts, each at 100 kB and 1 MB.  Linear means that both sizes run at
 * about the same rate. Not a test; run it by hand: bench_tokenizers CHECKPOINT... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/engine.h"

enum { SMALL = 100000, LARGE = 1000000 };

static const struct {
    const char *name, *unit;
} texts[] = {
    {"prose", "The old king walked slowly along the river; his dog ran before him, barking at 3 boats.\n"},
    {"one letter", "a"},
    {"spaces", " "},
    {"newlines", "\n"},
    {"digits", "7"},
    {"no spaces", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    {"punctuation", "!?.,;:"},
    {"CJK", "今日は良い天気です"},
    {"mixed scripts",
     "Größe naïve Привет 你好 مرحبا नमस्ते 👩‍👩‍👧 e\xcc\x81 "},
};

static double megabytes_per_second(const struct engine_vocabulary *v, const char *unit, size_t bytes)
{
    struct error e = {0};
    size_t n, len = strlen(unit), copies = bytes / len;
    int32_t *ids;
    char *text = malloc(copies * len + 1);
    for (size_t i = 0; i < copies; i++)
        memcpy(text + i * len, unit, len);
    uint64_t begin = clock_ns();
    int status = engine_tokenize(v, text, copies * len, 0, NULL, 0, &ids, &n, &e);
    double seconds = (double)(clock_ns() - begin) * 1e-9;
    if (status < 0)
        printf("  refused: %s\n", e.text);
    else
        free(ids);
    free(text);
    return (double)(copies * len) * 1e-6 / seconds;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_tokenizers CHECKPOINT...\n");
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        struct engine_vocabulary *v;
        struct error e = {0};
        if (engine_vocabulary_open(argv[i], &v, &e) < 0) {
            fprintf(stderr, "%s\n", e.text);
            return 1;
        }
        printf("%s: MB/s of 100 kB, of 1 MB\n", argv[i]);
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++)
            printf("  %-14s %8.2f %8.2f\n", texts[k].name, megabytes_per_second(v, texts[k].unit, SMALL),
                   megabytes_per_second(v, texts[k].unit, LARGE));
        engine_vocabulary_close(v);
    }
    return 0;
}
