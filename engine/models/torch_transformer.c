/* torch_transformer.c - models of PyTorch's nn.TransformerEncoder (a causal language model) and
 * nn.Transformer (sequence to sequence), as their makers save them: a state_dict whose layers have PyTorch's
 * names and whose other modules are called whatever came to mind.  Shapes tell embedding, positions and head
 * apart; a config.json of the user's own says what no shape can: the number of heads, the place of the norms,
 * the activation. Its keys: hidden_size, num_heads, ffn_size, num_layers, max_length, norm ("post", "pre"),
 * activation, scale_embedding, positions ("learned", "sinusoidal", "none"), bos_id, eos_id. The computation
 * is seq2seq.c's; GGUF has no word for it, the names are ours. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/models/seq2seq.h"

#define FAMILY(encoder_missing)                                                                              \
    {                                                                                                        \
        .norm_after = true, .epsilon = 1e-5f, .activation = "relu", .gated_activation = "relu",              \
        .position_type = "learned", .context = 512, .no_encoder = (encoder_missing)                          \
    }
static const struct seq2seq_family decoder_family = FAMILY(true), pair_family = FAMILY(false);

/* ---- names ------------------------------------------------------------------------------------- */

#define LAYERS(side, module)                                                                                 \
    {side ".blk.%zu.attn_qkv.weight", "{" module "}layers.%zu.self_attn.in_proj_weight", CHANGE_NONE},       \
        {side ".blk.%zu.attn_qkv.bias", "{" module "}layers.%zu.self_attn.in_proj_bias", CHANGE_NONE},       \
        {side ".blk.%zu.attn_o.weight", "{" module "}layers.%zu.self_attn.out_proj.weight", CHANGE_NONE},    \
        {side ".blk.%zu.attn_o.bias", "{" module "}layers.%zu.self_attn.out_proj.bias", CHANGE_NONE},        \
        {side ".blk.%zu.attn_norm.weight", "{" module "}layers.%zu.norm1.weight", CHANGE_NONE},              \
        {side ".blk.%zu.attn_norm.bias", "{" module "}layers.%zu.norm1.bias", CHANGE_NONE},                  \
        {side ".blk.%zu.ffn_up.weight", "{" module "}layers.%zu.linear1.weight", CHANGE_NONE},               \
        {side ".blk.%zu.ffn_up.bias", "{" module "}layers.%zu.linear1.bias", CHANGE_NONE},                   \
        {side ".blk.%zu.ffn_down.weight", "{" module "}layers.%zu.linear2.weight", CHANGE_NONE},             \
    {                                                                                                        \
        side ".blk.%zu.ffn_down.bias", "{" module "}layers.%zu.linear2.bias", CHANGE_NONE                    \
    }

#define OUTSIDE(side)                                                                                        \
    {"token_embd.weight", "{embedding}", CHANGE_NONE}, {"output.weight", "{head}.weight", CHANGE_NONE},      \
        {"output.bias", "{head}.bias", CHANGE_NONE},                                                         \
    {                                                                                                        \
        side ".position_embd.weight", "{positions}", CHANGE_SQUEEZE                                          \
    }

static const struct tensor_name decoder_tensors[] = {
    OUTSIDE("dec"),
    LAYERS("dec", "layers"),
    {"dec.blk.%zu.ffn_norm.weight", "{layers}layers.%zu.norm2.weight", CHANGE_NONE},
    {"dec.blk.%zu.ffn_norm.bias", "{layers}layers.%zu.norm2.bias", CHANGE_NONE},
    {"dec.output_norm.weight", "{layers}norm.weight", CHANGE_NONE},
    {"dec.output_norm.bias", "{layers}norm.bias", CHANGE_NONE},
    {NULL, NULL, CHANGE_NONE},
};

static const struct tensor_name pair_tensors[] = {
    OUTSIDE("dec"),
    {"enc.position_embd.weight", "{positions}", CHANGE_SQUEEZE},
    {"dec.token_embd.weight", "{target_embedding}", CHANGE_NONE},
    LAYERS("enc", "encoder"),
    {"enc.blk.%zu.ffn_norm.weight", "{encoder}layers.%zu.norm2.weight", CHANGE_NONE},
    {"enc.blk.%zu.ffn_norm.bias", "{encoder}layers.%zu.norm2.bias", CHANGE_NONE},
    {"enc.output_norm.weight", "{encoder}norm.weight", CHANGE_NONE},
    {"enc.output_norm.bias", "{encoder}norm.bias", CHANGE_NONE},
    LAYERS("dec", "decoder"),
    {"dec.blk.%zu.cross_attn_qkv.weight", "{decoder}layers.%zu.multihead_attn.in_proj_weight", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_qkv.bias", "{decoder}layers.%zu.multihead_attn.in_proj_bias", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_o.weight", "{decoder}layers.%zu.multihead_attn.out_proj.weight", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_o.bias", "{decoder}layers.%zu.multihead_attn.out_proj.bias", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_norm.weight", "{decoder}layers.%zu.norm2.weight", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_norm.bias", "{decoder}layers.%zu.norm2.bias", CHANGE_NONE},
    {"dec.blk.%zu.ffn_norm.weight", "{decoder}layers.%zu.norm3.weight", CHANGE_NONE},
    {"dec.blk.%zu.ffn_norm.bias", "{decoder}layers.%zu.norm3.bias", CHANGE_NONE},
    {"dec.output_norm.weight", "{decoder}norm.weight", CHANGE_NONE},
    {"dec.output_norm.bias", "{decoder}norm.bias", CHANGE_NONE},
    {NULL, NULL, CHANGE_NONE},
};

/* ---- what is what ------------------------------------------------------------------------------- */

/* The tensor whose name ends so and, when cross, stands where there is cross attention; NULL when there is
 * none. */
static const struct tensor_info *ending(const struct checkpoint *c, const char *end)
{
    for (size_t i = 0; i < c->tensors->count; i++) {
        const char *name = c->tensors->tensors[i].name;
        size_t n = strlen(name), m = strlen(end);
        if (n >= m && strcmp(name + n - m, end) == 0)
            return &c->tensors->tensors[i];
    }
    return NULL;
}

/* A name before its ending, under names.KEY. */
static int put_module(const struct tensor_info *t, const char *end, const char *key, json_t *out,
                      struct error *e)
{
    size_t n = strlen(t->name) - strlen(end);
    return names_put(out, "names", key, json_stringn(t->name, n), e);
}

static bool has_bias(const struct checkpoint *c, const struct tensor_info *t)
{
    char name[LIMIT_TENSOR_NAME];
    size_t n = strlen(t->name);
    if (n < 7 || n >= sizeof name || strcmp(t->name + n - 7, ".weight") != 0)
        return false;
    snprintf(name, sizeof name, "%.*s.bias", (int)(n - 7), t->name);
    return c->tensors->find(c->tensors, name) != NULL;
}

/* Matrices outside the layers: the one with a bias is the head, the one named for positions holds them, the
 * others embed tokens; the source's first. */
static int find_outside(const struct checkpoint *c, uint64_t width, json_t *out, bool *positions,
                        struct error *e)
{
    const char *embedding = NULL;
    *positions = false;
    for (size_t i = 0; i < c->tensors->count; i++) {
        const struct tensor_info *t = &c->tensors->tensors[i];
        bool plane = t->n_dims == 2 || (t->n_dims == 3 && (t->dims[1] == 1 || t->dims[2] == 1));
        if (!plane || t->dims[0] != width || strstr(t->name, "layers."))
            continue;
        if (strstr(t->name, "pos") || strstr(t->name, "pe.") || t->n_dims == 3) {
            TRY(names_put(out, "names", "positions", json_string(t->name), e));
            *positions = true;
        } else if (has_bias(c, t)) {
            TRY(put_module(t, ".weight", "head", out, e));
        } else if (!embedding) {
            embedding = t->name;
            TRY(names_put(out, "names", "embedding", json_string(embedding), e));
        } else if (strstr(t->name, "tgt") || strstr(t->name, "target") || strstr(t->name, "dec")) {
            TRY(names_put(out, "names", "target_embedding", json_string(t->name), e));
        } else {
            TRY(put_module(t, ".weight", "head", out, e));
        }
    }
    if (!embedding)
        return error_set(e, ERROR_BAD_FORMAT,
                         "no tensor embeds tokens: none has rows of %llu outside the layers",
                         (unsigned long long)width);
    return 0;
}

/* ---- config ------------------------------------------------------------------------------------- */

static int count_layers(const struct checkpoint *c, const char *module, json_t *out, const char *arch,
                        const char *key, struct error *e)
{
    char name[LIMIT_TENSOR_NAME];
    size_t n = 0;
    do
        snprintf(name, sizeof name, "%slayers.%zu.self_attn.in_proj_weight", module, n);
    while (c->tensors->find(c->tensors, name) && ++n < LIMIT_LAYERS);
    return names_put(out, arch, key, json_integer((json_int_t)n), e);
}

static int put_norms(const struct checkpoint *c, const char *arch, json_t *out, struct error *e)
{
    const char *norm = NULL;
    bool first = false;
    TRY(json_get_string(c->config, "norm", &norm, e));
    TRY(json_get_bool(c->config, "norm_first", &first, e));
    if (norm && strcmp(norm, "post") != 0 && strcmp(norm, "pre") != 0)
        return error_set(e, ERROR_UNSUPPORTED, "norm \"%.40s\" is not supported (post, pre)", norm);
    first = norm ? strcmp(norm, "pre") == 0 : first;
    return names_put(out, arch, "norm_after", json_boolean(!first), e);
}

static int put_positions(const struct checkpoint *c, const char *arch, bool found, json_t *out,
                         struct error *e)
{
    const char *kind = found ? "learned" : "sinusoidal";
    TRY(json_get_string(c->config, "positions", &kind, e));
    if (found)
        kind = "learned"; /* a table in the file is used as it is, whatever made it */
    TRY(names_put(out, arch, "sinusoid_interleaved", json_true(), e));
    return names_put(out, arch, "position_type", json_string(kind), e);
}

static int put_tokens(const struct checkpoint *c, json_t *out, struct error *e)
{
    static const char *const keys[][2] = {{"bos_id", "decoder_start_token_id"}, {"eos_id", "eos_token_ids"}};
    for (size_t i = 0; i < 2; i++) {
        json_t *id = json_object_get(c->config, keys[i][0]);
        if (json_is_integer(id))
            TRY(names_put(out, "generation", keys[i][1], json_incref(id), e));
    }
    return 0;
}

/* What no file says, told to whoever inspects it. */
static int put_inferred(const struct checkpoint *c, json_t *out, struct error *e)
{
    if (json_object_size(c->config) > 0)
        return 0;
    return names_put_inferred(out, "Layers, width and vocabulary come from the shapes of the tensors.", e);
}

static int translate_any(const struct checkpoint *c, const char *arch, const struct tensor_info *attention,
                         json_t *out, struct error *e)
{
    static const struct key_name keys[] = {{"attention.head_count", "num_heads", "nhead"},
                                           {"feed_forward_length", "ffn_size", "dim_feedforward"},
                                           {"context_length", "max_length", "max_len"}};
    uint64_t width = attention->dims[0];
    bool positions = false, scaled = false;
    const struct tensor_info *up = ending(c, "layers.0.linear1.weight");
    TRY(names_put(out, arch, "embedding_length", json_integer((json_int_t)width), e));
    if (up)
        TRY(names_put(out, arch, "feed_forward_length", json_integer((json_int_t)up->dims[1]), e));
    TRY(find_outside(c, width, out, &positions, e));
    const struct tensor_info *table =
        positions ? c->tensors->find(c->tensors, json_string_value(json_object_get(out, "names.positions")))
                  : NULL;
    if (table)
        TRY(names_put(
            out, arch, "context_length",
            json_integer((json_int_t)(table->dims[1] > table->dims[2] ? table->dims[1] : table->dims[2])),
            e));
    TRY(names_copy_keys(c, arch, keys, sizeof keys / sizeof keys[0], out, e));
    char heads[64];
    snprintf(heads, sizeof heads, "%s.attention.head_count", arch);
    if (!json_object_get(out, heads))
        return error_set(
            e, ERROR_BAD_FORMAT,
            "no shape tells the number of attention heads: write it as num_heads into a config.json beside "
            "the file");
    TRY(put_norms(c, arch, out, e));
    TRY(put_positions(c, arch, positions, out, e));
    TRY(json_get_bool(c->config, "scale_embedding", &scaled, e));
    TRY(names_put(out, arch, "embedding_scale", json_real(scaled ? sqrt((double)width) : 1), e));
    TRY(names_translate_activation(c, arch, "activation", "relu", out, e));
    TRY(put_tokens(c, out, e));
    return put_inferred(c, out, e);
}

#define FIRST_ATTENTION "layers.0.self_attn.in_proj_weight"
#define FIRST_CROSS     "layers.0.multihead_attn.in_proj_weight"

static bool recognise_decoder(const struct checkpoint *c)
{
    return ending(c, FIRST_ATTENTION) && !ending(c, FIRST_CROSS);
}

static bool recognise_pair(const struct checkpoint *c)
{
    return ending(c, "encoder." FIRST_ATTENTION) && ending(c, FIRST_CROSS);
}

static int translate_decoder(const struct checkpoint *c, json_t *out, struct error *e)
{
    const struct tensor_info *t = ending(c, FIRST_ATTENTION);
    if (!t)
        return error_set(e, ERROR_BAD_FORMAT, "no tensor is called …" FIRST_ATTENTION);
    TRY(put_module(t, FIRST_ATTENTION, "layers", out, e));
    TRY(count_layers(c, json_string_value(json_object_get(out, "names.layers")), out, "transformer",
                     "block_count", e));
    return translate_any(c, "transformer", t, out, e);
}

static int translate_pair(const struct checkpoint *c, json_t *out, struct error *e)
{
    const char *arch = "transformer_seq2seq";
    const struct tensor_info *encoder = ending(c, "encoder." FIRST_ATTENTION),
                             *decoder = ending(c, FIRST_CROSS);
    if (!encoder || !decoder)
        return error_set(e, ERROR_BAD_FORMAT,
                         "no tensors are called …encoder." FIRST_ATTENTION " and …" FIRST_CROSS);
    TRY(put_module(encoder, FIRST_ATTENTION, "encoder", out, e));
    TRY(put_module(decoder, FIRST_CROSS, "decoder", out, e));
    TRY(count_layers(c, json_string_value(json_object_get(out, "names.encoder")), out, arch, "block_count",
                     e));
    TRY(count_layers(c, json_string_value(json_object_get(out, "names.decoder")), out, arch,
                     "decoder_block_count", e));
    return translate_any(c, arch, encoder, out, e);
}

/* ---- rows --------------------------------------------------------------------------------------- */

static int decoder_shape_of(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    return seq2seq_shape(&decoder_family, c, out, e);
}

static int decoder_load_of(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                           struct model **out, struct error *e)
{
    return seq2seq_load(&decoder_family, c, x, context, kv_dtype, out, e);
}

static int pair_shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    return seq2seq_shape(&pair_family, c, out, e);
}

static int pair_load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                     struct model **out, struct error *e)
{
    return seq2seq_load(&pair_family, c, x, context, kv_dtype, out, e);
}

static const char *const decoder_types[] = {"transformer-lm", NULL};
static const char *const pair_types[] = {"transformer-seq2seq", NULL};

static const struct naming decoder_namings[] = {
    {.dialect = DIALECT_TORCH,
     .types = decoder_types,
     .recognise = recognise_decoder,
     .tensors = decoder_tensors,
     .translate = translate_decoder},
    {.dialect = DIALECT_GGUF},
};

static const struct naming pair_namings[] = {
    {.dialect = DIALECT_TORCH,
     .types = pair_types,
     .recognise = recognise_pair,
     .tensors = pair_tensors,
     .translate = translate_pair},
    {.dialect = DIALECT_GGUF},
};

const struct arch arch_transformer = {
    .name = "transformer",
    .namings = decoder_namings,
    .shape = decoder_shape_of,
    .load = decoder_load_of,
    .forward = seq2seq_forward,
    .logits = seq2seq_logits,
    .free = seq2seq_free,
};

const struct arch arch_transformer_seq2seq = {
    .name = "transformer_seq2seq",
    .namings = pair_namings,
    .shape = pair_shape,
    .load = pair_load,
    .forward = seq2seq_forward,
    .logits = seq2seq_logits,
    .encode = seq2seq_encode,
    .free = seq2seq_free,
};
