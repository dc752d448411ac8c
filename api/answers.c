/* answers.c - see answers.h. */
#include "api/answers.h"

#include <string.h>

#define ENVELOPE         "id: s, object: s, created: i, model: s, system_fingerprint: s"
#define RESULTS(members) "{" ENVELOPE ", results: [{index: i, " members "}], usage: Usage}"

/* clang-format off */
static const struct answer_schema schemas[] = {
    {"Error", "{error: {message: s, type: s, param: s?, code: s?}}"},
    {"Usage", "{prompt_tokens: i, completion_tokens: i, total_tokens: i, prompt_tokens_details: {cached_tokens: i}, "
              "completion_tokens_details: {reasoning_tokens: i}}"},
    {"ReadUsage", "{prompt_tokens: i, total_tokens: i}"},
    {"TopLogprob", "{token: s, logprob: n, bytes: [i]}"},
    {"ChatLogprobs", "{content: [{token: s, logprob: n, bytes: [i], top_logprobs: [TopLogprob]}], refusal: s?}"},
    {"ToolCall", "{id: s, type: 'function', function: {name: s, arguments: s}}"},
    {"ChatMessage", "{role: 'assistant', content: s?, refusal: s?, reasoning_content?: s, tool_calls?: [ToolCall]}"},
    {"CompletionLogprobs", "{tokens: [s], token_logprobs: [n?], top_logprobs: [{*: n}?], text_offset: [i]}"},
    {"Model", "{id: s, object: 'model', created: i, owned_by: s, meta: {*: x}}"},
    {"ResponsePart", "{type: s, text: s, annotations?: [x], logprobs?: [x]}"},
    {"ResponseItem", "{type: 'message', id: s, status: s, role: 'assistant', content: [ResponsePart]} | "
                     "{type: 'reasoning', id: s, status: s, summary: [x], content: [ResponsePart]} | "
                     "{type: 'function_call', id: s, call_id: s, name: s, arguments: s, status: s}"},
    {"ResponseUsage", "{input_tokens: i, input_tokens_details: {cached_tokens: i}, output_tokens: i, "
                      "output_tokens_details: {reasoning_tokens: i}, total_tokens: i}"},
    {"Response", "{id: s, object: 'response', created_at: i, status: s, error: x, incomplete_details: {reason: s}?, model: "
                 "s, instructions: s?, previous_response_id: s?, user: s?, metadata: {*: x}, tools: [x], tool_choice: x, "
                 "parallel_tool_calls: b, store: b, background: b, truncation: s, temperature: n, top_p: n, "
                 "max_output_tokens: i?, text: {format: {*: x}}, reasoning: {effort: s?, summary: s?}, output: "
                 "[ResponseItem], usage: ResponseUsage?}"},
    {"Evidence", "{document: i, start: i, end: i, text: s}"},
    {"Tensor", "{name: s, datatype: s, shape: [i], data?: [x]}"},
};

#define OIP_ROWS(base)                                                                                       \
    {base, API_GET, NULL, "What a model takes and gives.",                                                   \
     "{name: s, versions: [s], platform: s, inputs: [Tensor], outputs: [Tensor]}", NULL},                    \
    {base "/ready", API_GET, NULL, "Whether a model is ready.", "{name: s, ready: b}", NULL},                \
    {base "/infer", API_POST, NULL, "What a model does, over tensors of texts.",                             \
     "{model_name: s, model_version: s, id?: s, outputs: [Tensor]}", NULL},                                  \
    {base "/generate", API_POST, "completions", "Text after a text.",                                        \
     "{id?: s, model_name: s, model_version: s, text_output: s}", NULL},                                     \
    {base "/generate_stream", API_POST, "completions", "Text after a text, piece by piece.", NULL,           \
     "text/event-stream"}

static const struct answer_row rows[] = {
    {"/v1/completions", API_POST, "completions", "Text after a raw prompt.",
     "{" ENVELOPE ", choices: [{text: s, index: i, logprobs: CompletionLogprobs?, finish_reason: s?, token_ids?: [i], "
     "score?: n}], usage: Usage}", NULL},
    {"/v1/chat/completions", API_POST, "chat", "The next message of a conversation.",
     "{" ENVELOPE ", choices: [{index: i, message: ChatMessage, logprobs: ChatLogprobs?, finish_reason: s?, token_ids?: "
     "[i]}], usage: Usage}", NULL},
    {"/v1/responses", API_POST, "chat", "The next items of a conversation, kept for a while.", "Response", NULL},
    {"/v1/responses/{id}", API_GET, NULL, "A kept response.", "Response", NULL},
    {"/v1/responses/{id}", API_DELETE, NULL, "Forgets a response.", "{id: s, object: 'response', deleted: b}", NULL},
    {"/v1/responses/{id}/input_items", API_GET, NULL, "What a kept response answers.",
     "{object: 'list', data: [x], has_more: b}", NULL},
    {"/v1/responses/{id}/cancel", API_POST, NULL, "Ends a response that is being made.", "Response", NULL},
    {"/v1/embeddings", API_POST, "embeddings", "Vectors of texts.",
     "{object: 'list', data: [{object: 'embedding', index: i, truncated?: b, embedding: s | [n]}], model: s, usage: "
     "ReadUsage}", NULL},
    {"/v1/rerank", API_POST, "rerank", "Documents in the order of what they have to do with a query.",
     "{" ENVELOPE ", method: s, results: [{index: i, relevance_score: n, truncated?: b, document?: {text: s}}], usage: "
     "ReadUsage}", NULL},
    {"/v1/classify", API_POST, "classify", "Labels or values of texts.",
     RESULTS("label?: s, score?: n, labels?: [{label: s, score: n}], value?: n, values?: [n], truncated?: b"), NULL},
    {"/v1/sentiment", API_POST, "classify", "The same as /v1/classify.",
     RESULTS("label?: s, score?: n, labels?: [{label: s, score: n}], value?: n, values?: [n], truncated?: b"), NULL},
    {"/v1/fill-mask", API_POST, "fill-mask", "What a masked model puts in place of its mask.",
     RESULTS("masks: [{start: i, end: i, candidates: [{id: i, token: s, text: s, score: n}]}]"), NULL},
    {"/v1/entities", API_POST, "entities", "Names and other spans of texts.",
     RESULTS("entities: [{label: s, text: s, start: i, end: i, score: n}], truncated?: b"), NULL},
    {"/v1/qa", API_POST, "qa", "Answers from documents, with the sentences that prove them.",
     RESULTS("answer: s, score: n, document?: i, start?: i, end?: i, evidence: Evidence?, answerable: b, no_answer_score?: "
             "n, alternatives?: [{answer: s, score: n, document: i, start: i, end: i}]"), NULL},
    {"/v1/translate", API_POST, "translate", "Texts in another language.",
     RESULTS("translation: s, score: n?, cut: b"), NULL},
    {"/v1/summarize", API_POST, "summarize", "Summaries of texts of any length.",
     RESULTS("summary: s, passes: i, input_tokens: i, cut: b"), NULL},
    {"/v1/score", API_POST, "score", "Log probability of each token, total and perplexity.",
     RESULTS("token_ids: [i], tokens: [s], logprobs: [n?], total: n, perplexity: n?"), NULL},
    {"/v1/models", API_GET, NULL, "The loaded models.", "{object: 'list', data: [Model]}", NULL},
    {"/v1/models/{id}", API_GET, NULL, "A loaded model.", "Model", NULL},
    {"/v1/capabilities", API_GET, NULL, "What each loaded model supports, option by option.",
     "{object: 'list', data: [{id: s, abilities: [s], context: i, chat: {*: x}?, endpoints: {*: x}}]}", NULL},
    {"/openapi.json", API_GET, NULL, "This document.", "{*: x}", NULL},
    {"/docs", API_GET, NULL, "This document as a page.", NULL, "text/html"},
    {"/tokenize", API_POST, NULL, "Token ids of a text.", "{tokens: [x]}", NULL},
    {"/detokenize", API_POST, NULL, "Text of token ids.", "{content: s, prompt: s}", NULL},
    {"/tokenizer_info", API_GET, NULL, "The first model's tokenizer.", "{*: x}", NULL},
    {"/embed", API_POST, "embeddings", "Vectors of texts.", "[[n]]", NULL},
    {"/embed_all", API_POST, NULL, "Refused: there are no vectors of single tokens here.", "x", NULL},
    {"/embed_sparse", API_POST, NULL, "Refused: there are no sparse vectors here.", "x", NULL},
    {"/similarity", API_POST, "embeddings", "How close texts are to one.", "[n]", NULL},
    {"/rerank", API_POST, "rerank", "Texts in the order of what they have to do with a query.",
     "[{index: i, score: n, text?: s}]", NULL},
    {"/predict", API_POST, "classify", "Labels of texts.", "[{score: n, label: s}] | [[{score: n, label: s}]]", NULL},
    {"/info", API_GET, NULL, "The model that answers.", "{*: x}", NULL},
    {"/v2", API_GET, NULL, "The server.", "{name: s, version: s, extensions: [s]}", NULL},
    OIP_ROWS("/v2/models/{model}"),
    OIP_ROWS("/v2/models/{model}/versions/{version}"),
    {"/", API_GET, NULL, "Says that the server is there.", NULL, "text/plain"},
    {"/api/version", API_GET, NULL, "The version of Ollama whose API this is.", "{version: s, server: s}", NULL},
    {"/api/tags", API_GET, NULL, "The loaded models.", "{models: [{*: x}]}", NULL},
    {"/api/ps", API_GET, NULL, "The loaded models.", "{models: [{*: x}]}", NULL},
    {"/api/show", API_POST, NULL, "A loaded model.", "{*: x}", NULL},
    {"/api/pull", API_POST, NULL, "Says whether a model is here; fetches nothing.", "{status: s}", NULL},
    {"/api/embed", API_POST, "embeddings", "Vectors of texts.",
     "{model: s, embeddings: [[n]], total_duration: i, load_duration: i, prompt_eval_count: i}", NULL},
    {"/api/embeddings", API_POST, "embeddings", "The vector of a text.", "{embedding: [n]}", NULL},
    {"/api/generate", API_POST, "completions", "Text after a prompt.", "{*: x}", NULL},
    {"/api/chat", API_POST, "chat", "The next message of a conversation.", "{*: x}", NULL},
    {"/v1/messages", API_POST, "chat", "The next message of a conversation, in Anthropic's words.", "{*: x}", NULL},
    {"/v1/messages/count_tokens", API_POST, "chat", "The tokens of a conversation.", "{input_tokens: i}", NULL},
    {"/health", API_GET, NULL, "Whether the server is alive and ready; asks no engine.", "{*: x}", NULL},
    {"/metrics", API_GET, NULL, "Counters and gauges for Prometheus.", NULL, "text/plain"},
};

/* clang-format on */

const struct answer_row *answer_at(size_t i)
{
    return i < sizeof rows / sizeof rows[0] ? &rows[i] : NULL;
}

const struct answer_schema *answer_schema_at(size_t i)
{
    return i < sizeof schemas / sizeof schemas[0] ? &schemas[i] : NULL;
}

const struct answer_row *answer_find(const struct api_endpoint *endpoint)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].method == endpoint->method && strcmp(rows[i].path, endpoint->path) == 0)
            return &rows[i];
    }
    return NULL;
}
