/* marian.c - Marian's transformers (Junczys-Dowmunt et al., 2018): OPUS-MT as transformers publishes it, and
 * the small models of Bergamot as Marian's own binary files, whose decoders are recurrent (SSRU) and choose
 * among the words of a shortlist.  Norms after blocks, sinusoidal positions, scaled embeddings that both
 * sides and the head share. The computation is seq2seq.c's; GGUF has no word for it, the names are ours. */
#include <math.h>
#include <stdlib.h>

#include "engine/models/seq2seq.h"
#include "engine/models/seq2seq_names.h"

static const struct seq2seq_family family = {.norm_after = true,
                                             .epsilon = 1e-5f,
                                             .activation = "silu",
                                             .gated_activation = "silu",
                                             .position_type = "sinusoidal",
                                             .context = 512};

static int shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    return seq2seq_shape(&family, c, out, e);
}

static int load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                struct model **out, struct error *e)
{
    return seq2seq_load(&family, c, x, context, kv_dtype, out, e);
}

/* ---- transformers ------------------------------------------------------------------------------- */

static int translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    return seq2seq_translate(c, "marian", "silu", out, e);
}

/* ---- Marian's own files ------------------------------------------------------------------------- */

static const struct tensor_name binary_tensors[] = {
    {"token_embd.weight", "Wemb", CHANGE_NONE},
    {"output.bias", "decoder_ff_logit_out_b", CHANGE_NONE},
    {"shortlist.offsets", "shortlist.offsets", CHANGE_NONE},
    {"shortlist.entries", "shortlist.entries", CHANGE_NONE},
    {"shortlist.frequent", "shortlist.frequent", CHANGE_NONE},
    {"enc.blk.%zu.attn_q.weight", "encoder_l{number%zu}_self_Wq", CHANGE_NONE},
    {"enc.blk.%zu.attn_q.bias", "encoder_l{number%zu}_self_bq", CHANGE_NONE},
    {"enc.blk.%zu.attn_k.weight", "encoder_l{number%zu}_self_Wk", CHANGE_NONE},
    {"enc.blk.%zu.attn_k.bias", "encoder_l{number%zu}_self_bk", CHANGE_NONE},
    {"enc.blk.%zu.attn_v.weight", "encoder_l{number%zu}_self_Wv", CHANGE_NONE},
    {"enc.blk.%zu.attn_v.bias", "encoder_l{number%zu}_self_bv", CHANGE_NONE},
    {"enc.blk.%zu.attn_o.weight", "encoder_l{number%zu}_self_Wo", CHANGE_NONE},
    {"enc.blk.%zu.attn_o.bias", "encoder_l{number%zu}_self_bo", CHANGE_NONE},
    {"enc.blk.%zu.attn_norm.weight", "encoder_l{number%zu}_self_Wo_ln_scale", CHANGE_NONE},
    {"enc.blk.%zu.attn_norm.bias", "encoder_l{number%zu}_self_Wo_ln_bias", CHANGE_NONE},
    {"enc.blk.%zu.ffn_up.weight", "encoder_l{number%zu}_ffn_W1", CHANGE_NONE},
    {"enc.blk.%zu.ffn_up.bias", "encoder_l{number%zu}_ffn_b1", CHANGE_NONE},
    {"enc.blk.%zu.ffn_down.weight", "encoder_l{number%zu}_ffn_W2", CHANGE_NONE},
    {"enc.blk.%zu.ffn_down.bias", "encoder_l{number%zu}_ffn_b2", CHANGE_NONE},
    {"enc.blk.%zu.ffn_norm.weight", "encoder_l{number%zu}_ffn_ffn_ln_scale", CHANGE_NONE},
    {"enc.blk.%zu.ffn_norm.bias", "encoder_l{number%zu}_ffn_ffn_ln_bias", CHANGE_NONE},
    {"dec.blk.%zu.attn_q.weight", "decoder_l{number%zu}_self_Wq", CHANGE_NONE},
    {"dec.blk.%zu.attn_q.bias", "decoder_l{number%zu}_self_bq", CHANGE_NONE},
    {"dec.blk.%zu.attn_k.weight", "decoder_l{number%zu}_self_Wk", CHANGE_NONE},
    {"dec.blk.%zu.attn_k.bias", "decoder_l{number%zu}_self_bk", CHANGE_NONE},
    {"dec.blk.%zu.attn_v.weight", "decoder_l{number%zu}_self_Wv", CHANGE_NONE},
    {"dec.blk.%zu.attn_v.bias", "decoder_l{number%zu}_self_bv", CHANGE_NONE},
    {"dec.blk.%zu.attn_o.weight", "decoder_l{number%zu}_self_Wo", CHANGE_NONE},
    {"dec.blk.%zu.attn_o.bias", "decoder_l{number%zu}_self_bo", CHANGE_NONE},
    {"dec.blk.%zu.attn_norm.weight", "decoder_l{number%zu}_self_Wo_ln_scale", CHANGE_NONE},
    {"dec.blk.%zu.attn_norm.bias", "decoder_l{number%zu}_self_Wo_ln_bias", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_q.weight", "decoder_l{number%zu}_context_Wq", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_q.bias", "decoder_l{number%zu}_context_bq", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_k.weight", "decoder_l{number%zu}_context_Wk", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_k.bias", "decoder_l{number%zu}_context_bk", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_v.weight", "decoder_l{number%zu}_context_Wv", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_v.bias", "decoder_l{number%zu}_context_bv", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_o.weight", "decoder_l{number%zu}_context_Wo", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_o.bias", "decoder_l{number%zu}_context_bo", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_norm.weight", "decoder_l{number%zu}_context_Wo_ln_scale", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_norm.bias", "decoder_l{number%zu}_context_Wo_ln_bias", CHANGE_NONE},
    {"dec.blk.%zu.ssru_input.weight", "decoder_l{number%zu}_rnn_W", CHANGE_NONE},
    {"dec.blk.%zu.ssru_forget.weight", "decoder_l{number%zu}_rnn_Wf", CHANGE_NONE},
    {"dec.blk.%zu.ssru_forget.bias", "decoder_l{number%zu}_rnn_bf", CHANGE_NONE},
    {"dec.blk.%zu.attn_norm.weight", "decoder_l{number%zu}_rnn_ffn_ln_scale", CHANGE_NONE},
    {"dec.blk.%zu.attn_norm.bias", "decoder_l{number%zu}_rnn_ffn_ln_bias", CHANGE_NONE},
    {"dec.blk.%zu.ffn_up.weight", "decoder_l{number%zu}_ffn_W1", CHANGE_NONE},
    {"dec.blk.%zu.ffn_up.bias", "decoder_l{number%zu}_ffn_b1", CHANGE_NONE},
    {"dec.blk.%zu.ffn_down.weight", "decoder_l{number%zu}_ffn_W2", CHANGE_NONE},
    {"dec.blk.%zu.ffn_down.bias", "decoder_l{number%zu}_ffn_b2", CHANGE_NONE},
    {"dec.blk.%zu.ffn_norm.weight", "decoder_l{number%zu}_ffn_ffn_ln_scale", CHANGE_NONE},
    {"dec.blk.%zu.ffn_norm.bias", "decoder_l{number%zu}_ffn_ffn_ln_bias", CHANGE_NONE},
    {NULL, NULL, CHANGE_NONE},
};

/* Its layers are numbered from 1. */
static int put_numbers(json_t *out, struct error *e)
{
    for (size_t i = 0; i < 64; i++) {
        char key[32];
        snprintf(key, sizeof key, "number%zu", i);
        TRY(names_put(out, "names", key, json_sprintf("%zu", i + 1), e));
    }
    return 0;
}

static const char *option(const struct checkpoint *c, const char *key)
{
    const char *text = json_string_value(json_object_get(c->config, key));
    return text ? text : "";
}

static int put_number(const struct checkpoint *c, const char *option_name, const char *key, json_t *out,
                      struct error *e)
{
    char *end;
    const char *text = option(c, option_name);
    unsigned long n = strtoul(text, &end, 10);
    if (!*text || *end || n == 0 || n > LIMIT_DIMENSION_SIZE)
        return error_set(e, ERROR_BAD_FORMAT, "the option %s is \"%.40s\"; it must be a number", option_name,
                         text);
    return names_put(out, "marian", key, json_integer((json_int_t)n), e);
}

static int check_options(const struct checkpoint *c, struct error *e)
{
    static const struct {
        const char *option, *values[3];
    } known[] = {
        {"type", {"transformer", NULL}},
        {"transformer-preprocess", {"", NULL}},
        {"transformer-postprocess", {"dan", NULL}},
        {"transformer-postprocess-emb", {"d", "", NULL}},
        {"transformer-postprocess-top", {"", NULL}},
        {"transformer-decoder-autoreg", {"rnn", "self-attention", NULL}},
        {"transformer-train-position-embeddings", {"false", "", NULL}},
        {"tied-embeddings-all", {"true", NULL}},
        {"transformer-ffn-depth", {"2", NULL}},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const char *value = option(c, known[i].option);
        bool good = false;
        for (size_t k = 0; known[i].values[k]; k++)
            good = good || strcmp(known[i].values[k], value) == 0;
        if (!good)
            return error_set(e, ERROR_UNSUPPORTED, "the option %s: %.60s is not supported", known[i].option,
                             value);
    }
    if (strcmp(option(c, "transformer-decoder-autoreg"), "rnn") == 0 &&
        strcmp(option(c, "dec-cell"), "ssru") != 0)
        return error_set(e, ERROR_UNSUPPORTED, "the option dec-cell: %.60s is not supported (ssru is)",
                         option(c, "dec-cell"));
    return 0;
}

/* What its file can't say and its programs do: </s> ends, nothing begins, and an answer has at most two and a
 * half times the tokens of its source. */
static int put_rules(json_t *out, struct error *e)
{
    TRY(names_put(out, "generation", "eos_token_ids", json_integer(0), e));
    TRY(names_put(out, "generation", "decoder_start_token_id", json_integer(0), e));
    TRY(names_put(out, "generation", "max_length_ratio", json_real(2.5), e));
    TRY(names_put(out, "marian", "start_is_zero", json_true(), e));
    TRY(names_put(out, "marian", "sinusoid_last", json_true(), e));
    return names_put(out, "marian", "attention.layer_norm_epsilon", json_real(1e-9), e);
}

static int translate_binary(const struct checkpoint *c, json_t *out, struct error *e)
{
    enum activation found;
    const char *activation = option(c, "transformer-ffn-activation");
    TRY(check_options(c, e));
    if (!c->tensors->find(c->tensors, "Wemb.multiplier"))
        return error_set(e, ERROR_UNSUPPORTED,
                         "this Marian binary is not quantised; only int8 ones (intgemm) are supported");
    TRY(put_number(c, "dim-emb", "embedding_length", out, e));
    TRY(put_number(c, "enc-depth", "block_count", out, e));
    TRY(put_number(c, "dec-depth", "decoder_block_count", out, e));
    TRY(put_number(c, "transformer-heads", "attention.head_count", out, e));
    TRY(put_number(c, "transformer-dim-ffn", "feed_forward_length", out, e));
    json_int_t width = json_integer_value(json_object_get(out, "marian.embedding_length"));
    TRY(names_put(out, "marian", "embedding_scale", json_real(sqrt((double)width)), e));
    if (!activation_find(activation, &found))
        return error_set(e, ERROR_UNSUPPORTED, "transformer-ffn-activation: %.60s is not supported",
                         activation);
    TRY(names_put(out, "marian", "activation", json_string(activation), e));
    TRY(put_rules(out, e));
    return put_numbers(out, e);
}

static bool recognise_binary(const struct checkpoint *c)
{
    return c->tensors->find(c->tensors, "Wemb") != NULL;
}

static const char *const types[] = {"marian", NULL};
static const struct naming namings[] = {
    {.dialect = DIALECT_TRANSFORMERS,
     .types = types,
     .prefixes = seq2seq_prefixes,
     .tensors = seq2seq_tensors,
     .translate = translate},
    {.dialect = DIALECT_MARIAN,
     .recognise = recognise_binary,
     .tensors = binary_tensors,
     .translate = translate_binary},
    {.dialect = DIALECT_GGUF},
};

const struct arch arch_marian = {
    .name = "marian",
    .namings = namings,
    .shape = shape,
    .load = load,
    .forward = seq2seq_forward,
    .logits = seq2seq_logits,
    .encode = seq2seq_encode,
    .free = seq2seq_free,
};
