/* qwen.h - what the Qwen families say alike in config.json, and their tensors' names.  Any thread. */
#ifndef LOQUAT_MODELS_QWEN_H
#define LOQUAT_MODELS_QWEN_H

#include "engine/models/decoder.h"

extern const struct tensor_name qwen_tensors[];

/* sliding_window counts only with use_sliding_window, and then from layer max_window_layers on, unless
 * layer_types says it. */
int qwen_prepare(json_t *config, struct error *e);

#endif
