/* endpoints.h - the functions behind the rows of the ENDPOINT TABLE, for endpoint.c alone.
 * What begin, event, advance and free promise is said in api.h. */
#ifndef LOQUAT_API_ENDPOINTS_H
#define LOQUAT_API_ENDPOINTS_H

#include "api/api.h"
#include "api/fields.h"

extern const struct field_table completions_fields;
int completions_begin(struct api_call *call, struct error *e);
void completions_event(struct api_call *call, size_t job, const struct engine_event *event);
int completions_advance(struct api_call *call, struct error *e);
void completions_free(struct api_call *call);

extern const struct field_table chat_fields;
int chat_begin(struct api_call *call, struct error *e);
void chat_event(struct api_call *call, size_t job, const struct engine_event *event);
int chat_advance(struct api_call *call, struct error *e);
void chat_free(struct api_call *call);

extern const struct api_dialect api_responses_dialect;
extern const struct field_table responses_fields;
int responses_begin(struct api_call *call, struct error *e);
void responses_event(struct api_call *call, size_t job, const struct engine_event *event);
int responses_advance(struct api_call *call, struct error *e);
void responses_free(struct api_call *call);
int responses_get_begin(struct api_call *call, struct error *e);
int responses_input_begin(struct api_call *call, struct error *e);
int responses_delete_begin(struct api_call *call, struct error *e);
int responses_cancel_begin(struct api_call *call, struct error *e);

extern const struct field_table summarize_fields;
int summarize_begin(struct api_call *call, struct error *e);
void summarize_event(struct api_call *call, size_t job, const struct engine_event *event);
int summarize_advance(struct api_call *call, struct error *e);
void summarize_free(struct api_call *call);

extern const struct field_table qa_fields;
int qa_begin(struct api_call *call, struct error *e);
void qa_event(struct api_call *call, size_t job, const struct engine_event *event);
int qa_advance(struct api_call *call, struct error *e);
void qa_free(struct api_call *call);

extern const struct field_table embeddings_fields;
int embeddings_begin(struct api_call *call, struct error *e);
void embeddings_event(struct api_call *call, size_t job, const struct engine_event *event);
int embeddings_advance(struct api_call *call, struct error *e);
void embeddings_free(struct api_call *call);

extern const struct field_table rerank_fields;
int rerank_begin(struct api_call *call, struct error *e);
void rerank_event(struct api_call *call, size_t job, const struct engine_event *event);
int rerank_advance(struct api_call *call, struct error *e);
void rerank_free(struct api_call *call);

extern const struct field_table classify_fields;
int classify_begin(struct api_call *call, struct error *e);
void classify_event(struct api_call *call, size_t job, const struct engine_event *event);
int classify_advance(struct api_call *call, struct error *e);
void classify_free(struct api_call *call);

extern const struct field_table fill_mask_fields;
int fill_mask_begin(struct api_call *call, struct error *e);
void fill_mask_event(struct api_call *call, size_t job, const struct engine_event *event);
int fill_mask_advance(struct api_call *call, struct error *e);
void fill_mask_free(struct api_call *call);

extern const struct field_table entities_fields;
int entities_begin(struct api_call *call, struct error *e);
void entities_event(struct api_call *call, size_t job, const struct engine_event *event);
int entities_advance(struct api_call *call, struct error *e);
void entities_free(struct api_call *call);

extern const struct field_table translate_fields;
int translate_begin(struct api_call *call, struct error *e);
void translate_event(struct api_call *call, size_t job, const struct engine_event *event);
int translate_advance(struct api_call *call, struct error *e);
void translate_free(struct api_call *call);

extern const struct field_table score_fields;
int score_begin(struct api_call *call, struct error *e);
void score_event(struct api_call *call, size_t job, const struct engine_event *event);
int score_advance(struct api_call *call, struct error *e);
void score_free(struct api_call *call);

int openapi_begin(struct api_call *call, struct error *e);
int docs_begin(struct api_call *call, struct error *e);
int capabilities_begin(struct api_call *call, struct error *e);

int models_list_begin(struct api_call *call, struct error *e);
int models_one_begin(struct api_call *call, struct error *e);

extern const struct field_table tokenize_fields;
int tokenize_begin(struct api_call *call, struct error *e);
extern const struct field_table detokenize_fields;
int detokenize_begin(struct api_call *call, struct error *e);
int tokenizer_info_begin(struct api_call *call, struct error *e);

extern const struct field_table tei_embed_fields;
int tei_embed_begin(struct api_call *call, struct error *e);
void tei_embed_event(struct api_call *call, size_t job, const struct engine_event *event);
int tei_embed_advance(struct api_call *call, struct error *e);
void tei_embed_free(struct api_call *call);

extern const struct field_table tei_similarity_fields;
int tei_similarity_begin(struct api_call *call, struct error *e);
void tei_similarity_event(struct api_call *call, size_t job, const struct engine_event *event);
int tei_similarity_advance(struct api_call *call, struct error *e);
void tei_similarity_free(struct api_call *call);

extern const struct field_table tei_rerank_fields;
int tei_rerank_begin(struct api_call *call, struct error *e);
void tei_rerank_event(struct api_call *call, size_t job, const struct engine_event *event);
int tei_rerank_advance(struct api_call *call, struct error *e);
void tei_rerank_free(struct api_call *call);

extern const struct field_table tei_predict_fields;
int tei_predict_begin(struct api_call *call, struct error *e);
void tei_predict_event(struct api_call *call, size_t job, const struct engine_event *event);
int tei_predict_advance(struct api_call *call, struct error *e);
void tei_predict_free(struct api_call *call);

extern const struct field_table tei_embed_all_fields, tei_embed_sparse_fields;
int tei_embed_all_begin(struct api_call *call, struct error *e);
int tei_embed_sparse_begin(struct api_call *call, struct error *e);
int tei_info_begin(struct api_call *call, struct error *e);

extern const struct field_table ollama_embed_fields;
int ollama_embed_begin(struct api_call *call, struct error *e);
void ollama_embed_event(struct api_call *call, size_t job, const struct engine_event *event);
int ollama_embed_advance(struct api_call *call, struct error *e);
void ollama_embed_free(struct api_call *call);

extern const struct field_table ollama_embeddings_fields;
int ollama_embeddings_begin(struct api_call *call, struct error *e);
void ollama_embeddings_event(struct api_call *call, size_t job, const struct engine_event *event);
int ollama_embeddings_advance(struct api_call *call, struct error *e);
void ollama_embeddings_free(struct api_call *call);

extern const struct field_table ollama_show_fields, ollama_pull_fields;
int ollama_show_begin(struct api_call *call, struct error *e);
int ollama_pull_begin(struct api_call *call, struct error *e);
int ollama_root_begin(struct api_call *call, struct error *e);
int ollama_version_begin(struct api_call *call, struct error *e);
int ollama_tags_begin(struct api_call *call, struct error *e);
int ollama_ps_begin(struct api_call *call, struct error *e);

extern const struct field_table oip_infer_fields;
int oip_infer_begin(struct api_call *call, struct error *e);
void oip_infer_event(struct api_call *call, size_t job, const struct engine_event *event);
int oip_infer_advance(struct api_call *call, struct error *e);
void oip_infer_free(struct api_call *call);

extern const struct field_table oip_generate_fields;
int oip_generate_begin(struct api_call *call, struct error *e);
void oip_generate_event(struct api_call *call, size_t job, const struct engine_event *event);
int oip_generate_advance(struct api_call *call, struct error *e);
void oip_generate_free(struct api_call *call);

extern const struct field_table oip_generate_stream_fields;
int oip_generate_stream_begin(struct api_call *call, struct error *e);
void oip_generate_stream_event(struct api_call *call, size_t job, const struct engine_event *event);
int oip_generate_stream_advance(struct api_call *call, struct error *e);
void oip_generate_stream_free(struct api_call *call);

int oip_server_begin(struct api_call *call, struct error *e);
int oip_model_begin(struct api_call *call, struct error *e);
int oip_ready_begin(struct api_call *call, struct error *e);

extern const struct field_table ollama_generate_fields;
int ollama_generate_begin(struct api_call *call, struct error *e);
void ollama_generate_event(struct api_call *call, size_t job, const struct engine_event *event);
int ollama_generate_advance(struct api_call *call, struct error *e);
void ollama_generate_free(struct api_call *call);

extern const struct field_table ollama_chat_fields;
int ollama_chat_begin(struct api_call *call, struct error *e);
void ollama_chat_event(struct api_call *call, size_t job, const struct engine_event *event);
int ollama_chat_advance(struct api_call *call, struct error *e);
void ollama_chat_free(struct api_call *call);

extern const struct field_table anthropic_fields;
int anthropic_begin(struct api_call *call, struct error *e);
void anthropic_event(struct api_call *call, size_t job, const struct engine_event *event);
int anthropic_advance(struct api_call *call, struct error *e);
void anthropic_free(struct api_call *call);

extern const struct field_table anthropic_count_fields;
int anthropic_count_begin(struct api_call *call, struct error *e);

#endif
