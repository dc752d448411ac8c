/* sampler.c - see sampler.h.
 * Nothing sorts the vocabulary: candidates are filtered by value first, and top-p sorts only as many of the
 * best as it needs, four times more each round. */
#include "engine/decode/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/limits.h"
#include "engine/decode/grammar.h"
#include "engine/kernels/kernels.h"

enum { TOP_P_FIRST = 64 };

/* Colder than this the division overflows before the answer changes. */
#define GREEDY_BELOW 1e-5f

struct candidate {
    float logit, weight; /* weight: exp(logit - best) */
    int32_t id;
};

struct sampler {
    struct sampler_setup setup; /* prompt is not kept */
    struct engine_sampling options;
    struct engine_logit_bias *bias;
    size_t vocabulary;
    bool penalties;
    bool changes;           /* anything that edits the row */
    uint32_t *output_count; /* (vocabulary), only with penalties */
    bool *in_prompt;
    int32_t *seen; /* distinct ids of prompt and output */
    size_t n_seen;
    struct grammar_state *grammar; /* or NULL */
    int32_t *ends;                 /* with a grammar: the setup's more_ends */
};

void sampler_scratch_free(struct sampler_scratch *s)
{
    free(s->memory);
    s->memory = NULL;
    s->bytes = 0;
}

static void *scratch_take(struct sampler_scratch *s, size_t bytes)
{
    if (s->bytes < bytes) {
        sampler_scratch_free(s);
        s->memory = malloc(bytes);
        s->bytes = s->memory ? bytes : 0;
    }
    return s->memory;
}

static int prepare_penalties(struct sampler *s, const int32_t *prompt, size_t n)
{
    s->output_count = calloc(s->vocabulary, sizeof *s->output_count);
    s->in_prompt = calloc(s->vocabulary, sizeof *s->in_prompt);
    s->seen = calloc(s->vocabulary, sizeof *s->seen);
    if (!s->output_count || !s->in_prompt || !s->seen)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (!s->in_prompt[prompt[i]]) {
            s->in_prompt[prompt[i]] = true;
            s->seen[s->n_seen++] = prompt[i];
        }
    }
    return 0;
}

static int prepare_grammar(struct sampler *s, const struct sampler_setup *setup, struct error *e)
{
    s->ends = malloc((setup->n_more_ends ? setup->n_more_ends : 1) * sizeof *s->ends);
    if (!s->ends)
        return error_no_memory(e);
    if (setup->n_more_ends)
        memcpy(s->ends, setup->more_ends, setup->n_more_ends * sizeof *s->ends);
    s->setup.more_ends = s->ends;
    return grammar_state_create(setup->grammar, &s->grammar, e);
}

int sampler_create(const struct sampler_setup *setup, struct sampler **out, struct error *e)
{
    const struct engine_sampling *options = setup->options;
    struct sampler *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(e);
    s->setup = *setup;
    s->setup.prompt = NULL;
    s->options = *options;
    s->vocabulary = setup->vocabulary;
    s->penalties = options->repetition_penalty != 1.0f || options->presence_penalty != 0.0f ||
                   options->frequency_penalty != 0.0f;
    s->changes = s->penalties || options->n_bias || setup->no_repeat_ngram || setup->n_suppressed;
    if (s->penalties && prepare_penalties(s, setup->prompt, setup->n_prompt) < 0)
        goto fail;
    if (options->n_bias) {
        s->bias = malloc(options->n_bias * sizeof *s->bias);
        if (!s->bias)
            goto fail;
        memcpy(s->bias, options->bias, options->n_bias * sizeof *s->bias);
    }
    s->options.bias = s->bias;
    if (setup->grammar && prepare_grammar(s, setup, e) < 0)
        goto fail;
    *out = s;
    return 0;
fail:
    sampler_free(s);
    return error_no_memory(e);
}

void sampler_free(struct sampler *s)
{
    if (!s)
        return;
    free(s->bias);
    free(s->output_count);
    free(s->in_prompt);
    free(s->seen);
    free(s->ends);
    grammar_state_free(s->grammar);
    free(s);
}

int sampler_error(int32_t token, struct error *e)
{
    if (token == SAMPLER_NO_TOKEN)
        return error_set(e, ERROR_UNSUPPORTED,
                         "no token of the model's vocabulary continues the text as the grammar wants it");
    if (token == SAMPLER_TOO_AMBIGUOUS)
        return error_set(e, ERROR_UNSUPPORTED,
                         "the grammar can be read in too many ways at this point of the text");
    return error_no_memory(e);
}

void sampler_accept(struct sampler *s, int32_t token)
{
    if (s->grammar && token != s->setup.forced_bos)
        grammar_state_accept(s->grammar, token); /* what fails here fails again in the next mask */
    if (!s->penalties)
        return;
    if (s->output_count[token]++ == 0 && !s->in_prompt[token])
        s->seen[s->n_seen++] = token;
}

void sampler_copy(struct sampler *to, const struct sampler *from)
{
    if (!from->penalties)
        return;
    for (size_t i = 0; i < to->n_seen; i++)
        to->output_count[to->seen[i]] = 0;
    for (size_t i = 0; i < from->n_seen; i++) {
        to->seen[i] = from->seen[i];
        to->output_count[from->seen[i]] = from->output_count[from->seen[i]];
    }
    to->n_seen = from->n_seen;
}

bool sampler_done(const struct sampler *s)
{
    return s->grammar && grammar_state_done(s->grammar);
}

static void apply_bias(const struct sampler *s, float *logits)
{
    for (size_t i = 0; i < s->options.n_bias; i++)
        logits[s->options.bias[i].token] += s->options.bias[i].bias;
}

static void apply_penalties(const struct sampler *s, float *logits)
{
    for (size_t i = 0; i < s->n_seen; i++) {
        int32_t id = s->seen[i];
        uint32_t count = s->output_count[id];
        float x = logits[id];
        x = x > 0 ? x / s->options.repetition_penalty : x * s->options.repetition_penalty;
        x -= s->options.frequency_penalty * (float)count;
        x -= count > 0 ? s->options.presence_penalty : 0;
        logits[id] = x;
    }
}

/* Every token that would complete an n-gram which is there already. */
static void ban_ngrams(const struct sampler *s, float *logits, const int32_t *tokens, size_t n)
{
    size_t size = s->setup.no_repeat_ngram;
    if (size == 0 || n < size)
        return;
    const int32_t *begun = tokens + n + 1 - size; /* the size-1 last tokens */
    for (size_t i = 0; i + size <= n; i++) {
        if (memcmp(tokens + i, begun, (size - 1) * sizeof *tokens) == 0)
            logits[tokens[i + size - 1]] = -INFINITY;
    }
}

/* The only token that may follow n tokens, or -1. */
static int32_t forced_token(const struct sampler *s, size_t n)
{
    size_t generated = n - s->setup.n_prompt;
    if (s->setup.forced_eos >= 0 && generated + 1 == s->setup.max_tokens)
        return s->setup.forced_eos;
    return s->setup.forced_bos >= 0 && generated == 0 ? s->setup.forced_bos : -1;
}

static void apply_changes(const struct sampler *s, float *row, const int32_t *tokens, size_t n)
{
    apply_bias(s, row);
    if (s->penalties)
        apply_penalties(s, row);
    ban_ngrams(s, row, tokens, n);
    for (size_t i = 0; i < s->setup.n_suppressed; i++)
        row[s->setup.suppressed[i]] = -INFINITY;
}

/* A number in [0, 1) from 53 bits. */
static double draw(const struct sampler *s, size_t position)
{
    uint64_t h = hash_mix(hash_mix(hash_mix(0x6c6f71756174u, s->options.seed), s->setup.choice), position);
    return (double)(h >> 11) * 0x1p-53;
}

static bool before(const struct candidate *a, const struct candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void swap(struct candidate *a, struct candidate *b)
{
    struct candidate t = *a;
    *a = *b;
    *b = t;
}

/* Moves the k best of c[0 … n) to the front in any order (Hoare's quickselect, median of three). */
static void select_best(struct candidate *c, size_t n, size_t k)
{
    size_t low = 0, high = n;
    while (high - low > 1 && k > low && k < high) {
        size_t middle = low + (high - low) / 2;
        if (before(&c[middle], &c[low]))
            swap(&c[middle], &c[low]);
        if (before(&c[high - 1], &c[low]))
            swap(&c[high - 1], &c[low]);
        if (before(&c[middle], &c[high - 1]))
            swap(&c[middle], &c[high - 1]);
        size_t store = low; /* the pivot waits at high-1 */
        for (size_t i = low; i + 1 < high; i++) {
            if (before(&c[i], &c[high - 1]))
                swap(&c[i], &c[store++]);
        }
        swap(&c[store], &c[high - 1]);
        if (k <= store)
            high = store;
        else
            low = store + 1;
    }
}

static int compare(const void *a, const void *b)
{
    return before(a, b) ? -1 : before(b, a) ? 1 : 0;
}

static double sum_of_weights(const struct candidate *c, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)c[i].weight;
    return sum;
}

/* The smallest set of the best whose share reaches top_p comes to the front, sorted; returns its size. */
static size_t keep_top_p(struct candidate *c, size_t n, double top_p)
{
    double goal = top_p * sum_of_weights(c, n), sum = 0;
    size_t sorted = 0;
    for (size_t k = TOP_P_FIRST; sorted < n; k *= 4) {
        size_t end = k < n ? k : n;
        select_best(c + sorted, n - sorted, end - sorted);
        qsort(c + sorted, end - sorted, sizeof *c, compare);
        for (; sorted < end; sorted++) {
            sum += (double)c[sorted].weight;
            if (sum >= goal)
                return sorted + 1;
        }
    }
    return n;
}

static size_t keep_min_p(struct candidate *c, size_t n, float min_p)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (c[i].weight >= min_p) /* the best has weight 1 */
            c[kept++] = c[i];
    }
    return kept;
}

static size_t fill_candidates(const struct sampler *s, const float *logits, struct candidate *c)
{
    size_t n = 0;
    for (size_t i = 0; i < s->vocabulary; i++) {
        if (logits[i] > -INFINITY) {
            c[n].logit = logits[i] / s->options.temperature;
            c[n].id = (int32_t)i;
            n++;
        }
    }
    return n;
}

static int32_t draw_from(const struct candidate *c, size_t n, double u)
{
    double goal = u * sum_of_weights(c, n), sum = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        sum += (double)c[i].weight;
        if (sum > goal)
            return c[i].id;
    }
    return c[n - 1].id;
}

static int32_t sample(const struct sampler *s, const float *logits, size_t position, struct candidate *c)
{
    const struct engine_sampling *o = &s->options;
    size_t n = fill_candidates(s, logits, c);
    if (n == 0)
        return (int32_t)row_argmax(logits, s->vocabulary);
    if (o->top_k && o->top_k < n) {
        select_best(c, n, o->top_k);
        n = o->top_k;
        qsort(c, n, sizeof *c, compare);
    }
    float best = c[0].logit;
    for (size_t i = 1; i < n; i++)
        best = c[i].logit > best ? c[i].logit : best;
    for (size_t i = 0; i < n; i++)
        c[i].weight = expf(c[i].logit - best);
    if (o->min_p > 0)
        n = keep_min_p(c, n, o->min_p);
    if (o->top_p < 1)
        n = keep_top_p(c, n, (double)o->top_p);
    return draw_from(c, n, draw(s, position));
}

/* ---- grammars ---------------------------------------------------------------------------------- */

static void set_end(uint64_t *bits, int32_t id, bool may_end)
{
    uint64_t bit = UINT64_C(1) << (id % 64);
    bits[id / 64] = may_end ? bits[id / 64] | bit : bits[id / 64] & ~bit;
}

/* What may come, end tokens included.  0 or a number of sampler.h. */
static int32_t find_allowed(const struct sampler *s, uint64_t *bits, size_t words)
{
    bool may_end;
    enum grammar_verdict verdict = grammar_state_mask(s->grammar, bits, words, &may_end);
    if (verdict != GRAMMAR_OK)
        return verdict == GRAMMAR_NO_MEMORY ? SAMPLER_NO_MEMORY : SAMPLER_TOO_AMBIGUOUS;
    if (s->setup.ends) {
        size_t n;
        const int32_t *ends = grammar_state_ends(s->grammar, &n);
        for (size_t i = 0; i < n; i++)
            set_end(bits, ends[i], may_end);
    }
    for (size_t i = 0; i < s->setup.n_more_ends; i++)
        set_end(bits, s->ends[i], may_end);
    for (size_t i = 0; i < words; i++) {
        if (bits[i])
            return 0;
    }
    return SAMPLER_NO_TOKEN;
}

/* -INFINITY for what may not come; false when nothing is left. */
static bool keep_allowed(float *row, size_t n, const uint64_t *bits)
{
    bool left = false;
    for (size_t first = 0; first < n; first += 64) {
        uint64_t word = bits[first / 64];
        size_t end = n - first < 64 ? n - first : 64;
        for (size_t i = 0; i < end && word != UINT64_MAX; i++)
            row[first + i] = word >> i & 1 ? row[first + i] : -INFINITY;
        for (size_t i = 0; i < end && !left && word; i++)
            left = row[first + i] > -INFINITY;
    }
    return left;
}

/* The row as it is to be chosen from, in `row`.  What is banned or biased away may still be all that the
 * grammar leaves: then the grammar has its way. */
static int32_t change_row(const struct sampler *s, const float *logits, const int32_t *tokens, size_t n,
                          float *row, uint64_t *bits)
{
    size_t words = (s->vocabulary + 63) / 64;
    memcpy(row, logits, s->vocabulary * sizeof *row);
    if (s->changes)
        apply_changes(s, row, tokens, n);
    if (!s->grammar)
        return 0;
    int32_t problem = find_allowed(s, bits, words);
    if (problem < 0 || keep_allowed(row, s->vocabulary, bits))
        return problem;
    for (size_t i = 0; i < s->vocabulary; i++)
        row[i] = bits[i / 64] >> (i % 64) & 1 ? (logits[i] > -INFINITY ? logits[i] : -1e30f) : -INFINITY;
    return 0;
}

int32_t sampler_pick(const struct sampler *s, const float *logits, const int32_t *tokens, size_t n,
                     struct sampler_scratch *scratch)
{
    bool greedy = s->options.temperature < GREEDY_BELOW, changes = s->changes || s->grammar;
    int32_t forced = forced_token(s, n);
    if (forced >= 0)
        return forced;
    if (!changes && greedy)
        return (int32_t)row_argmax(logits, s->vocabulary);
    size_t row_bytes = (s->vocabulary * sizeof(float) + 63) & ~(size_t)63,
           bits_bytes = (s->vocabulary + 63) / 64 * 8;
    char *memory = scratch_take(scratch, row_bytes + bits_bytes + s->vocabulary * sizeof(struct candidate));
    if (!memory)
        return SAMPLER_NO_MEMORY;
    float *row = (float *)(void *)memory;
    if (changes) {
        int32_t problem = change_row(s, logits, tokens, n, row, (uint64_t *)(void *)(memory + row_bytes));
        if (problem < 0)
            return problem;
        logits = row;
    }
    if (greedy)
        return (int32_t)row_argmax(logits, s->vocabulary);
    return sample(s, logits, n, (struct candidate *)(void *)(memory + row_bytes + bits_bytes));
}

const float *sampler_scores(const struct sampler *s, const float *logits, float total, const int32_t *tokens,
                            size_t n, struct sampler_scratch *scratch)
{
    float *row = scratch_take(scratch, s->vocabulary * sizeof *row);
    if (!row)
        return NULL;
    int32_t forced = forced_token(s, n);
    for (size_t i = 0; i < s->vocabulary; i++)
        row[i] = forced >= 0 ? -INFINITY : logits[i] - total;
    if (forced >= 0)
        row[forced] = 0;
    else
        apply_changes(s, row, tokens, n);
    return row;
}

void logprobs_of(const struct kernel_set *kernels, const float *logits, size_t vocabulary, unsigned n_top,
                 struct engine_token *token, struct engine_alternative *top)
{
    float total = row_log_sum_exp(kernels, logits, vocabulary);
    unsigned n = 0;
    for (size_t i = 0; i < vocabulary && n_top > 0; i++) {
        if (n == n_top && !(logits[i] > top[n - 1].logprob))
            continue;
        unsigned at = n < n_top ? n++ : n - 1;
        for (; at > 0 && logits[i] > top[at - 1].logprob; at--)
            top[at] = top[at - 1];
        top[at] = (struct engine_alternative){(int32_t)i, logits[i]};
    }
    for (unsigned i = 0; i < n; i++)
        top[i].logprob -= total;
    token->logprob = logits[token->id] - total;
    token->has_logprob = true;
    token->n_top = n;
    token->top = top;
}
