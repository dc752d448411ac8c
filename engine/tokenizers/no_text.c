/* no_text.c - stands in for the tokenizer that a checkpoint does not have ("none"): ids have no text, and
 * texts no ids.  Called by tokenizer.c; the loader asks for it when the files hold weights alone. */
#include "engine/tokenizers/model.h"

static int no_text_create(const struct tokenizer_spec *spec, void **out, struct error *e)
{
    (void)spec;
    (void)e;
    *out = NULL;
    return 0;
}

static void no_text_release(void *model)
{
    (void)model;
}

static int no_text_encode(const void *model, const char *text, const struct piece_list *pieces,
                          struct token_sink *out, struct error *e)
{
    (void)model;
    (void)text;
    (void)pieces;
    (void)out;
    return error_set(e, ERROR_UNSUPPORTED,
                     "the checkpoint has no tokenizer: give token ids in place of text");
}

static void no_text_decode(const struct token_spec *token, struct buf *out)
{
    (void)token;
    (void)out;
}

const struct tokenizer_model no_text_model = {
    .name = "none",
    .create = no_text_create,
    .release = no_text_release,
    .encode = no_text_encode,
    .decode = no_text_decode,
};
