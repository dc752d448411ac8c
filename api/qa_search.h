/* qa_search.h - documents cut into sentences and overlapping windows, searched by what they share with a
 * question; and the sentence that supports an answer.  No model runs here.
 * Callers: qa.c, on worker threads.  Memory: the call's arena; texts are borrowed. */
#ifndef LOQUAT_API_QA_SEARCH_H
#define LOQUAT_API_QA_SEARCH_H

#include "api/pieces.h"
#include "api/sentences.h"
#include "api/terms.h"

struct qa_document {
    struct token_text text;
    struct sentence *sentences;
    struct term_ids *terms; /* (n_sentences) */
    uint64_t *found;        /* (n_sentences) scratch: the question's terms in each */
    size_t n_sentences;
    struct token_range *windows;
    size_t n_windows;
};

struct qa_library {
    struct qa_document *documents;
    size_t n;
    struct term_table table;
    uint8_t *match[3]; /* scratch for three queries at a time */
};

/* A part of a document that may hold the answer. */
struct qa_passage {
    size_t document;
    struct token_range tokens;
    float rank;
};

struct qa_evidence {
    const struct sentence *sentence; /* NULL when the passage has none */
    float grounding;                 /* 0..1: share of the answer that stands in it and its neighbours */
};

/* window and overlap: tokens, as pieces_windows() takes them. */
int qa_library_make(struct api_call *call, struct engine_model *model, const struct engine_text *texts,
                    size_t n, size_t window, size_t overlap, struct qa_library *out, struct error *e);

/* Looks at every window; the best ones, best first, at most max.  Returns how many. */
size_t qa_rank(struct qa_library *lib, const struct engine_text *question, struct qa_passage *out,
               size_t max);

/* The window's sentences that share most with the question, in order of that, at most max, each as a passage
 * of at most `most` tokens; rank is then 0..1, the share of the question's words by weight.  Returns how
 * many. */
size_t qa_rank_sentences(struct qa_library *lib, const struct engine_text *question,
                         const struct qa_passage *window, size_t most, struct qa_passage *out, size_t max);

/* The passage with text around it, at most max tokens, cut where sentences end if it can be. */
struct token_range qa_widen(const struct qa_library *lib, const struct qa_passage *passage, size_t max);

/* 0..1: how much of the question, by the weight of its words, stands in the range. */
float qa_coverage(struct qa_library *lib, const struct engine_text *question, size_t document,
                  struct token_range range);

/* The sentence of the range that shares most with the answer and the question.  Words of the question and of
 * `wording` (what the prompt says itself) do not count for the grounding: echoing them proves nothing. */
struct qa_evidence qa_find_evidence(struct qa_library *lib, const struct engine_text *question,
                                    const struct engine_text *answer, const char *wording, size_t document,
                                    struct token_range range);

#endif
