/* rnn_names.h - what files call the tensors of a recurrent language model; between rnn.c and rnn_names.c
 * only. */
#ifndef LOQUAT_MODELS_RNN_NAMES_H
#define LOQUAT_MODELS_RNN_NAMES_H

#include "engine/models/names.h"

/* A recurrent state remembers without a limit; this one bounds a request. */
enum { RNN_CONTEXT = 1 << 20 };

/* The tensors of a layer, as torch.nn numbers and names them. */
enum rnn_part { RNN_INPUT, RNN_RECURRENT, RNN_INPUT_BIAS, RNN_RECURRENT_BIAS, RNN_PROJECTION, RNN_PARTS };

/* "rnn.LAYER.weight_ih" and so on: the name in GGUF's manner, which nobody else has defined. */
void rnn_tensor_name(char *out, size_t size, enum rnn_part part, size_t layer);

extern const struct naming rnn_namings[];

#endif
