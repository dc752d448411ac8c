/* test_transformer.c - the transformer layer in its variants against a plain reference in double; fused
 * against separate matrices; sequences in pieces and side by side against whole ones; and what decoder-only
 * models refuse. */
#include "memory_checkpoint.h"
#include "suite.h"

#include "engine/models/transformer.h"

enum { SIZE = 8, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 4, FF = 12, TOKENS = 45, SOURCE = 35, PAGES = 2 };
enum { QUERY = HEADS * HEAD_DIM, KV = KV_HEADS * HEAD_DIM };

static const double epsilon = 1e-5;

struct variant {
    const char *name;
    bool rms, norm_after, parallel, own_ff_norm, gate, biases, head_norms, post_norms, rotary, interleaved,
        cross, encoder, relative;
    size_t window;
    enum activation activation;
};

static const struct variant variants[] = {
    {.name = "Llama",
     .rms = true,
     .gate = true,
     .rotary = true,
     .interleaved = true,
     .activation = ACTIVATION_SILU},
    {.name = "Mistral",
     .rms = true,
     .gate = true,
     .rotary = true,
     .window = 7,
     .activation = ACTIVATION_SILU},
    {.name = "Gemma 3",
     .rms = true,
     .gate = true,
     .head_norms = true,
     .post_norms = true,
     .rotary = true,
     .activation = ACTIVATION_GELU_TANH},
    {.name = "GPT-2", .biases = true, .activation = ACTIVATION_GELU_TANH},
    {.name = "GPT-NeoX",
     .biases = true,
     .parallel = true,
     .own_ff_norm = true,
     .rotary = true,
     .activation = ACTIVATION_GELU},
    {.name = "GPT-J", .biases = true, .parallel = true, .rotary = true, .activation = ACTIVATION_GELU},
    {.name = "BART's decoder",
     .norm_after = true,
     .biases = true,
     .cross = true,
     .activation = ACTIVATION_RELU},
    {.name = "T5's decoder", .rms = true, .relative = true, .cross = true, .activation = ACTIVATION_RELU},
    {.name = "BERT", .norm_after = true, .biases = true, .encoder = true, .activation = ACTIVATION_GELU},
    {.name = "T5's encoder",
     .rms = true,
     .gate = true,
     .relative = true,
     .encoder = true,
     .activation = ACTIVATION_GELU_TANH},
    {.name = "an encoder that turns", .rms = true, .gate = true, .rotary = true, .encoder = true},
};
enum { VARIANTS = sizeof variants / sizeof variants[0], BIAS_HALF = 9 };

/* ---- a layer's numbers ------------------------------------------------------------------------------ */

static void add(struct memory_checkpoint *m, const char *part, size_t rows, size_t cols, bool bias)
{
    char name[96];
    uint32_t seed = (uint32_t)m->source.count + 1;
    snprintf(name, sizeof name, "blk.3.%s.weight", part);
    memory_add(m, name, DTYPE_F32, memory_numbers((rows ? rows : 1) * cols, 0.8f, seed), rows, cols);
    snprintf(name, sizeof name, "blk.3.%s.bias", part);
    if (bias)
        memory_add(m, name, DTYPE_F32, memory_numbers(rows ? rows : cols, 0.5f, seed + 100), 0,
                   rows ? rows : cols);
}

static struct memory_checkpoint *make_layer(const struct variant *v)
{
    struct memory_checkpoint *m = memory_create(DIALECT_GGUF, "x", "{}");
    bool b = v->biases;
    add(m, v->norm_after ? "attn_output_norm" : "attn_norm", 0, SIZE, !v->rms);
    add(m, "attn_q", QUERY, SIZE, b);
    add(m, "attn_k", KV, SIZE, b);
    add(m, "attn_v", KV, SIZE, b);
    add(m, v->cross ? "attn_o" : "attn_output", SIZE, QUERY, b);
    if (v->head_norms) {
        add(m, "attn_q_norm", 0, HEAD_DIM, false);
        add(m, "attn_k_norm", 0, HEAD_DIM, false);
    }
    if (v->post_norms) {
        add(m, "post_attention_norm", 0, SIZE, false);
        add(m, "post_ffw_norm", 0, SIZE, false);
    }
    if (v->cross) {
        add(m, "cross_attn_norm", 0, SIZE, !v->rms);
        add(m, "cross_attn_q", QUERY, SIZE, b);
        add(m, "cross_attn_k", KV, SIZE, b);
        add(m, "cross_attn_v", KV, SIZE, b);
        add(m, "cross_attn_o", SIZE, QUERY, b);
    }
    if (!v->parallel || v->own_ff_norm)
        add(m, v->norm_after ? "layer_output_norm" : "ffn_norm", 0, SIZE, !v->rms);
    if (v->gate)
        add(m, "ffn_gate", FF, SIZE, b);
    add(m, "ffn_up", FF, SIZE, b);
    add(m, "ffn_down", SIZE, FF, b);
    return m;
}

static void free_layer(struct memory_checkpoint *m)
{
    for (size_t i = 0; i < m->source.count; i++)
        free((void *)(uintptr_t)m->data[i]);
    memory_free(m);
}

static const float *numbers_of(const struct memory_checkpoint *m, const char *part, const char *kind)
{
    char name[96];
    snprintf(name, sizeof name, "blk.3.%s.%s", part ? part : "", kind);
    const struct tensor_info *t = memory_find(&m->source, name);
    return t ? m->data[t->offset] : NULL;
}

/* (2 * BIAS_HALF + 1) a head */
static float *relative_bias(void)
{
    return memory_numbers(HEADS * (2 * BIAS_HALF + 1), 1, 77);
}

/* ---- reference -------------------------------------------------------------------------------------- */

static double activated(enum activation f, double x)
{
    switch (f) {
    case ACTIVATION_RELU:
        return x > 0 ? x : 0;
    case ACTIVATION_GELU:
        return x * (1 + erf(x / sqrt(2))) / 2;
    case ACTIVATION_GELU_TANH:
        return x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))) / 2;
    case ACTIVATION_SILU:
        return x / (1 + exp(-x));
    default:
        return x;
    }
}

static void reference_norm(const struct memory_checkpoint *m, const char *part, bool rms, size_t width,
                           const double *x, double *out)
{
    const float *scale = numbers_of(m, part, "weight"), *bias = numbers_of(m, part, "bias");
    double mean = 0, square = 0;
    for (size_t i = 0; i < width && !rms; i++)
        mean += x[i] / (double)width;
    for (size_t i = 0; i < width; i++)
        square += (x[i] - mean) * (x[i] - mean) / (double)width;
    for (size_t i = 0; i < width; i++)
        out[i] = (x[i] - mean) / sqrt(square + epsilon) * (double)scale[i] + (bias ? (double)bias[i] : 0);
}

static void reference_linear(const struct memory_checkpoint *m, const char *part, size_t rows, size_t cols,
                             const double *x, double *out)
{
    const float *w = numbers_of(m, part, "weight"), *bias = numbers_of(m, part, "bias");
    for (size_t r = 0; r < rows; r++) {
        out[r] = bias ? (double)bias[r] : 0;
        for (size_t c = 0; c < cols; c++)
            out[r] += (double)w[r * cols + c] * x[c];
    }
}

static void turn(double *x, size_t position, bool interleaved)
{
    for (size_t i = 0; i < HEAD_DIM / 2; i++) {
        double angle = (double)position * pow(100, -2.0 * (double)i / HEAD_DIM);
        double *a = x + (interleaved ? 2 * i : i), *b = x + (interleaved ? 2 * i + 1 : i + HEAD_DIM / 2);
        double turned = *a * cos(angle) - *b * sin(angle);
        *b = *a * sin(angle) + *b * cos(angle);
        *a = turned;
    }
}

static void reference_heads(const struct variant *v, const struct memory_checkpoint *m, const char *norm,
                            size_t heads, size_t position, double *x)
{
    for (size_t h = 0; h < heads; h++, x += HEAD_DIM) {
        if (v->head_norms)
            reference_norm(m, norm, true, HEAD_DIM, x, x);
        if (v->rotary)
            turn(x, position, v->interleaved);
    }
}

/* Attention of one query row over `n` keys, all of which it may see or those up to its position. */
static void reference_attention(const struct variant *v, bool all, size_t position, const double *q, size_t n,
                                double (*k)[KV], double (*values)[KV], const float *bias, double *out)
{
    for (size_t h = 0; h < HEADS; h++) {
        double weights[TOKENS], sum = 0;
        size_t kv = h / (HEADS / KV_HEADS) * HEAD_DIM;
        for (size_t t = 0; t < n; t++) {
            long distance = (long)t - (long)position;
            long clamped = distance < -BIAS_HALF ? -BIAS_HALF : distance > BIAS_HALF ? BIAS_HALF : distance;
            double score = 0;
            for (size_t d = 0; d < HEAD_DIM; d++)
                score += q[h * HEAD_DIM + d] * k[t][kv + d];
            score = score / sqrt(HEAD_DIM) +
                    (bias ? (double)bias[(long)h * (2 * BIAS_HALF + 1) + BIAS_HALF + clamped] : 0);
            bool seen = all || (distance <= 0 && (v->window == 0 || -distance < (long)v->window));
            weights[t] = seen ? exp(score) : 0;
            sum += weights[t];
        }
        for (size_t d = 0; d < HEAD_DIM; d++) {
            out[h * HEAD_DIM + d] = 0;
            for (size_t t = 0; t < n; t++)
                out[h * HEAD_DIM + d] += weights[t] / sum * values[t][kv + d];
        }
    }
}

static void reference_ff(const struct variant *v, const struct memory_checkpoint *m, const double *x,
                         double *out)
{
    double up[FF], gate[FF];
    reference_linear(m, "ffn_up", FF, SIZE, x, up);
    if (v->gate)
        reference_linear(m, "ffn_gate", FF, SIZE, x, gate);
    for (size_t i = 0; i < FF; i++)
        up[i] = v->gate ? activated(v->activation, gate[i]) * up[i] : activated(v->activation, up[i]);
    reference_linear(m, "ffn_down", SIZE, FF, up, out);
}

/* x += block's sum, with the norms round it. */
static void reference_add(const struct variant *v, const struct memory_checkpoint *m, const char *norm,
                          const char *post, double *sum, double *x)
{
    if (v->post_norms)
        reference_norm(m, post, true, SIZE, sum, sum);
    for (size_t i = 0; i < SIZE; i++)
        x[i] += sum[i];
    if (v->norm_after)
        reference_norm(m, norm, v->rms, SIZE, x, x);
}

static void reference_input(const struct variant *v, const struct memory_checkpoint *m, const char *norm,
                            const double *x, double *out)
{
    memcpy(out, x, SIZE * sizeof *out);
    if (!v->norm_after)
        reference_norm(m, norm, v->rms, SIZE, x, out);
}

static void reference_keys(const struct memory_checkpoint *m, const char *key, const char *value, size_t n,
                           double (*x)[SIZE], double (*k)[KV], double (*values)[KV])
{
    for (size_t t = 0; t < n; t++) {
        reference_linear(m, key, KV, SIZE, x[t], k[t]);
        reference_linear(m, value, KV, SIZE, x[t], values[t]);
    }
}

static void reference_layer(const struct variant *v, const struct memory_checkpoint *m, const float *bias,
                            size_t n, double (*x)[SIZE], double (*source)[SIZE])
{
    static double in[TOKENS][SIZE], k[TOKENS][KV], values[TOKENS][KV], ck[TOKENS][KV], cv[TOKENS][KV];
    const char *norm = v->norm_after ? "attn_output_norm" : "attn_norm";
    const char *ff_norm = v->norm_after ? "layer_output_norm" : "ffn_norm";
    double q[QUERY], attended[QUERY], sum[SIZE], ff_in[SIZE];
    for (size_t t = 0; t < n; t++)
        reference_input(v, m, norm, x[t], in[t]);
    reference_keys(m, "attn_k", "attn_v", n, in, k, values);
    if (v->cross)
        reference_keys(m, "cross_attn_k", "cross_attn_v", SOURCE, source, ck, cv);
    for (size_t t = 0; t < n; t++)
        reference_heads(v, m, "attn_k_norm", KV_HEADS, t, k[t]);
    for (size_t t = 0; t < n; t++) {
        reference_linear(m, "attn_q", QUERY, SIZE, in[t], q);
        reference_heads(v, m, "attn_q_norm", HEADS, t, q);
        reference_attention(v, v->encoder, t, q, n, k, values, bias, attended);
        reference_linear(m, v->cross ? "attn_o" : "attn_output", SIZE, QUERY, attended, sum);
        if (v->parallel)
            reference_input(v, m, v->own_ff_norm ? ff_norm : norm, x[t], ff_in);
        reference_add(v, m, norm, "post_attention_norm", sum, x[t]);
        if (v->cross) {
            reference_input(v, m, "cross_attn_norm", x[t], ff_in);
            reference_linear(m, "cross_attn_q", QUERY, SIZE, ff_in, q);
            reference_attention(v, true, t, q, SOURCE, ck, cv, NULL, attended);
            reference_linear(m, "cross_attn_o", SIZE, QUERY, attended, sum);
            reference_add(v, m, "cross_attn_norm", NULL, sum, x[t]);
        }
        if (!v->parallel)
            reference_input(v, m, ff_norm, x[t], ff_in);
        reference_ff(v, m, ff_in, sum);
        reference_add(v, m, ff_norm, "post_ffw_norm", sum, x[t]);
    }
}

/* ---- ours ------------------------------------------------------------------------------------------- */

struct loaded {
    struct machine machine;
    struct transformer_options o;
    struct transformer_layer layer;
    struct transformer_buffers *buffers;
    struct rotary_table table;
    struct rotary rotary;
    float *bias;
};

static void load(struct loaded *y, const struct variant *v, struct memory_checkpoint *m)
{
    struct error e = {0};
    memset(y, 0, sizeof *y);
    y->machine = machine_create();
    y->o = (struct transformer_options){.embedding = SIZE,
                                        .heads = HEADS,
                                        .kv_heads = KV_HEADS,
                                        .head_dim = HEAD_DIM,
                                        .ff = FF,
                                        .norm_after = v->norm_after,
                                        .rms = v->rms,
                                        .epsilon = (float)epsilon,
                                        .activation = v->activation,
                                        .parallel = v->parallel,
                                        .score_scale = 1 / sqrtf(HEAD_DIM)};
    struct tensor_loader l = {.checkpoint = &m->checkpoint, .exec = y->machine.exec, .error = &e};
    ck_assert_msg(transformer_load_layer(&l, &y->o, "blk", 3, v->cross, &y->layer) == 0, "%s: %s", v->name,
                  e.text);
    ck_assert_int_eq(transformer_buffers_create(&y->buffers, &e), 0);
    y->table.options =
        (struct rotary_options){.n_rot = HEAD_DIM, .base = 100, .scale = 1, .attention_factor = 1};
    ck_assert_int_eq(rotary_table_grow(&y->table, TOKENS / 2), 0);
    ck_assert_int_eq(rotary_table_grow(&y->table, TOKENS), 0);
    y->rotary = (struct rotary){y->table.table, HEAD_DIM / 2, v->interleaved};
    y->layer.rotary = v->rotary ? &y->rotary : NULL;
    y->layer.window = v->window;
    y->bias = v->relative ? relative_bias() : NULL;
}

static void unload(struct loaded *y)
{
    transformer_free_layer(&y->layer);
    transformer_buffers_free(y->buffers);
    free(y->table.table);
    free(y->bias);
    machine_free(&y->machine);
}

/* Pages of one sequence; full of nonsense, as pages that served others are. */
static void make_pages(void **pages)
{
    size_t bytes = attention_layer_bytes(KV_HEADS, HEAD_DIM, DTYPE_F32);
    for (size_t i = 0; i < PAGES; i++) {
        pages[i] = aligned_alloc(64, 64 + bytes);
        ck_assert_ptr_nonnull(pages[i]);
        memset(pages[i], 0xff, 64 + bytes);
    }
}

static void free_pages(void **pages)
{
    for (size_t i = 0; i < PAGES; i++)
        free(pages[i]);
}

/* x (TOKENS, SIZE) in place, `piece` rows a call. */
static void run_decoder(struct loaded *y, size_t piece, const float *source, float *x)
{
    void *pages[PAGES], *source_pages[PAGES];
    uint32_t positions[TOKENS];
    make_pages(pages);
    make_pages(source_pages);
    const struct attention_span whole = {.rows = SOURCE, .pages = source_pages};
    if (y->layer.cross.query.panels)
        ck_assert_int_eq(transformer_cross_store(y->buffers, y->machine.exec, &y->o, &y->layer, DTYPE_F32, 64,
                                                 &whole, 1, SOURCE, source),
                         0);
    const struct source_span span = {.n_tokens = SOURCE, .pages = source_pages};
    const struct decoder_place place = {
        .kv_dtype = DTYPE_F32, .offset = 64, .cross_offset = 64, .bias = y->bias, .bias_half = BIAS_HALF};
    for (size_t at = 0; at < TOKENS; at += piece) {
        size_t rows = TOKENS - at < piece ? TOKENS - at : piece;
        for (size_t i = 0; i < rows; i++)
            positions[i] = (uint32_t)(at + i);
        const struct attention_span part = {.rows = rows, .first_position = at, .pages = pages};
        const struct batch batch = {
            .rows = rows, .positions = positions, .spans = &part, .n_spans = 1, .sources = &span};
        ck_assert_int_eq(
            transformer_decode(y->buffers, y->machine.exec, &y->o, &y->layer, &place, &batch, x + at * SIZE),
            0);
    }
    free_pages(pages);
    free_pages(source_pages);
}

static void run_encoder(struct loaded *y, const size_t *rows, size_t n, float *x)
{
    struct attention_span spans[4];
    size_t first = 0;
    for (size_t i = 0; i < n; i++) {
        spans[i] = (struct attention_span){.first_row = first, .rows = rows[i]};
        first += rows[i];
    }
    ck_assert_int_eq(transformer_encode(y->buffers, y->machine.exec, &y->o, &y->layer, y->bias, BIAS_HALF,
                                        spans, n, first, x),
                     0);
}

/* ---- tests ------------------------------------------------------------------------------------------ */

START_TEST(test_variants)
{
    const struct variant *v = &variants[_i];
    struct memory_checkpoint *m = make_layer(v);
    struct loaded y;
    static double expected[TOKENS][SIZE], source_numbers[SOURCE][SIZE];
    float *x = memory_numbers(TOKENS * SIZE, 1, 5), *source = memory_numbers(SOURCE * SIZE, 1, 6);
    for (size_t i = 0; i < TOKENS * SIZE; i++)
        expected[i / SIZE][i % SIZE] = (double)x[i];
    for (size_t i = 0; i < SOURCE * SIZE; i++)
        source_numbers[i / SIZE][i % SIZE] = (double)source[i];
    load(&y, v, m);
    reference_layer(v, m, y.bias, TOKENS, expected, source_numbers);
    if (v->encoder)
        run_encoder(&y, (const size_t[]){TOKENS}, 1, x);
    else
        run_decoder(&y, TOKENS, source, x);
    double worst = 0;
    for (size_t i = 0; i < TOKENS * SIZE; i++)
        worst = fmax(worst, fabs((double)x[i] - expected[i / SIZE][i % SIZE]));
    ck_assert_msg(worst < 1e-4, "%s differs by %g", v->name, worst);
    unload(&y);
    free_layer(m);
    free(x);
    free(source);
}
END_TEST

/* A sequence in pieces, or beside others, has the same bits. */
START_TEST(test_pieces)
{
    const struct variant *v = &variants[_i];
    struct memory_checkpoint *m = make_layer(v);
    struct loaded y;
    float *x = memory_numbers(TOKENS * SIZE, 1, 5), *pieces = memory_numbers(TOKENS * SIZE, 1, 5),
          *source = memory_numbers(SOURCE * SIZE, 1, 6);
    load(&y, v, m);
    if (v->encoder) {
        run_encoder(&y, (const size_t[]){3, 33, TOKENS - 36}, 3, x);
        run_encoder(&y, (const size_t[]){3}, 1, pieces);
        run_encoder(&y, (const size_t[]){33}, 1, pieces + 3 * SIZE);
        run_encoder(&y, (const size_t[]){TOKENS - 36}, 1, pieces + 36 * SIZE);
    } else {
        run_decoder(&y, TOKENS, source, x);
        run_decoder(&y, 7, source, pieces);
    }
    ck_assert_msg(memcmp(x, pieces, TOKENS * SIZE * sizeof *x) == 0, "%s", v->name);
    unload(&y);
    free_layer(m);
    free(x);
    free(pieces);
    free(source);
}
END_TEST

/* A tensor of the parts' rows, one after the other. */
static void fuse(struct memory_checkpoint *to, const struct memory_checkpoint *from, const char *name,
                 const char *kind, const char *const *parts, size_t n, size_t cols)
{
    char full[96];
    size_t rows = 0;
    float *all = calloc((QUERY + 2 * KV + 2 * FF) * cols, sizeof *all);
    for (size_t i = 0; i < n; i++) {
        snprintf(full, sizeof full, "blk.3.%s.%s", parts[i], kind);
        const struct tensor_info *t = memory_find(&from->source, full);
        ck_assert_ptr_nonnull(t);
        memcpy(all + rows * cols, from->data[t->offset], t->bytes);
        rows += (size_t)(t->bytes / sizeof *all / cols);
    }
    snprintf(full, sizeof full, "blk.3.%s.%s", name, kind);
    if (cols == 1)
        memory_add(to, full, DTYPE_F32, all, 0, rows);
    else
        memory_add(to, full, DTYPE_F32, all, rows, cols);
}

START_TEST(test_fused)
{
    static const char *const qkv[] = {"attn_q", "attn_k", "attn_v"}, *const gate_up[] = {"ffn_gate",
                                                                                         "ffn_up"};
    static const struct variant v = {
        .rms = true, .gate = true, .biases = true, .rotary = true, .activation = ACTIVATION_SILU};
    struct memory_checkpoint *separate = make_layer(&v), *fused = memory_create(DIALECT_GGUF, "x", "{}");
    struct loaded y, z;
    for (size_t i = 0; i < separate->source.count; i++) {
        const struct tensor_info *t = &separate->infos[i];
        if (strstr(t->name, "_q.") || strstr(t->name, "_k.") || strstr(t->name, "_v.") ||
            strstr(t->name, "_gate.") || strstr(t->name, "_up."))
            continue;
        void *copy = malloc(t->bytes);
        memcpy(copy, separate->data[i], t->bytes);
        memory_add(fused, t->name, DTYPE_F32, copy, t->n_dims == 2 ? t->dims[1] : 0, t->dims[0]);
    }
    fuse(fused, separate, "attn_qkv", "weight", qkv, 3, SIZE);
    fuse(fused, separate, "attn_qkv", "bias", qkv, 3, 1);
    fuse(fused, separate, "ffn_up", "weight", gate_up, 2, SIZE);
    fuse(fused, separate, "ffn_up", "bias", gate_up, 2, 1);
    float *a = memory_numbers(TOKENS * SIZE, 1, 5), *b = memory_numbers(TOKENS * SIZE, 1, 5);
    load(&y, &v, separate);
    load(&z, &v, fused);
    run_decoder(&y, TOKENS, NULL, a);
    run_decoder(&z, TOKENS, NULL, b);
    ck_assert_int_eq(memcmp(a, b, TOKENS * SIZE * sizeof *a), 0);
    unload(&y);
    unload(&z);
    free_layer(separate);
    free_layer(fused);
    free(a);
    free(b);
}
END_TEST

/* ---- decoder-only models ----------------------------------------------------------------------------- */

#define CONFIG(more)                                                                                         \
    "{'model_type': 'llama', 'architectures': ['LlamaForCausalLM'], 'hidden_size': 8, 'intermediate_size': " \
    "12, "                                                                                                   \
    "'num_hidden_layers': 2, 'num_attention_heads': 4, 'num_key_value_heads': 2, 'head_dim': 4, "            \
    "'max_position_embeddings': 4096, 'vocab_size': 11, 'rms_norm_eps': 1e-5, 'hidden_act': 'silu'" more "}"

static struct memory_checkpoint *make_llama(const char *config, const char *without)
{
    static const struct {
        const char *name;
        size_t rows, cols;
    } rows[] = {{"input_layernorm", 0, SIZE},      {"self_attn.q_proj", QUERY, SIZE},
                {"self_attn.k_proj", KV, SIZE},    {"self_attn.v_proj", KV, SIZE},
                {"self_attn.o_proj", SIZE, QUERY}, {"post_attention_layernorm", 0, SIZE},
                {"mlp.gate_proj", FF, SIZE},       {"mlp.up_proj", FF, SIZE},
                {"mlp.down_proj", SIZE, FF}};
    struct memory_checkpoint *m = memory_create(DIALECT_TRANSFORMERS, "llama", config);
    char name[96];
    memory_add(m, "model.embed_tokens.weight", DTYPE_F32, memory_numbers(11 * SIZE, 1, 1), 11, SIZE);
    memory_add(m, "model.norm.weight", DTYPE_F32, memory_numbers(SIZE, 1, 2), 0, SIZE);
    if (strcmp(without, "lm_head") != 0)
        memory_add(m, "lm_head.weight", DTYPE_F32, memory_numbers(11 * SIZE, 1, 3), 11, SIZE);
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
            snprintf(name, sizeof name, "model.layers.%u.%s.weight", i, rows[r].name);
            size_t n = (rows[r].rows ? rows[r].rows : 1) * rows[r].cols;
            if (i == 0 || strcmp(without, rows[r].name) != 0)
                memory_add(m, name, DTYPE_F32, memory_numbers(n, 0.8f, 10 * i + r), rows[r].rows,
                           rows[r].cols);
        }
    }
    return m;
}

START_TEST(test_refusals)
{
    static const struct {
        const char *config, *without, *message;
    } rows[] = {
        {CONFIG(""), "mlp.gate_proj", "blk.1.ffn_gate.weight is missing"},
        {CONFIG(""), "input_layernorm", "blk.1.attn_norm.weight is missing"},
        {CONFIG(""), "mlp.down_proj", "blk.1.ffn_down.weight is missing"},
        {CONFIG(""), "lm_head", "output.weight is missing"},
        {CONFIG(", 'rope_scaling': {'rope_type': 'spiral', 'factor': 2}"), "", "rope_type \"spiral\""},
        {CONFIG(", 'rope_scaling': {'rope_type': 'linear', 'factor': 0}"), "", "factor is 0"},
        {CONFIG(", 'rope_theta': 0"), "", "rope_theta"},
        {CONFIG(", 'partial_rotary_factor': 2.0"), "", "partial_rotary_factor"},
        {CONFIG(", 'quantization_config': {'quant_method': 'gptq'}"), "", "gptq"},
        {"{'model_type': 'llama', 'hidden_size': 8, 'num_attention_heads': 3}", "",
         "num_hidden_layers is missing"},
        {"{'model_type': 'llama', 'hidden_size': 8, 'num_hidden_layers': 2147483648}", "",
         "num_hidden_layers"},
        {"{'model_type': 'llama', 'hidden_size': '8', 'num_hidden_layers': 2}", "", "hidden_size"},
        {"{'model_type': 'llama', 'num_hidden_layers': 2, 'hidden_size': 8, 'intermediate_size': 12, "
         "'num_attention_heads': 3, 'max_position_embeddings': 64}",
         "", "no multiple of num_attention_heads 3"},
        {"{'model_type': 'llama', 'num_hidden_layers': 2, 'hidden_size': 8, 'intermediate_size': 12, "
         "'num_attention_heads': 4, 'num_key_value_heads': 3, 'head_dim': 4, 'vocab_size': 11}",
         "", "can't share"},
        {"{'model_type': 'llama', 'num_hidden_layers': 2, 'hidden_size': 8, 'intermediate_size': 12, "
         "'num_attention_heads': 4, 'num_key_value_heads': 2, 'head_dim': 4, 'vocab_size': 12}",
         "", "vocab_size is 12"},
        {"{'model_type': 'llama', 'num_hidden_layers': 2, 'hidden_size': 8, 'intermediate_size': 12, "
         "'num_attention_heads': 4, 'num_key_value_heads': 2, 'head_dim': 4, 'rms_norm_eps': -1}",
         "", "rms_norm_eps is -1"},
        {"{'model_type': 'llama', 'num_hidden_layers': 2, 'hidden_size': 8, 'intermediate_size': 12, "
         "'num_attention_heads': 4, 'num_key_value_heads': 2, 'head_dim': 4, 'hidden_act': 'sinc'}",
         "", "sinc"},
    };
    struct machine x = machine_create();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct memory_checkpoint *m = make_llama(rows[i].config, rows[i].without);
        memory_refused(m, x.exec, rows[i].message);
        free_layer(m);
    }
    machine_free(&x);
}
END_TEST

/* What a checkpoint can do: text with a head of its own or the embedding, vectors without any. */
START_TEST(test_abilities)
{
    static const struct {
        const char *config, *without;
        unsigned abilities;
    } rows[] = {
        {CONFIG(""), "", ENGINE_CAN_GENERATE | ENGINE_CAN_EMBED},
        {CONFIG(", 'tie_word_embeddings': true"), "lm_head", ENGINE_CAN_GENERATE | ENGINE_CAN_EMBED},
        {"{'model_type': 'llama', 'architectures': ['LlamaModel'], 'hidden_size': 8, 'intermediate_size': "
         "12, "
         "'num_hidden_layers': 2, 'num_attention_heads': 4, 'num_key_value_heads': 2, 'head_dim': 4}",
         "lm_head", ENGINE_CAN_EMBED},
    };
    struct machine x = machine_create();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct memory_checkpoint *m = make_llama(rows[i].config, rows[i].without);
        struct model *model = memory_load(m, x.exec, NULL);
        ck_assert_uint_eq(model->shape.abilities, rows[i].abilities);
        ck_assert_uint_eq(model->shape.kv_layers, 2);
        ck_assert_uint_eq(model->shape.vocabulary, 11);
        model->arch->free(model);
        free_layer(m);
    }
    machine_free(&x);
}
END_TEST

/* Rows of a rotary table do not depend on how often it grew. */
START_TEST(test_rotary_growth)
{
    const struct rotary_options o = {.n_rot = 6,
                                     .original_context = 32,
                                     .base = 10000,
                                     .scale = 0.25f,
                                     .yarn = true,
                                     .attention_factor = 1,
                                     .beta_fast = 32,
                                     .beta_slow = 1};
    struct rotary_table once = {.options = o}, often = {.options = o};
    ck_assert_int_eq(rotary_table_grow(&once, 100), 0);
    for (size_t n = 1; n <= 100; n += 11)
        ck_assert_int_eq(rotary_table_grow(&often, n), 0);
    ck_assert_uint_eq(often.positions, 100);
    ck_assert_int_eq(memcmp(once.table, often.table, 100 * 3 * 2 * sizeof *once.table), 0);
    ck_assert_float_eq_tol(once.table[0], 1 + 0.1f * logf(4), 1e-6f);
    ck_assert_uint_eq(rotary_pairs(5), 3);
    free(once.table);
    free(often.table);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("transformer");
    TCase *layer = tcase_create("layer"), *models = tcase_create("models");
    tcase_add_loop_test(layer, test_variants, 0, VARIANTS);
    tcase_add_loop_test(layer, test_pieces, 0, VARIANTS);
    tcase_add_test(layer, test_fused);
    tcase_add_test(models, test_refusals);
    tcase_add_test(models, test_abilities);
    tcase_add_test(models, test_rotary_growth);
    tcase_set_timeout(layer, 120);
    suite_add_tcase(suite, layer);
    suite_add_tcase(suite, models);
    return suite_run(suite);
}
