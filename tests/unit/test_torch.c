/* test_torch.c - the reader of PyTorch's files: what it says of good ones, how views come out, and that no
 * bytes can hurt it or make it do anything. */
#include "tests/unit/hostile_table.h"
#include "tests/unit/suite.h"

#define HOSTILE TESTS_DIR "/hostile/pt/"

static struct tensor_file *open_file(const char *path)
{
    struct error e = {0};
    struct bytes *b = NULL;
    struct tensor_file *f = NULL;
    ck_assert_msg(bytes_open_file(path, &b, &e) == 0, "%s: %s", path, e.text);
    ck_assert_msg(torch_open_take(b, &f, &e) == 0, "%s: %s", path, e.text);
    return f;
}

/* The whole tensor; the caller frees. */
static void *read_whole(const struct tensor_source *s, const char *name, const struct tensor_info **out)
{
    struct error e = {0};
    const struct tensor_info *t = s->find(s, name);
    ck_assert_msg(t != NULL, "there is no %s", name);
    void *data = malloc(t->bytes);
    ck_assert_msg(s->read(s, t, 0, data, t->bytes, &e) == 0, "%s: %s", name, e.text);
    *out = t;
    return data;
}

static int open_and_look(struct bytes *b, const char *name, struct error *e)
{
    struct tensor_file *f = NULL;
    if (torch_open_take(b, &f, e) < 0)
        return -1;
    look_at_tensors(f->source);
    if (strncmp(name, "good", 4) == 0) {
        const struct tensor_info *t;
        float *values = read_whole(f->source, "w", &t);
        ck_assert_int_eq(t->dtype, DTYPE_F32);
        ck_assert_uint_eq(t->bytes, 16 * sizeof(float));
        for (size_t i = 0; i < 16; i++)
            ck_assert_msg(values[i] == (float)i, "%s: element %zu is %g", name, i, (double)values[i]);
        free(values);
    }
    f->close(f);
    return 0;
}

START_TEST(hostile_files_end_as_the_table_says)
{
    hostile_run_table(open_and_look, TESTS_DIR "/hostile/pt", 120);
}
END_TEST

START_TEST(published_hostile_files_end_as_their_readme_says)
{
    hostile_run_published(open_and_look, "pt", "path_traversal.pt", 25);
    ck_assert_int_eq(access("HOSTILE_WAS_HERE", F_OK), -1);
}
END_TEST

static const char *const small_files[] = {"good.pt", "good-legacy.pt", "good-zip64.pt", "good-protocol4.pt",
                                          "good-checkpoint.pt"};

START_TEST(a_file_cut_anywhere_is_an_error)
{
    char path[512];
    snprintf(path, sizeof path, HOSTILE "%s", small_files[_i]);
    hostile_cut(open_and_look, path, "cut");
}
END_TEST

START_TEST(no_changed_byte_does_harm)
{
    char path[512];
    snprintf(path, sizeof path, HOSTILE "%s", small_files[_i]);
    hostile_flip(open_and_look, path, "changed");
}
END_TEST

START_TEST(the_format_is_told)
{
    struct tensor_file *zip = open_file(HOSTILE "good.pt"), *legacy = open_file(HOSTILE "good-legacy.pt");
    ck_assert_str_eq(zip->format, "PyTorch zip");
    ck_assert_str_eq(legacy->format, "PyTorch legacy");
    zip->close(zip);
    legacy->close(legacy);
}
END_TEST

START_TEST(names_and_empty_tensors_are_tidied)
{
    struct tensor_file *parallel = open_file(HOSTILE "good-data-parallel.pt");
    ck_assert_uint_eq(parallel->source->count, 2);
    ck_assert_str_eq(parallel->source->tensors[1].name, "b");
    parallel->close(parallel);
    struct tensor_file *empty = open_file(HOSTILE "good-empty-tensor.pt");
    ck_assert_uint_eq(empty->source->count, 1);
    empty->close(empty);
}
END_TEST

/* ---- views: files of one tensor, made here ----------------------------------------------------- */

struct view {
    size_t n_dims, sizes[4], strides[4], offset, elements; /* slowest first; elements of the storage */
};

static void add_number(struct buf *b, size_t n)
{
    uint32_t value = (uint32_t)n;
    buf_add(b, "J", 1);
    buf_add(b, &value, sizeof value);
}

static void add_numbers(struct buf *b, const size_t *values, size_t n)
{
    buf_add(b, "(", 1);
    for (size_t i = 0; i < n; i++)
        add_number(b, values[i]);
    buf_add(b, "t", 1);
}

/* A legacy file: {"w": a view of a ShortStorage whose element i is i * 7919 modulo 2^16}. */
static void make_file(struct buf *b, const struct view *v)
{
    static const char head[] = "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
                               "\x80\2M\xe9\3."
                               "\x80\2}U\x0dlittle_endian\x88s."
                               "\x80\2}U\1wctorch._utils\n_rebuild_tensor_v2\n"
                               "((U\7storagectorch\nShortStorage\nU\0010U\3cpu";
    static const char keys[] = "\x89)tRs.\x80\2]U\0010a.";
    uint64_t elements = v->elements;
    buf_init(b, 1 << 30);
    buf_add(b, head, sizeof head - 1);
    add_number(b, v->elements);
    buf_add(b, "tQ", 2);
    add_number(b, v->offset);
    add_numbers(b, v->sizes, v->n_dims);
    add_numbers(b, v->strides, v->n_dims);
    buf_add(b, keys, sizeof keys - 1);
    buf_add(b, &elements, sizeof elements);
    for (size_t i = 0; i < v->elements; i++) {
        uint16_t value = (uint16_t)(i * 7919);
        buf_add(b, &value, sizeof value);
    }
    ck_assert(!b->failed);
}

/* Element i of the view in row-major order. */
static uint16_t element_of(const struct view *v, size_t i)
{
    size_t at = v->offset;
    for (size_t d = v->n_dims; d-- > 0;) {
        at += i % v->sizes[d] * v->strides[d];
        i /= v->sizes[d];
    }
    return (uint16_t)(at * 7919);
}

static size_t count_of(const struct view *v)
{
    size_t n = 1;
    for (size_t d = 0; d < v->n_dims; d++)
        n *= v->sizes[d];
    return n;
}

/* Any piece, at any byte. */
static void check_pieces(const struct tensor_source *s, const struct tensor_info *t, const uint16_t *expected,
                         unsigned *random)
{
    unsigned char *piece = malloc(t->bytes);
    for (int k = 0; k < 20; k++) {
        struct error e = {0};
        size_t from = (*random = *random * 1664525 + 1013904223) % t->bytes;
        size_t n = (*random = *random * 1664525 + 1013904223) % (t->bytes - from) + 1;
        ck_assert_int_eq(s->read(s, t, from, piece, n, &e), 0);
        ck_assert_msg(memcmp(piece, (const unsigned char *)expected + from, n) == 0, "%zu bytes at %zu", n,
                      from);
    }
    free(piece);
}

static void check_view(const struct view *v, unsigned *random)
{
    struct buf file;
    struct error e = {0};
    struct bytes *b = NULL;
    struct tensor_file *f = NULL;
    const struct tensor_info *t;
    make_file(&file, v);
    ck_assert_int_eq(bytes_open_memory(file.data, file.len, &b, &e), 0);
    ck_assert_msg(torch_open_take(b, &f, &e) == 0, "%s", e.text);
    uint16_t *got = read_whole(f->source, "w", &t);
    ck_assert_uint_eq(t->bytes, 2 * count_of(v));
    ck_assert_int_eq(t->dtype, DTYPE_I16);
    ck_assert_uint_eq(t->n_dims, v->n_dims ? v->n_dims : 1);
    for (size_t d = 0; d < v->n_dims; d++)
        ck_assert_uint_eq(t->dims[d], v->sizes[v->n_dims - 1 - d]);
    size_t n = count_of(v), wrong = 0;
    while (wrong < n && got[wrong] == element_of(v, wrong))
        wrong++;
    ck_assert_msg(wrong == n, "element %zu of %zu is %u", wrong, n, wrong < n ? got[wrong] : 0);
    check_pieces(f->source, t, got, random);
    free(got);
    f->close(f);
    buf_free(&file);
}

static unsigned below(unsigned *random, unsigned n)
{
    *random = *random * 1664525 + 1013904223;
    return (*random >> 8) % n;
}

START_TEST(any_strides_come_out_row_major)
{
    unsigned random = 1;
    for (int round = 0; round < 400; round++) {
        struct view v = {.n_dims = below(&random, 5), .offset = below(&random, 9)};
        v.elements = v.offset + 1 + below(&random, 5);
        for (size_t d = 0; d < v.n_dims; d++) {
            v.sizes[d] = 1 + below(&random, 8);
            v.strides[d] = below(&random, 30);
            v.elements += (v.sizes[d] - 1) * v.strides[d];
        }
        check_view(&v, &random);
    }
}
END_TEST

/* Larger than what is held in memory at once, cut along the rows, the columns and inside a row. */
START_TEST(large_views_are_read_in_parts)
{
    static const struct view views[] = {
        {2, {1500, 1200}, {1, 1500}, 3, 1800010},         /* transposed */
        {2, {3, 1200000}, {1, 3}, 0, 3600000},            /* rows longer than a panel, transposed */
        {2, {1200000, 3}, {1, 1200000}, 0, 3600000},      /* columns as long */
        {2, {1000, 1500}, {1700, 1}, 100, 1700200},       /* cut out of a wider matrix */
        {3, {200, 90, 100}, {100, 20000, 1}, 0, 1800000}, /* permuted */
        {2, {900, 1500}, {0, 1}, 7, 1510},                /* one row repeated */
        {2, {1500, 900}, {1, 0}, 7, 1510},                /* one column repeated */
        {1, {1100000}, {3}, 1, 3300001},
    };
    unsigned random = 5;
    check_view(&views[_i], &random);
}
END_TEST

/* ---- reference data ------------------------------------------------------------------------------ */

static struct tensor_file *open_variant(const char *variant)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/models/torch-rnn-small%s/model.pt", getenv("LOQUAT_CONFORMANCE"),
             variant);
    return open_file(path);
}

START_TEST(one_model_saved_in_many_ways_is_the_same)
{
    static const char *const variants[] = {"-checkpoint", "-dataparallel", "-legacy", "-strided"};
    if (skip_without("LOQUAT_CONFORMANCE", "one model saved in many ways"))
        return;
    struct tensor_file *plain = open_variant(""), *other = open_variant(variants[_i]);
    ck_assert_uint_eq(plain->source->count, 7);
    ck_assert_uint_eq(other->source->count, 7);
    for (size_t i = 0; i < 7; i++) {
        const struct tensor_info *t, *u;
        const char *name = plain->source->tensors[i].name;
        void *a = read_whole(plain->source, name, &t), *b = read_whole(other->source, name, &u);
        ck_assert_uint_eq(t->bytes, u->bytes);
        ck_assert_int_eq(t->dtype, u->dtype);
        ck_assert_msg(memcmp(t->dims, u->dims, sizeof t->dims) == 0, "%s has another shape", name);
        ck_assert_msg(memcmp(a, b, t->bytes) == 0, "%s has other values", name);
        free(a);
        free(b);
    }
    plain->close(plain);
    other->close(other);
}
END_TEST

START_TEST(other_types_hold_the_same_values_rounded)
{
    static const struct {
        const char *variant;
        enum dtype dtype;
    } rows[] = {{"-f64", DTYPE_F64}, {"-f16", DTYPE_F16}, {"-bf16", DTYPE_BF16}};
    if (skip_without("LOQUAT_CONFORMANCE", "one model saved in other types"))
        return;
    struct tensor_file *plain = open_variant(""), *other = open_variant(rows[_i].variant);
    for (size_t i = 0; i < plain->source->count; i++) {
        const struct tensor_info *t, *u;
        const char *name = plain->source->tensors[i].name;
        float *a = read_whole(plain->source, name, &t);
        void *b = read_whole(other->source, name, &u);
        ck_assert_int_eq(u->dtype, rows[_i].dtype);
        for (size_t k = 0; k < t->bytes / sizeof *a; k++) {
            double value;
            if (u->dtype == DTYPE_F64)
                value = ((double *)b)[k] - (double)a[k];
            else if (u->dtype == DTYPE_F16)
                value = (double)((uint16_t *)b)[k] - (double)f32_to_f16(a[k]);
            else
                value = (double)((uint16_t *)b)[k] - (double)f32_to_bf16(a[k]);
            ck_assert_msg(value == 0, "%s[%zu] is off by %g", name, k, value);
        }
        free(a);
        free(b);
    }
    plain->close(plain);
    other->close(other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("torch");
    TCase *tc = tcase_create("torch");
    const int n_small = (int)(sizeof small_files / sizeof small_files[0]);
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, hostile_files_end_as_the_table_says);
    tcase_add_test(tc, published_hostile_files_end_as_their_readme_says);
    tcase_add_loop_test(tc, a_file_cut_anywhere_is_an_error, 0, n_small);
    tcase_add_loop_test(tc, no_changed_byte_does_harm, 0, n_small);
    tcase_add_test(tc, the_format_is_told);
    tcase_add_test(tc, names_and_empty_tensors_are_tidied);
    tcase_add_test(tc, any_strides_come_out_row_major);
    tcase_add_loop_test(tc, large_views_are_read_in_parts, 0, 8);
    tcase_add_loop_test(tc, one_model_saved_in_many_ways_is_the_same, 0, 4);
    tcase_add_loop_test(tc, other_types_hold_the_same_values_rounded, 0, 3);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
