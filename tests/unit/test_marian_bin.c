/* test_marian_bin.c - Marian's binaries, their options and their shortlists: what comes out of good ones, and
 * that no bytes can do harm. */
#include "tests/unit/hostile_table.h"
#include "tests/unit/suite.h"

#define HOSTILE TESTS_DIR "/hostile/marian/"

static int open_and_look(struct bytes *b, const char *name, struct error *e)
{
    struct tensor_file *f = NULL;
    json_t *config = NULL;
    if (strncmp(name, "lex-", 4) == 0 ? shortlist_open_take(b, &f, e) : marian_open_take(b, &f, &config, e))
        return -1;
    look_at_tensors(f->source);
    json_decref(config);
    f->close(f);
    return 0;
}

START_TEST(hostile_files_end_as_the_table_says)
{
    hostile_run_table(open_and_look, TESTS_DIR "/hostile/marian", 50);
}
END_TEST

START_TEST(published_hostile_files_are_refused)
{
    hostile_run_published(open_and_look, "marian", "", 5);
}
END_TEST

START_TEST(a_file_cut_anywhere_is_an_error)
{
    hostile_cut(open_and_look, HOSTILE "good.bin", "good");
    hostile_cut(open_and_look, HOSTILE "lex-good.bin", "lex-good");
}
END_TEST

START_TEST(no_changed_byte_does_harm)
{
    hostile_flip(open_and_look, HOSTILE "good.bin", "good");
    hostile_flip(open_and_look, HOSTILE "good-yaml.bin", "good-yaml");
    hostile_flip(open_and_look, HOSTILE "lex-good.bin", "lex-good");
}
END_TEST

/* ---- a file made here ------------------------------------------------------------------------------ */

struct item {
    const char *name;
    uint64_t type;
    int32_t in, out;
    float multiplier; /* of intgemm8 */
};

enum { FLOAT32 = 0x0404, INTGEMM8 = 0x4101 };

static const struct item items[] = {
    {"Wemb", INTGEMM8, 5, 64, 150},     /* rows of words */
    {"l1_W", INTGEMM8, 96, 3, 300},     /* comes out transposed, whole blocks */
    {"l1_V", INTGEMM8, 20, 4, 100},     /* comes out transposed, no whole blocks */
    {"l1_U", INTGEMM8, 64, 2, 1000000}, /* a scale that f16 does not hold well */
    {"l1_b", FLOAT32, 1, 3, 0},         {"l1_M", FLOAT32, 4, 3, 0},
};
enum { ITEMS = sizeof items / sizeof items[0] };

static size_t elements_of(const struct item *x)
{
    return (size_t)(x->in * x->out);
}

static int8_t weight(size_t item, size_t i)
{
    return (int8_t)((i * 37 + item * 11) % 255 - 127);
}

static size_t data_bytes(const struct item *x)
{
    size_t n = elements_of(x);
    return ((x->type == INTGEMM8 ? n + 4 : 4 * n) + 255) & ~(size_t)255;
}

static void add_u64(struct buf *b, uint64_t value)
{
    buf_add(b, &value, sizeof value);
}

static void add_data(struct buf *b, size_t index)
{
    const struct item *x = &items[index];
    size_t end = b->len + data_bytes(x);
    for (size_t i = 0; i < elements_of(x); i++) {
        int8_t q = weight(index, i);
        float value = q;
        buf_add(b, x->type == INTGEMM8 ? (void *)&q : (void *)&value, x->type == INTGEMM8 ? 1 : 4);
    }
    if (x->type == INTGEMM8)
        buf_add(b, &x->multiplier, 4);
    while (b->len < end)
        buf_add(b, "", 1);
}

static void make_file(struct buf *b)
{
    buf_init(b, 1 << 20);
    add_u64(b, 1);
    add_u64(b, ITEMS);
    for (size_t i = 0; i < ITEMS; i++) {
        add_u64(b, strlen(items[i].name) + 1);
        add_u64(b, items[i].type);
        add_u64(b, 2);
        add_u64(b, data_bytes(&items[i]));
    }
    for (size_t i = 0; i < ITEMS; i++)
        buf_add(b, items[i].name, strlen(items[i].name) + 1);
    for (size_t i = 0; i < ITEMS; i++) {
        buf_add(b, &items[i].in, 4);
        buf_add(b, &items[i].out, 4);
    }
    add_u64(b, 5);
    buf_add(b, "\0\0\0\0", 5);
    for (size_t i = 0; i < ITEMS; i++)
        add_data(b, i);
}

static struct tensor_file *open_made(struct buf *b)
{
    struct error e = {0};
    struct bytes *bytes = NULL;
    struct tensor_file *f = NULL;
    json_t *config = NULL;
    make_file(b);
    ck_assert_int_eq(bytes_open_memory(b->data, b->len, &bytes, &e), 0);
    ck_assert_msg(marian_open_take(bytes, &f, &config, &e) == 0, "%s", e.text);
    ck_assert_ptr_null(config);
    return f;
}

static const struct tensor_info *expect(const struct tensor_source *s, const char *name, enum dtype dtype,
                                        uint64_t columns, uint64_t rows)
{
    const struct tensor_info *t = s->find(s, name);
    ck_assert_msg(t != NULL, "there is no %s", name);
    ck_assert_int_eq(t->dtype, dtype);
    ck_assert_uint_eq(t->dims[0], columns);
    ck_assert_uint_eq(t->dims[1], rows);
    return t;
}

START_TEST(shapes_and_types_are_as_documented)
{
    struct buf b;
    struct tensor_file *f = open_made(&b);
    const struct tensor_source *s = f->source;
    expect(s, "Wemb", DTYPE_Q8_0, 64, 5);
    expect(s, "l1_W", DTYPE_Q8_0, 96, 3);
    expect(s, "l1_V", DTYPE_F32, 20, 4);
    expect(s, "l1_U", DTYPE_F32, 64, 2);
    ck_assert_uint_eq(expect(s, "l1_b", DTYPE_F32, 3, 1)->n_dims, 1);
    expect(s, "l1_M", DTYPE_F32, 3, 4);
    ck_assert_uint_eq(s->count, ITEMS + 4);
    ck_assert_ptr_null(s->find(s, "l1_b.multiplier"));
    f->close(f);
    buf_free(&b);
}
END_TEST

/* As floats, whatever the tensor's type; the caller frees. */
static float *read_floats(const struct tensor_source *s, const struct tensor_info *t, size_t n)
{
    struct error e = {0};
    unsigned char *data = malloc(t->bytes), *piece = malloc(t->bytes);
    float *values = malloc(n * sizeof *values);
    ck_assert_int_eq(s->read(s, t, 0, data, t->bytes, &e), 0);
    for (size_t at = 0; at < t->bytes; at += 13) {
        size_t len = t->bytes - at < 50 ? t->bytes - at : 50;
        ck_assert_int_eq(s->read(s, t, at, piece, len, &e), 0);
        ck_assert_msg(memcmp(piece, data + at, len) == 0, "%s: %zu bytes at %zu", t->name, len, at);
    }
    dtype_to_f32(t->dtype, data, n, values);
    free(data);
    free(piece);
    return values;
}

START_TEST(values_are_weights_over_the_multiplier)
{
    struct buf b;
    struct tensor_file *f = open_made(&b);
    for (size_t k = 0; k < ITEMS; k++) {
        const struct item *x = &items[k];
        const struct tensor_info *t = f->source->find(f->source, x->name);
        float *values = read_floats(f->source, t, elements_of(x));
        for (size_t i = 0; i < elements_of(x); i++) {
            float q = weight(k, i), want = x->type == INTGEMM8 ? q / x->multiplier : q;
            if (t->dtype == DTYPE_Q8_0)
                want = q * f16_to_f32(f32_to_f16(1 / x->multiplier));
            ck_assert_msg(values[i] == want, "%s[%zu] is %g, not %g", x->name, i, (double)values[i],
                          (double)want);
        }
        free(values);
    }
    f->close(f);
    buf_free(&b);
}
END_TEST

START_TEST(the_exact_multiplier_is_a_tensor)
{
    struct buf b;
    struct tensor_file *f = open_made(&b);
    const struct tensor_info *t = f->source->find(f->source, "l1_W.multiplier");
    struct error e = {0};
    float value;
    ck_assert_ptr_nonnull(t);
    ck_assert_uint_eq(t->bytes, 4);
    ck_assert_int_eq(f->source->read(f->source, t, 0, &value, 4, &e), 0);
    ck_assert_float_eq(value, 300);
    f->close(f);
    buf_free(&b);
}
END_TEST

START_TEST(the_shortlist_is_three_tensors)
{
    struct error e = {0};
    struct bytes *b = NULL;
    struct tensor_file *f = NULL;
    int64_t offsets[3];
    int32_t entries[3], frequent;
    ck_assert_int_eq(bytes_open_file(HOSTILE "lex-good.bin", &b, &e), 0);
    ck_assert_msg(shortlist_open_take(b, &f, &e) == 0, "%s", e.text);
    const struct tensor_source *s = f->source;
    ck_assert_int_eq(s->read(s, s->find(s, "shortlist.offsets"), 0, offsets, sizeof offsets, &e), 0);
    ck_assert_int_eq(s->read(s, s->find(s, "shortlist.entries"), 0, entries, sizeof entries, &e), 0);
    ck_assert_int_eq(s->read(s, s->find(s, "shortlist.frequent"), 0, &frequent, sizeof frequent, &e), 0);
    ck_assert(offsets[0] == 0 && offsets[1] == 1 && offsets[2] == 3);
    ck_assert(entries[0] == 5 && entries[1] == 6 && entries[2] == 7);
    ck_assert_int_eq(frequent, 4);
    f->close(f);
}
END_TEST

/* ---- options --------------------------------------------------------------------------------------- */

static const char *const options[][2] = {
    {"", "{}"},
    {"---\na: 1\n...\n", "{\"a\":\"1\"}"},
    {"a: 1\nb: two words # a remark\n", "{\"a\":\"1\",\"b\":\"two words\"}"},
    {"a:\n  - 1\n  - 2\nb: x\n", "{\"a\":\"1 2\",\"b\":\"x\"}"},
    {"a:\n- 1\n- 2\n", "{\"a\":\"1 2\"}"},
    {"a: [1, 2, 'c d']\nb: []\n", "{\"a\":\"1 2 c d\",\"b\":\"\"}"},
    {"a: \"\"\nb: 'x: y'\nc: \"# no remark\"\n", "{\"a\":\"\",\"b\":\"x: y\",\"c\":\"# no remark\"}"},
    {"a: x:y\r\nb: v1.9 2021-04-28 00:28:35 +0100\r\n",
     "{\"a\":\"x:y\",\"b\":\"v1.9 2021-04-28 00:28:35 +0100\"}"},
    {"# nothing\n\n  # more\na: w\xc3\xb6rld", "{\"a\":\"w\xc3\xb6rld\"}"},
};

START_TEST(options_are_texts)
{
    struct error e = {0};
    json_t *got = NULL, *want = NULL;
    const char *text = options[_i][0];
    ck_assert_msg(marian_yaml_read(text, strlen(text), &got, &e) == 0, "%s", e.text);
    ck_assert_int_eq(json_parse(options[_i][1], strlen(options[_i][1]), &want, &e), 0);
    ck_assert_msg(json_equal(got, want), "%s gave %s", text, json_dumps(got, 0));
    json_decref(got);
    json_decref(want);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("marian_bin");
    TCase *tc = tcase_create("marian_bin");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, hostile_files_end_as_the_table_says);
    tcase_add_test(tc, published_hostile_files_are_refused);
    tcase_add_test(tc, a_file_cut_anywhere_is_an_error);
    tcase_add_test(tc, no_changed_byte_does_harm);
    tcase_add_test(tc, shapes_and_types_are_as_documented);
    tcase_add_test(tc, values_are_weights_over_the_multiplier);
    tcase_add_test(tc, the_exact_multiplier_is_a_tensor);
    tcase_add_test(tc, the_shortlist_is_three_tensors);
    tcase_add_loop_test(tc, options_are_texts, 0, (int)(sizeof options / sizeof options[0]));
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
