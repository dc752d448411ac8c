/* test_gguf_vocabulary.c - what a GGUF file says of its tokenizer, and what it means when it is silent. */
#include <stdint.h>

#include "tests/unit/vocabulary.h"
#include "tests/unit/suite.h"

enum { U8 = 0, U32 = 4, I32 = 5, BOOLEAN = 7, TEXT = 8, ARRAY = 9 };

/* A GGUF file without tensors, key by key. */
struct file {
    struct buf bytes;
    uint64_t n_keys;
};

static void put_u32(struct file *f, uint32_t value)
{
    buf_add(&f->bytes, &value, sizeof value);
}

static void put_text(struct file *f, const char *text)
{
    uint64_t len = strlen(text);
    buf_add(&f->bytes, &len, sizeof len);
    buf_add(&f->bytes, text, (size_t)len);
}

static void put_key(struct file *f, const char *key, uint32_t type)
{
    put_text(f, key);
    put_u32(f, type);
    f->n_keys++;
}

static void put_array(struct file *f, const char *key, uint32_t type, uint64_t count)
{
    put_key(f, key, ARRAY);
    put_u32(f, type);
    buf_add(&f->bytes, &count, sizeof count);
}

static void key_text(struct file *f, const char *key, const char *value)
{
    put_key(f, key, TEXT);
    put_text(f, value);
}

static void key_u32(struct file *f, const char *key, uint32_t value)
{
    put_key(f, key, U32);
    put_u32(f, value);
}

static void key_bool(struct file *f, const char *key, bool value)
{
    put_key(f, key, BOOLEAN);
    buf_add(&f->bytes, &(char){value}, 1);
}

static const char *const tokens[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁a", "b"};
enum { N_TOKENS = sizeof tokens / sizeof tokens[0] };

static struct file begin(const char *model)
{
    static const uint32_t types[N_TOKENS] = {3, 2, 3, 3, 1, 1};
    struct file f = {.n_keys = 0};
    buf_init(&f.bytes, 1 << 20);
    buf_add(&f.bytes, "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
    key_text(&f, "general.architecture", "any");
    key_text(&f, "tokenizer.ggml.model", model);
    put_array(&f, "tokenizer.ggml.tokens", TEXT, N_TOKENS);
    for (size_t i = 0; i < N_TOKENS; i++)
        put_text(&f, tokens[i]);
    put_array(&f, "tokenizer.ggml.token_type", I32, N_TOKENS);
    for (size_t i = 0; i < N_TOKENS; i++)
        put_u32(&f, types[i]);
    return f;
}

static struct checkpoint *open_file(struct file *f, struct error *e)
{
    struct bytes *b = NULL;
    struct checkpoint *c = NULL;
    ck_assert(!f->bytes.failed);
    memcpy(f->bytes.data + 16, &f->n_keys, sizeof f->n_keys);
    ck_assert_int_eq(bytes_open_memory(f->bytes.data, f->bytes.len, &b, e), 0);
    return gguf_open_take(b, &c, e) == 0 ? c : NULL;
}

static struct checkpoint *open_good(struct file *f)
{
    struct error e = {0};
    struct checkpoint *c = open_file(f, &e);
    ck_assert_msg(c != NULL, "%s", e.text);
    ck_assert_ptr_nonnull(c->tokenizer);
    return c;
}

static void end(struct file *f, struct checkpoint *c)
{
    if (c)
        checkpoint_close(c);
    buf_free(&f->bytes);
}

START_TEST(silence_means_what_the_model_is_used_to)
{
    static const struct {
        const char *model;
        bool add_bos, add_eos, add_space_prefix;
    } habits[] = {{"llama", true, false, true}, {"t5", false, true, false}, {"gpt2", false, false, false}};
    for (size_t i = 0; i < sizeof habits / sizeof habits[0]; i++) {
        struct file f = begin(habits[i].model);
        struct checkpoint *c = open_good(&f);
        const struct tokenizer_spec *t = c->tokenizer;
        ck_assert_int_eq(t->add_bos, habits[i].add_bos);
        ck_assert_int_eq(t->add_eos, habits[i].add_eos);
        ck_assert_int_eq(t->add_space_prefix, habits[i].add_space_prefix);
        ck_assert(!t->remove_extra_whitespaces && !t->sentencepiece && !t->charsmap && !t->post_processor);
        ck_assert_int_eq(t->unk, 1); /* by its type */
        const int32_t absent[] = {t->bos, t->eos, t->eot, t->sep, t->pad, t->cls, t->mask};
        for (size_t k = 0; k < sizeof absent / sizeof absent[0]; k++)
            ck_assert_int_eq(absent[k], -1);
        end(&f, c);
    }
}
END_TEST

START_TEST(what_the_file_says_counts)
{
    struct file f = begin("t5");
    key_bool(&f, "tokenizer.ggml.add_eos_token", false);
    key_bool(&f, "tokenizer.ggml.add_bos_token", true);
    key_bool(&f, "tokenizer.ggml.add_space_prefix", true);
    key_bool(&f, "tokenizer.ggml.remove_extra_whitespaces", true);
    key_u32(&f, "tokenizer.ggml.unknown_token_id", 0);
    key_u32(&f, "tokenizer.ggml.cls_token_id", 2);
    key_u32(&f, "tokenizer.ggml.mask_token_id", 5);
    put_array(&f, "tokenizer.ggml.precompiled_charsmap", U8, 5);
    buf_add(&f.bytes, "\4\0\0\0x", 5);
    struct checkpoint *c = open_good(&f);
    const struct tokenizer_spec *t = c->tokenizer;
    ck_assert(t->add_bos && !t->add_eos && t->add_space_prefix && t->remove_extra_whitespaces);
    ck_assert_int_eq(t->unk, 0);
    ck_assert_int_eq(t->cls, 2);
    ck_assert_int_eq(t->mask, 5);
    ck_assert_uint_eq(t->charsmap_len, 5);
    ck_assert_mem_eq(t->charsmap, "\4\0\0\0x", 5);
    end(&f, c);
}
END_TEST

/* ids of a text, and of a pair with its token types. */
START_TEST(a_classifying_model_puts_texts_between_cls_and_sep)
{
    static const int32_t want[] = {2, 4, 3, 4, 5, 3};
    static const uint8_t types[] = {0, 0, 0, 1, 1, 1};
    for (int older = 0; older < 2; older++) {
        struct file f = begin("bert");
        struct tokenizer *t = NULL;
        struct encoding x;
        struct error e = {0};
        key_u32(&f, older ? "tokenizer.ggml.bos_token_id" : "tokenizer.ggml.cls_token_id", 2);
        key_u32(&f, older ? "tokenizer.ggml.eos_token_id" : "tokenizer.ggml.seperator_token_id", 3);
        struct checkpoint *c = open_good(&f);
        ck_assert_msg(tokenizer_create(c->tokenizer, &t, &e) == 0, "%s", e.text);
        ck_assert_int_eq(tokenizer_encode_pair(t, "A", 1, "\xC3\x81\x62", 3, TOKENIZE_ADD_SPECIAL, &x, &e),
                         0);
        ck_assert_uint_eq(x.n, sizeof want / sizeof want[0]);
        ck_assert_mem_eq(x.ids, want, sizeof want);
        ck_assert_mem_eq(x.types, types, sizeof types);
        encoding_free(&x);
        tokenizer_free(t);
        end(&f, c);
    }
}
END_TEST

START_TEST(a_cased_model_keeps_letters_as_they_are)
{
    struct file f = begin("bert");
    struct tokenizer *t = NULL;
    struct token_list ids = {0};
    struct error e = {0};
    key_bool(&f, "tokenizer.ggml.normalizer.lowercase", false);
    struct checkpoint *c = open_good(&f);
    ck_assert_int_eq(tokenizer_create(c->tokenizer, &t, &e), 0);
    ck_assert_int_eq(tokenizer_encode(t, "A a", 3, 0, NULL, 0, &ids, &e), 0);
    ck_assert_uint_eq(ids.n, 2);
    ck_assert_int_eq(ids.ids[0], 1); /* unknown */
    ck_assert_int_eq(ids.ids[1], 4);
    token_list_free(&ids);
    tokenizer_free(t);
    end(&f, c);
}
END_TEST

static void assert_refused(struct file *f, const char *words)
{
    struct error e = {0};
    struct checkpoint *c = open_file(f, &e);
    ck_assert_msg(c == NULL, "accepted; should say %s", words);
    ck_assert_msg(strstr(e.text, words) != NULL, "%s\nshould hold: %s", e.text, words);
    end(f, c);
}

START_TEST(wrong_values_are_named)
{
    struct file f = begin("bert");
    key_u32(&f, "tokenizer.ggml.cls_token_id", N_TOKENS);
    assert_refused(&f, "cls_token_id");
    f = begin("bert");
    key_u32(&f, "tokenizer.ggml.normalizer.lowercase", 1);
    assert_refused(&f, "normalizer.lowercase must be true or false");
    f = begin("t5");
    key_text(&f, "tokenizer.ggml.precompiled_charsmap", "x");
    assert_refused(&f, "precompiled_charsmap is not an array");
    f = begin("t5");
    put_array(&f, "tokenizer.ggml.precompiled_charsmap", U32, 1);
    put_u32(&f, 0);
    assert_refused(&f, "precompiled_charsmap is not an array of bytes");
    f = begin("t5");
    put_array(&f, "tokenizer.ggml.precompiled_charsmap", U8, 100);
    assert_refused(&f, "precompiled_charsmap");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gguf_vocabulary");
    TCase *tc = tcase_create("gguf_vocabulary");
    tcase_add_test(tc, silence_means_what_the_model_is_used_to);
    tcase_add_test(tc, what_the_file_says_counts);
    tcase_add_test(tc, a_classifying_model_puts_texts_between_cls_and_sep);
    tcase_add_test(tc, a_cased_model_keeps_letters_as_they_are);
    tcase_add_test(tc, wrong_values_are_named);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
