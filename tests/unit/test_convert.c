/* test_convert.c - engine_convert(): what is written is read back as the same model, and a file appears whole
 * or not at all.  With LOQUAT_CONFORMANCE every published checkpoint there goes through GGUF and safetensors.
 */
#include <dirent.h>
#include <ftw.h>
#include <math.h>
#include <sys/stat.h>

#include "engine/models/names.h"
#include "tests/golden/jobs.h"
#include "tests/unit/suite.h"
#include "tests/unit/vocabulary.h"

#define TINY TESTS_DIR "/golden/models/tiny-llama.gguf"

static char root[256];

static void make_root(void)
{
    snprintf(root, sizeof root, "%s/loquat-convert-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_root(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static void convert_good(const char *src, const char *dst, const char *type)
{
    struct error e = {0};
    const struct engine_convert_options o = {.type = type, .replace = true};
    ck_assert_msg(engine_convert(src, dst, &o, &e) == 0, "%s", e.text);
}

static size_t count_entries(void)
{
    DIR *d = opendir(root);
    size_t n = 0;
    ck_assert_ptr_nonnull(d);
    for (struct dirent *entry = readdir(d); entry; entry = readdir(d))
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(d);
    return n;
}

/* ---- two checkpoints, in GGUF's words ---------------------------------------------------------- */

struct opened {
    struct checkpoint *file, *adopted;
};

static struct opened open_adopted(const char *path)
{
    struct opened o = {NULL, NULL};
    const struct arch *arch;
    struct error e = {0};
    ck_assert_msg(checkpoint_open(path, &o.file, &e) == 0, "%s", e.text);
    ck_assert_msg(names_adopt(o.file, &o.adopted, &arch, &e) == 0, "%s: %s", path, e.text);
    return o;
}

static void close_opened(struct opened *o)
{
    checkpoint_close(o->adopted);
    checkpoint_close(o->file);
}

static float *read_floats(const struct checkpoint *c, const struct tensor_info *t, size_t *n)
{
    const struct dtype_row *row = dtype_row(t->dtype);
    struct error e = {0};
    void *raw = malloc(t->bytes);
    *n = t->bytes / row->block_bytes * row->block_values;
    float *values = malloc(*n * sizeof *values);
    ck_assert(raw && values);
    ck_assert_msg(c->tensors->read(c->tensors, t, 0, raw, t->bytes, &e) == 0, "%s", e.text);
    dtype_to_f32(t->dtype, raw, *n, values);
    free(raw);
    return values;
}

/* Largest difference of any value, relative to the largest value of its tensor. */
static float compare_tensors(const struct checkpoint *a, const struct checkpoint *b, const char *what)
{
    float worst = 0;
    ck_assert_uint_eq(a->tensors->count, b->tensors->count);
    for (size_t i = 0; i < a->tensors->count; i++) {
        const struct tensor_info *x = &a->tensors->tensors[i], *y = b->tensors->find(b->tensors, x->name);
        ck_assert_msg(y != NULL, "%s: %s is lost", what, x->name);
        ck_assert_uint_eq(x->n_dims, y->n_dims);
        ck_assert_int_eq(memcmp(x->dims, y->dims, sizeof x->dims), 0);
        size_t n, m;
        float *v = read_floats(a, x, &n), *w = read_floats(b, y, &m), largest = 0, difference = 0;
        ck_assert_uint_eq(n, m);
        for (size_t k = 0; k < n; k++) {
            largest = fmaxf(largest, fabsf(v[k]));
            if (v[k] != w[k]) /* infinities are equal, and have no difference */
                difference = fmaxf(difference, fabsf(v[k] - w[k]));
        }
        worst = fmaxf(worst, largest > 0 ? difference / largest : difference);
        free(v);
        free(w);
    }
    return worst;
}

static bool same_value(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return (float)json_number_value(a) == (float)json_number_value(b);
    if (json_is_array(a) && json_is_array(b)) {
        bool same = json_array_size(a) == json_array_size(b);
        for (size_t i = 0; same && i < json_array_size(a); i++)
            same = same_value(json_array_get(a, i), json_array_get(b, i));
        return same;
    }
    return json_equal(a, b);
}

static void compare_configs(const struct checkpoint *a, const struct checkpoint *b, const char *what)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)a->config, key, value)
    {
        const json_t *other = json_object_get(b->config, key);
        if (strncmp(key, "general.", 8) == 0 || strncmp(key, "tokenizer.", 10) == 0 || json_is_null(value) ||
            json_is_object(value))
            continue;
        ck_assert_msg(other && same_value(value, other), "%s: %s is not the same", what, key);
    }
    ck_assert_str_eq(a->architecture, b->architecture);
    ck_assert((a->source_language == NULL) == (b->source_language == NULL));
    if (a->source_language)
        ck_assert_str_eq(a->source_language, b->source_language);
    ck_assert((a->chat_template == NULL) == (b->chat_template == NULL));
    if (a->chat_template)
        ck_assert_str_eq(a->chat_template, b->chat_template);
}

/* The last ones have no character that a small vocabulary lacks. */
static const char *const samples[] = {
    ("Hello world, 1234 apples!  Caf\xC3\xA9 na\xC3\xAFve \xE4\xBD\xA0\xE5\xA5\xBD <s> [MASK] "
     "don't </s>\n\tThe quick brown fox."),
    "The cat sat on the mat.\nHello", "abc de", "hello"};

/* The same ids, or the same error. */
static bool same_ids(const struct tokenizer *a, const struct tokenizer *b, const char *text, unsigned flags,
                     bool *some)
{
    struct token_list x = {0}, y = {0};
    struct error e = {0}, f = {0};
    int first = tokenizer_encode(a, text, strlen(text), flags, NULL, 0, &x, &e);
    int second = tokenizer_encode(b, text, strlen(text), flags, NULL, 0, &y, &f);
    bool same = first == second && strcmp(e.text, f.text) == 0 && x.n == y.n;
    if (same && x.n)
        same = memcmp(x.ids, y.ids, x.n * sizeof *x.ids) == 0;
    *some = *some || (first == 0 && x.n > 0);
    token_list_free(&x);
    token_list_free(&y);
    return same;
}

static void compare_encodings(const struct checkpoint *a, const struct checkpoint *b, const char *what)
{
    struct tokenizer *x = NULL, *y = NULL;
    struct error e = {0};
    bool some = false;
    ck_assert_msg(tokenizer_create(a->tokenizer, &x, &e) == 0, "%s: %s", what, e.text);
    ck_assert_msg(tokenizer_create(b->tokenizer, &y, &e) == 0, "%s: %s", what, e.text);
    for (unsigned flags = 0; flags < 4; flags++) {
        for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++)
            ck_assert_msg(same_ids(x, y, samples[i], flags, &some), "%s: the tokenizer cuts otherwise", what);
    }
    ck_assert_msg(some, "%s: no sample could be cut", what);
    tokenizer_free(x);
    tokenizer_free(y);
}

static void compare_tokenizers(const struct checkpoint *a, const struct checkpoint *b, const char *what)
{
    ck_assert((a->tokenizer == NULL) == (b->tokenizer == NULL));
    if (!a->tokenizer)
        return;
    compare_encodings(a, b, what);
    const struct tokenizer_spec *x = a->tokenizer, *y = b->tokenizer;
    const int32_t special[][2] = {{x->bos, y->bos}, {x->eos, y->eos}, {x->eot, y->eot}, {x->unk, y->unk},
                                  {x->sep, y->sep}, {x->pad, y->pad}, {x->cls, y->cls}, {x->mask, y->mask}};
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
        ck_assert_msg(special[i][0] == special[i][1], "%s: special token %zu is not the same", what, i);
    ck_assert_str_eq(x->model, y->model);
    ck_assert_uint_eq(x->n_added, y->n_added);
    ck_assert_uint_ge(y->n_tokens, x->n_tokens); /* a GGUF has as many as the model has rows */
    for (size_t i = 0; i < x->n_tokens; i++) {
        ck_assert_msg(x->tokens[i].type == y->tokens[i].type, "%s: token %zu has another type", what, i);
        ck_assert_msg(x->tokens[i].type == TOKEN_UNUSED ||
                          (x->tokens[i].len == y->tokens[i].len &&
                           memcmp(x->tokens[i].text, y->tokens[i].text, x->tokens[i].len) == 0),
                      "%s: token %zu has another text", what, i);
    }
}

static float compare_files(const char *src, const char *dst)
{
    struct opened a = open_adopted(src), b = open_adopted(dst);
    float worst = compare_tensors(a.adopted, b.adopted, src);
    compare_configs(a.adopted, b.adopted, src);
    compare_tokenizers(a.adopted, b.adopted, src);
    close_opened(&a);
    close_opened(&b);
    return worst;
}

/* ---- tests --------------------------------------------------------------------------------------- */

static const char *const targets[] = {"out.gguf", "out.safetensors"};

START_TEST(what_is_written_is_read_back_the_same)
{
    const char *dst = path_of(targets[_i]);
    convert_good(TINY, dst, NULL);
    ck_assert(compare_files(TINY, dst) == 0);
    convert_good(dst, path_of("again.gguf"), NULL); /* and once more from there */
    ck_assert(compare_files(dst, path_of("again.gguf")) == 0);
}
END_TEST

static struct engine_model *load(struct engine *engine, const char *name, const char *path)
{
    struct engine_model *m = NULL;
    struct error e = {0};
    const struct engine_model_options o = {.kv_type = "f32"};
    ck_assert_msg(engine_load(engine, name, path, &o, &m, &e) == 0, "%s", e.text);
    return m;
}

static struct told *generate(struct engine *engine, struct engine_model *m)
{
    static const int32_t prompt[] = {1, 5, 9, 17, 3};
    struct told *t = told_create(prompt, sizeof prompt / sizeof prompt[0]);
    t->job.max_tokens = 12;
    t->job.choices = 1;
    t->job.logprobs = true;
    t->job.ignore_eos = true;
    engine_sampling_init(&t->job.sampling);
    job_start(engine, m, t);
    job_wait(t);
    return t;
}

START_TEST(the_model_computes_the_same_numbers)
{
    struct engine_options o;
    struct engine *engine = NULL;
    struct error e = {0};
    const char *dst = path_of(targets[_i]);
    const char *base = path_of("base.gguf");
    convert_good(TINY, base, "f32");
    convert_good(base, dst, NULL);
    engine_options_init(&o);
    o.threads = 1;
    o.kernels = "scalar";
    o.kv_memory = 64 << 20;
    ck_assert_msg(engine_open(&o, &engine, &e) == 0, "%s", e.text);
    struct told *a = generate(engine, load(engine, "a", base)), *b = generate(engine, load(engine, "b", dst));
    ck_assert_uint_eq(a->choices[0].n, 12);
    ck_assert_uint_eq(b->choices[0].n, 12);
    for (size_t i = 0; i < 12; i++) {
        ck_assert_int_eq(a->choices[0].tokens[i].id, b->choices[0].tokens[i].id);
        ck_assert(a->choices[0].tokens[i].logprob == b->choices[0].tokens[i].logprob);
    }
    told_free(a);
    told_free(b);
    engine_close(engine);
}
END_TEST

START_TEST(matrices_become_what_is_asked_and_vectors_stay)
{
    static const struct {
        const char *type;
        enum dtype dtype;
        float error; /* of a value, relative to the largest of its tensor */
    } rows[] = {{"f32", DTYPE_F32, 0},        {"F16", DTYPE_F16, 0.0005F}, {"bf16", DTYPE_BF16, 0.004F},
                {"q8_0", DTYPE_Q8_0, 0.005F}, {"q5_1", DTYPE_Q5_1, 0.04F}, {"q5_0", DTYPE_Q5_0, 0.07F},
                {"Q4_1", DTYPE_Q4_1, 0.07F},  {"q4_0", DTYPE_Q4_0, 0.14F}};
    const char *dst = path_of("out.gguf");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        convert_good(TINY, dst, rows[i].type);
        struct opened a = open_adopted(TINY), b = open_adopted(dst);
        float worst = compare_tensors(a.adopted, b.adopted, rows[i].type);
        ck_assert_msg(worst <= rows[i].error, "%s: %g", rows[i].type, (double)worst);
        ck_assert(dtype_row(rows[i].dtype)->block_values == 1 || rows[i].dtype == DTYPE_Q8_0 || worst > 0);
        for (size_t k = 0; k < b.file->tensors->count; k++) {
            const struct tensor_info *t = &b.file->tensors->tensors[k];
            bool fits = t->dims[0] % dtype_row(rows[i].dtype)->block_values == 0;
            enum dtype wanted = t->n_dims == 1 ? DTYPE_F32 : fits ? rows[i].dtype : DTYPE_F16;
            ck_assert_msg(t->dtype == wanted, "%s as %s", t->name, dtype_row(t->dtype)->name);
        }
        close_opened(&a);
        close_opened(&b);
    }
}
END_TEST

static void assert_refused(const char *src, const char *dst, const struct engine_convert_options *o,
                           const char *words)
{
    struct error e = {0};
    ck_assert_int_eq(engine_convert(src, dst, o, &e), -1);
    ck_assert_msg(strstr(e.text, words) != NULL, "%s\nshould hold: %s", e.text, words);
}

START_TEST(a_file_that_is_there_stays_unless_asked)
{
    const struct engine_convert_options none = {.type = NULL}, replace = {.replace = true};
    struct error e = {0};
    const char *dst = path_of("out.gguf");
    FILE *f = fopen(dst, "w");
    ck_assert_ptr_nonnull(f);
    fputs("precious", f);
    fclose(f);
    assert_refused(TINY, dst, &none, "exists already");
    size_t len;
    char *text = read_file(dst, &len);
    ck_assert_str_eq(text, "precious");
    free(text);
    ck_assert_msg(engine_convert(TINY, dst, &replace, &e) == 0, "%s", e.text);
    ck_assert(compare_files(TINY, dst) == 0);
    ck_assert_uint_eq(count_entries(), 1);
    ck_assert_int_eq(mkdir(path_of("folder.gguf"), 0777), 0);
    assert_refused(TINY, path_of("folder.gguf"), &replace, "is no file");
}
END_TEST

struct countdown {
    int left;
};

static bool stop_soon(void *user)
{
    struct countdown *c = user;
    return c->left-- <= 0;
}

START_TEST(an_interrupted_run_leaves_nothing)
{
    for (int pieces = 0; pieces < 5; pieces++) {
        struct countdown c = {pieces};
        const struct engine_convert_options o = {.replace = _i == 1, .stop = stop_soon, .user = &c};
        assert_refused(TINY, path_of("out.gguf"), &o, "interrupted");
        ck_assert_uint_eq(count_entries(), 0);
    }
}
END_TEST

START_TEST(what_cannot_be_written_is_said)
{
    const struct engine_convert_options none = {.type = NULL}, odd = {.type = "q9"},
                                        blocks = {.type = "q8_0"};
    assert_refused(TINY, path_of("out.bin"), &none, "must end with .gguf or .safetensors");
    assert_refused(TINY, path_of("out.gguf"), &odd, "'q9' can't be written to a .gguf file (F32, F16, BF16");
    assert_refused(TINY, path_of("out.safetensors"), &blocks,
                   "'q8_0' can't be written to a .safetensors file");
    assert_refused(TINY, path_of("no/such/folder.gguf"), &none, "No such file");
    assert_refused(path_of("nothing"), path_of("out.gguf"), &none, "No such file");
    ck_assert_uint_eq(count_entries(), 0);
}
END_TEST

static void count_lines(void *user, const char *line)
{
    ck_assert_ptr_nonnull(strstr(line, " stays F16: its rows of "));
    ++*(size_t *)user;
}

START_TEST(rows_that_are_no_multiple_of_the_block_are_listed)
{
    struct opened a = open_adopted(TINY);
    size_t odd = 0, said = 0;
    for (size_t i = 0; i < a.file->tensors->count; i++) {
        const struct tensor_info *t = &a.file->tensors->tensors[i];
        odd += t->n_dims > 1 && t->dims[0] % 32 != 0;
    }
    close_opened(&a);
    struct error e = {0};
    const struct engine_convert_options o = {.type = "q8_0", .say = count_lines, .user = &said};
    ck_assert_msg(engine_convert(TINY, path_of("out.gguf"), &o, &e) == 0, "%s", e.text);
    ck_assert_uint_eq(said, odd);
}
END_TEST

START_TEST(every_published_checkpoint_survives)
{
    if (skip_without("LOQUAT_CONFORMANCE", "published checkpoints"))
        return;
    char models[512], path[1024];
    size_t n = 0;
    snprintf(models, sizeof models, "%s/models", getenv("LOQUAT_CONFORMANCE"));
    DIR *d = opendir(models);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *entry = readdir(d); entry; entry = readdir(d)) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "hostile") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", models, entry->d_name);
        const char *dst = path_of(targets[_i]);
        convert_good(path, dst, NULL);
        ck_assert_msg(compare_files(path, dst) == 0, "%s: weights differ", path);
        n++;
    }
    closedir(d);
    ck_assert_uint_gt(n, 40);
}
END_TEST

static Suite *make_suite(void)
{
    Suite *s = suite_create("convert");
    TCase *t = tcase_create("convert");
    tcase_set_timeout(t, 240);
    tcase_add_checked_fixture(t, make_root, remove_root);
    tcase_add_loop_test(t, what_is_written_is_read_back_the_same, 0, 2);
    tcase_add_loop_test(t, the_model_computes_the_same_numbers, 0, 2);
    tcase_add_test(t, matrices_become_what_is_asked_and_vectors_stay);
    tcase_add_test(t, a_file_that_is_there_stays_unless_asked);
    tcase_add_loop_test(t, an_interrupted_run_leaves_nothing, 0, 2);
    tcase_add_test(t, what_cannot_be_written_is_said);
    tcase_add_test(t, rows_that_are_no_multiple_of_the_block_are_listed);
    tcase_add_loop_test(t, every_published_checkpoint_survives, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(make_suite());
}
