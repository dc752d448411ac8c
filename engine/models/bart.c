/* bart.c - BART (Lewis et al., 2020): norms after blocks and after the embeddings, learned positions whose
 * table begins with two rows that nobody uses.  The computation is seq2seq.c's; GGUF has no word for it, the
 * names are ours. */
#include "engine/models/seq2seq.h"
#include "engine/models/seq2seq_names.h"

static const struct seq2seq_family family = {.norm_after = true,
                                             .epsilon = 1e-5f,
                                             .activation = "gelu",
                                             .gated_activation = "gelu",
                                             .position_type = "learned",
                                             .context = 1024};

static int shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    return seq2seq_shape(&family, c, out, e);
}

static int load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                struct model **out, struct error *e)
{
    return seq2seq_load(&family, c, x, context, kv_dtype, out, e);
}

static int translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    TRY(names_put(out, "names", "skipped_rows", json_integer(2), e));
    return seq2seq_translate(c, "bart", "gelu", out, e);
}

static const char *const types[] = {"bart", NULL};
static const struct naming namings[] = {
    {.dialect = DIALECT_TRANSFORMERS,
     .types = types,
     .prefixes = seq2seq_prefixes,
     .tensors = seq2seq_tensors,
     .translate = translate},
    {.dialect = DIALECT_GGUF},
};

const struct arch arch_bart = {
    .name = "bart",
    .namings = namings,
    .shape = shape,
    .load = load,
    .forward = seq2seq_forward,
    .logits = seq2seq_logits,
    .encode = seq2seq_encode,
    .free = seq2seq_free,
};
