/* torch_view.c - reads tensors whose elements do not lie in a row in the file: transposed, cut out, repeated.
 * Called by torch.c on any thread; one panel a file, under its lock.
 * A panel is a box of the tensor of at most PANEL_BYTES.  It is filled in the order of the file - the
 * dimension with the least stride innermost - through a small window, so that a transposed matrix costs long
 * reads and not one read an element; what was asked for is then copied from it. */
#include <stdlib.h>
#include <string.h>

#include "engine/formats/torch.h"

enum { PANEL_BYTES = 2 << 20, WINDOW_BYTES = 64 << 10, NEAR_BYTES = 4096 };

struct axis {
    uint64_t n, stride; /* elements in the file */
    uint64_t step;      /* elements in the panel */
};

struct window {
    const struct torch *f;
    uint64_t start, len, end; /* end: of the tensor's storage in use */
    uint8_t data[WINDOW_BYTES];
};

/* One box: `axes` from the least stride to the largest. */
struct box {
    struct axis axes[LIMIT_DIMENSIONS];
    unsigned n_axes;
    uint64_t at; /* byte in the file of its first element */
    size_t element;
};

/* `ahead` bytes are read when the element is not in the window. */
static const uint8_t *window_get(struct window *w, uint64_t at, size_t element, uint64_t ahead,
                                 struct error *e)
{
    if (at < w->start || at - w->start > w->len || w->len - (at - w->start) < element) {
        uint64_t n = ahead < WINDOW_BYTES ? ahead : WINDOW_BYTES;
        n = n < element ? element : n;
        n = n < w->end - at ? n : w->end - at;
        w->len = 0;
        if (bytes_read_at(w->f->bytes, at, w->data, (size_t)n, e) < 0)
            return NULL;
        w->start = at;
        w->len = n;
    }
    return w->data + (at - w->start);
}

/* The elements along the first axis, from byte `at` of the file to dst. */
static int fill_run(struct window *w, const struct box *box, uint64_t at, uint8_t *dst, struct error *e)
{
    const struct axis *run = &box->axes[0];
    uint64_t stride = run->stride * box->element, span = (run->n - 1) * stride + box->element;
    bool near = box->n_axes > 1 && box->axes[1].stride * box->element <= span * 4 + NEAR_BYTES;
    for (uint64_t i = 0; i < run->n; i++) {
        uint64_t ahead = stride > WINDOW_BYTES / 4 ? box->element : near ? WINDOW_BYTES : span - i * stride;
        const uint8_t *from = window_get(w, at + i * stride, box->element, ahead, e);
        if (!from)
            return -1;
        memcpy(dst + i * run->step * box->element, from, box->element);
    }
    return 0;
}

static int fill_box(struct window *w, const struct box *box, uint8_t *dst, struct error *e)
{
    uint64_t index[LIMIT_DIMENSIONS] = {0}, from = 0, to = 0;
    for (;;) {
        TRY(fill_run(w, box, box->at + from * box->element, dst + to * box->element, e));
        unsigned d = 1;
        for (; d < box->n_axes; d++) {
            const struct axis *axis = &box->axes[d];
            from += axis->stride;
            to += axis->step;
            if (++index[d] < axis->n)
                break;
            from -= axis->n * axis->stride;
            to -= axis->n * axis->step;
            index[d] = 0;
        }
        if (d >= box->n_axes)
            return 0;
    }
}

static void add_axis(struct box *box, struct axis axis)
{
    unsigned i = box->n_axes++;
    for (; i > 0 && box->axes[i - 1].stride > axis.stride; i--)
        box->axes[i] = box->axes[i - 1];
    box->axes[i] = axis;
}

/* Whole dimensions below `cut`, and indices of that one: what fits into a panel. */
static unsigned cut_dimension(const struct tensor_info *t, size_t element, uint64_t *inner, uint64_t *rows)
{
    unsigned cut = 0;
    *inner = 1;
    while (cut + 1 < t->n_dims && t->dims[cut] <= PANEL_BYTES / element / *inner)
        *inner *= t->dims[cut++];
    uint64_t fit = PANEL_BYTES / element / *inner;
    *rows = t->dims[cut] < fit ? t->dims[cut] : fit;
    return cut;
}

/* The box that holds the element with that number; *first is the number of its first element. */
static uint64_t make_box(const struct torch *f, const struct tensor_info *t, size_t element, uint64_t wanted,
                         struct box *box, uint64_t *first)
{
    const struct torch_view *view = &f->views[t - f->tensors];
    uint64_t inner, rows, step = 1, from = 0;
    unsigned cut = cut_dimension(t, element, &inner, &rows);
    uint64_t row = wanted / inner % t->dims[cut], outer = wanted / inner / t->dims[cut],
             start = row - row % rows;
    rows = rows < t->dims[cut] - start ? rows : t->dims[cut] - start;
    *first = (outer * t->dims[cut] + start) * inner;
    memset(box, 0, sizeof *box);
    for (unsigned d = 0; d <= cut; d++) {
        uint64_t n = d == cut ? rows : t->dims[d];
        add_axis(box, (struct axis){.n = n, .stride = n > 1 ? view->strides[d] : UINT32_MAX, .step = step});
        step *= n;
    }
    from = start * view->strides[cut];
    for (unsigned d = cut + 1; d < t->n_dims; d++) {
        from += outer % t->dims[d] * view->strides[d];
        outer /= t->dims[d];
    }
    box->element = element;
    box->at = t->offset + from * element;
    return rows * inner;
}

/* Byte in the file behind the last element of the tensor. */
static uint64_t end_of(const struct torch *f, const struct tensor_info *t, size_t element)
{
    const struct torch_view *view = &f->views[t - f->tensors];
    uint64_t last = 0;
    for (unsigned d = 0; d < t->n_dims; d++)
        last += (t->dims[d] - 1) * view->strides[d];
    return t->offset + (last + 1) * element;
}

static int fill_panel(struct torch *f, const struct tensor_info *t, size_t element, uint64_t wanted,
                      struct error *e)
{
    struct torch_panel *p = &f->panel;
    struct box box;
    if (!p->data && !(p->data = malloc(PANEL_BYTES)))
        return error_no_memory(e);
    struct window *w = malloc(sizeof *w);
    if (!w)
        return error_no_memory(e);
    *w = (struct window){.f = f, .end = end_of(f, t, element)};
    p->tensor = NULL;
    uint64_t first, n = make_box(f, t, element, wanted, &box, &first);
    int status = fill_box(w, &box, p->data, e);
    free(w);
    if (status == 0) {
        p->tensor = t;
        p->first = first;
        p->n = n;
    }
    return status;
}

static int copy_locked(struct torch *f, const struct tensor_info *t, uint64_t offset, uint8_t *dst, size_t n,
                       struct error *e)
{
    struct torch_panel *p = &f->panel;
    size_t element = dtype_bytes(t->dtype, 1);
    while (n > 0) {
        uint64_t wanted = offset / element;
        if (p->tensor != t || wanted < p->first || wanted - p->first >= p->n)
            TRY(fill_panel(f, t, element, wanted, e));
        uint64_t skip = offset - p->first * element, have = p->n * element - skip;
        size_t part = have < n ? (size_t)have : n;
        memcpy(dst, p->data + skip, part);
        dst += part;
        offset += part;
        n -= part;
    }
    return 0;
}

int torch_view_read(struct torch *f, const struct tensor_info *t, uint64_t offset, uint8_t *dst, size_t n,
                    struct error *e)
{
    pthread_mutex_lock(&f->panel.lock);
    int status = copy_locked(f, t, offset, dst, n, e);
    pthread_mutex_unlock(&f->panel.lock);
    return status;
}
