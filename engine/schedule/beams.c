/* beams.c - see beams.h.
 * A beam that goes on stays in its sequence; only further continuations of the same beam are copied, into
 * sequences that nobody goes on with: tokens, and references to pages, which are copied when written to. */
#include "engine/schedule/beams.h"

#include <stdlib.h>
#include <string.h>

/* The score of a hypothesis that was never found, as in transformers. */
#define NO_SCORE (-1e9)

bool beams_ready(const struct job *j)
{
    for (unsigned i = 0; i < j->n_ranks; i++) {
        const struct sequence *s = j->ranks[i];
        if (s->state != SEQUENCE_RUNNING || s->n_tokens - s->n_computed != 1)
            return false;
    }
    return true;
}

void beams_preempt(struct job *j)
{
    for (unsigned i = 0; i < j->n_ranks; i++) {
        sequence_release(j->ranks[i]);
        j->ranks[i]->state = i == 0 ? SEQUENCE_WAITING : SEQUENCE_FOLLOWING;
    }
}

void beams_follow(struct job *j)
{
    const struct sequence *best = j->ranks[0];
    if (best->state != SEQUENCE_RUNNING || best->n_tokens - best->n_computed != 1)
        return;
    for (unsigned i = 1; i < j->n_ranks; i++) {
        struct sequence *s = j->ranks[i];
        if (s->state != SEQUENCE_FOLLOWING)
            continue;
        size_t common = j->n_prefix;
        while (common < best->n_computed && s->tokens[common] == best->tokens[common])
            common++;
        sequence_share(s, best, common < best->n_computed ? common : best->n_computed);
    }
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* `copy` becomes what the parent is, before either goes on. */
static void copy_beam(struct job *j, struct sequence *copy, const struct sequence *parent)
{
    size_t n = parent->n_tokens - j->n_prefix;
    memcpy(copy->tokens + j->n_prefix, parent->tokens + j->n_prefix, n * sizeof *copy->tokens);
    memcpy(copy->logprobs, parent->logprobs, n * sizeof *copy->logprobs);
    copy->n_tokens = parent->n_tokens;
    sampler_copy(copy->sampler, parent->sampler);
    sequence_share(copy, parent, parent->n_computed);
}

static struct sequence *take_unused(struct job *j, bool *used)
{
    unsigned i = 0;
    while (used[i])
        i++;
    used[i] = true;
    return &j->sequences[i];
}

static void append(struct job *j, struct sequence *s, const struct beam_next *next)
{
    s->logprobs[s->n_tokens - j->n_prefix] = next->logprob;
    s->tokens[s->n_tokens++] = next->token;
    sampler_accept(s->sampler, next->token);
}

static void go_on(struct job *j, const struct beam_next *next, unsigned n)
{
    struct sequence *ranks[LIMIT_BEAMS] = {0};
    bool used[LIMIT_BEAMS] = {0}, kept[LIMIT_BEAMS] = {0};
    for (unsigned i = 0; i < n; i++) {
        if (kept[next[i].parent])
            continue;
        kept[next[i].parent] = true;
        ranks[i] = j->ranks[next[i].parent];
        used[ranks[i]->choice] = true;
    }
    for (unsigned i = 0; i < j->n_ranks; i++) {
        if (!kept[i]) {
            sequence_release(j->ranks[i]);
            j->ranks[i]->state = SEQUENCE_FOLLOWING;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        if (!ranks[i]) {
            ranks[i] = take_unused(j, used);
            copy_beam(j, ranks[i], j->ranks[next[i].parent]);
        }
    }
    for (unsigned i = 0; i < n; i++)
        append(j, ranks[i], &next[i]);
    memcpy(j->ranks, ranks, sizeof ranks);
    j->n_ranks = n;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* False when memory is out. */
static bool write_text(struct text_stream *text, const struct beam_hypothesis *h)
{
    bool ok = true;
    size_t shown = h->ended ? h->n - 1 : h->n;
    for (size_t i = 0; i < shown && ok; i++)
        text_stream_push(text, h->tokens[i], &ok);
    text_stream_finish(text);
    return ok;
}

static bool tell(struct job *j, unsigned choice, const struct beam_hypothesis *h)
{
    struct engine_token *tokens = calloc(h->n, sizeof *tokens);
    bool ok = tokens && write_text(j->sequences[choice].text, h);
    for (size_t i = 0; ok && i < h->n; i++) {
        tokens[i].id = h->tokens[i];
        tokens[i].has_logprob = j->spec.logprobs;
        tokens[i].logprob = j->spec.logprobs ? h->logprobs[i] : 0;
    }
    if (ok)
        job_send_hypothesis(j, choice, tokens, h->n, job_finish(j, h->tokens[h->n - 1], h->n),
                            (double)h->score);
    free(tokens);
    return ok;
}

static void end(struct job *j)
{
    const struct beam_hypothesis *found;
    size_t n = beam_search_results(j->beams, &found);
    for (unsigned i = 0; i < j->spec.choices; i++) {
        if (i >= n) {
            job_send_hypothesis(j, i, NULL, 0, ENGINE_FINISH_LENGTH, NO_SCORE);
        } else if (!tell(j, i, &found[i])) {
            error_no_memory(&j->failure);
            return;
        } else {
            j->usage.completion_tokens += found[i].n;
        }
    }
    for (unsigned i = 0; i < j->n_sequences; i++)
        sequence_finish(&j->sequences[i]);
}

void beams_step(struct job *j)
{
    struct beam_path paths[LIMIT_BEAMS];
    for (unsigned i = 0; i < j->n_ranks; i++)
        paths[i] = (struct beam_path){j->ranks[i]->tokens + j->n_prefix, j->ranks[i]->logprobs};
    unsigned n = beam_search_step(j->beams, paths, j->ranks[0]->n_tokens - j->n_prefix);
    if (n > 0)
        go_on(j, beam_search_next(j->beams), n);
    else
        end(j);
}
