/* test_ngram.c - back-off probabilities of a small model, by hand and by the definition's recursion. */
#include "memory_checkpoint.h"
#include "suite.h"

enum { UNK, BEGIN, END, A, B, VOCABULARY };

/* In no order at all. */
static const int32_t unigrams[] = {A, UNK, B, END, BEGIN};
static const float unigram_logprob[] = {-0.5f, -1.2f, -0.6f, -0.9f, -99},
                   unigram_backoff[] = {-0.2f, 0, -0.1f, 0, -0.3f};
static const int32_t bigrams[] = {B, A, BEGIN, A, A, B};
static const float bigram_logprob[] = {-0.4f, -0.2f, -0.3f}, bigram_backoff[] = {0, -0.15f, -0.25f};
static const int32_t trigrams[] = {A, B, END, BEGIN, A, B};
static const float trigram_logprob[] = {-0.05f, -0.1f};

static const struct tokenizer_spec tokenizer = {
    .model = "word", .n_tokens = VOCABULARY, .bos = BEGIN, .eos = END};

static struct memory_checkpoint *small_model(void)
{
    struct memory_checkpoint *m = memory_create(DIALECT_ARPA, NULL, "{}");
    m->checkpoint.tokenizer = &tokenizer;
    memory_add(m, "ngram.1.tokens", DTYPE_I32, unigrams, 5, 1);
    memory_add(m, "ngram.1.logprob", DTYPE_F32, unigram_logprob, 0, 5);
    memory_add(m, "ngram.1.backoff", DTYPE_F32, unigram_backoff, 0, 5);
    memory_add(m, "ngram.2.tokens", DTYPE_I32, bigrams, 3, 2);
    memory_add(m, "ngram.2.logprob", DTYPE_F32, bigram_logprob, 0, 3);
    memory_add(m, "ngram.2.backoff", DTYPE_F32, bigram_backoff, 0, 3);
    memory_add(m, "ngram.3.tokens", DTYPE_I32, trigrams, 2, 3);
    memory_add(m, "ngram.3.logprob", DTYPE_F32, trigram_logprob, 0, 2);
    return m;
}

/* ---- the definition --------------------------------------------------------------------------------- */

/* The values of an n-gram, or false. */
static bool listed(const int32_t *gram, size_t n, double *logprob, double *backoff)
{
    const int32_t *tokens[] = {unigrams, bigrams, trigrams};
    const float *p[] = {unigram_logprob, bigram_logprob, trigram_logprob},
                *b[] = {unigram_backoff, bigram_backoff};
    const size_t counts[] = {5, 3, 2};
    for (size_t i = 0; i < counts[n - 1]; i++) {
        if (memcmp(tokens[n - 1] + i * n, gram, n * sizeof *gram) == 0) {
            *logprob = (double)p[n - 1][i];
            *backoff = n < 3 ? (double)b[n - 1][i] : 0;
            return true;
        }
    }
    return false;
}

/* log10 p of the last of n tokens after those before it. */
static double definition(const int32_t *gram, size_t n)
{
    double logprob = 0, backoff = 0, unused;
    if (listed(gram, n, &logprob, &unused))
        return logprob;
    ck_assert_uint_gt(n, 1);
    listed(gram, n - 1, &unused, &backoff);
    return backoff + definition(gram + 1, n - 1);
}

/* ---- running ----------------------------------------------------------------------------------------- */

static void run(struct model *m, struct exec *x, size_t at, const int32_t *tokens, size_t n, void *state,
                float *logits)
{
    const struct attention_span span = {.rows = n, .first_position = at};
    uint32_t positions[16], rows[16];
    const struct batch b = {.rows = n,
                            .tokens = tokens,
                            .positions = positions,
                            .spans = &span,
                            .n_spans = 1,
                            .states = &state,
                            .logit_rows = rows,
                            .n_logit_rows = n};
    for (size_t i = 0; i < n; i++) {
        positions[i] = (uint32_t)(at + i);
        rows[i] = (uint32_t)i;
    }
    ck_assert_int_eq(m->arch->forward(m, x, &b), 0);
    ck_assert_int_eq(m->arch->logits(m, x, &b, 0, b.n_logit_rows, logits), 0);
}

static void expect(const float *logits, int32_t word, double log10_value)
{
    ck_assert_double_eq_tol((double)logits[word], log10_value * log(10), 1e-5);
}

START_TEST(probabilities_by_hand)
{
    struct machine x = machine_create();
    struct memory_checkpoint *c = small_model();
    struct model *m = memory_load(c, x.exec, NULL);
    float logits[3 * VOCABULARY];
    void *state = malloc(m->shape.state_bytes);
    memset(state, 0xff, m->shape.state_bytes);
    ck_assert_uint_eq(m->shape.vocabulary, VOCABULARY);
    run(m, x.exec, 0, (int32_t[]){BEGIN, A, B}, 3, state, logits);
    expect(logits, A, -0.2);                           /* <s> a */
    expect(logits, B, -0.3 - 0.6);                     /* backoff(<s>) + b */
    expect(logits + VOCABULARY, B, -0.1);              /* <s> a b */
    expect(logits + VOCABULARY, A, -0.15 - 0.2 - 0.5); /* backoff(<s> a) + backoff(a) + a */
    expect(logits + 2 * VOCABULARY, END, -0.05);       /* a b </s> */
    expect(logits + 2 * VOCABULARY, A, -0.25 - 0.4);   /* backoff(a b) + b a */
    expect(logits + 2 * VOCABULARY, UNK, -0.25 - 0.1 - 1.2);
    for (size_t i = 0; i < 3; i++)
        ck_assert(isinf(logits[i * VOCABULARY + BEGIN]));
    free(state);
    m->arch->free(m);
    memory_free(c);
    machine_free(&x);
}
END_TEST

/* Every word after every context of two words, carried from call to call. */
START_TEST(every_context_follows_the_definition)
{
    struct machine x = machine_create();
    struct memory_checkpoint *c = small_model();
    struct model *m = memory_load(c, x.exec, NULL);
    void *state = malloc(m->shape.state_bytes);
    for (int32_t first = 0; first < VOCABULARY; first++) {
        for (int32_t second = 0; second < VOCABULARY; second++) {
            float logits[VOCABULARY];
            run(m, x.exec, 0, (int32_t[]){END}, 1, state, logits);
            run(m, x.exec, 1, &first, 1, state, logits);
            run(m, x.exec, 2, &second, 1, state, logits);
            for (int32_t word = 0; word < VOCABULARY; word++) {
                if (word != BEGIN)
                    expect(logits, word, definition((int32_t[]){first, second, word}, 3));
            }
        }
    }
    free(state);
    m->arch->free(m);
    memory_free(c);
    machine_free(&x);
}
END_TEST

START_TEST(broken_tables_are_refused)
{
    static const int32_t twice[] = {A, B, B, A, A, B};
    static const float likely[] = {-0.1f, -0.2f, 0.5f};
    const struct {
        size_t tensor;
        const void *data;
        const char *says;
    } cases[] = {{3, twice, "twice"},
                 {6, (const int32_t[]){A, A, VOCABULARY, A, A, A}, "not in the vocabulary"},
                 {4, likely, "log probability of 0.5"},
                 {0, (const int32_t[]){A, A, B, END, UNK}, "unigram of token 3 is there twice"}};
    struct machine x = machine_create();
    struct memory_checkpoint *c = small_model();
    c->data[cases[_i].tensor] = cases[_i].data;
    memory_refused(c, x.exec, cases[_i].says);
    memory_free(c);
    machine_free(&x);
}
END_TEST

/* A word of the tokenizer that the file has no unigram for is all but impossible, and yet has a finite score.
 */
START_TEST(words_without_a_unigram_are_almost_impossible)
{
    struct tokenizer_spec larger = tokenizer;
    struct machine x = machine_create();
    struct memory_checkpoint *c = small_model();
    larger.n_tokens = VOCABULARY + 1;
    c->checkpoint.tokenizer = &larger;
    struct model *m = memory_load(c, x.exec, NULL);
    void *state = malloc(m->shape.state_bytes);
    float logits[VOCABULARY + 1];
    run(m, x.exec, 0, (int32_t[]){END}, 1, state, logits);
    expect(logits, VOCABULARY, -100);
    free(state);
    m->arch->free(m);
    memory_free(c);
    machine_free(&x);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ngram");
    TCase *t = tcase_create("ngram");
    tcase_add_test(t, probabilities_by_hand);
    tcase_add_test(t, every_context_follows_the_definition);
    tcase_add_loop_test(t, broken_tables_are_refused, 0, 4);
    tcase_add_test(t, words_without_a_unigram_are_almost_impossible);
    suite_add_tcase(s, t);
    return suite_run(s);
}
