/* detokenize.h - what the detokenizer asks a tokenizer beside tokenizer.h.  Nobody outside this room includes
 * it. */
#ifndef LOQUAT_TOKENIZERS_DETOKENIZE_H
#define LOQUAT_TOKENIZERS_DETOKENIZE_H

#include "engine/tokenizers/decoder.h"
#include "engine/tokenizers/tokenizer.h"

/* NULL: each token has its bytes. */
const struct decoder *tokenizer_decoder(const struct tokenizer *t);
/* A text begins without the space that the model puts before it. */
bool tokenizer_drops_first_space(const struct tokenizer *t);

#endif
