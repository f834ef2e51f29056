/* Keeps the best of every row while score tiles pass by: what exact top-K does beside the matrix product.
 *
 * A tile holds the scores of consecutive items for some rows and still lies in cache when it is read. Of a row, only
 * scores above its bound (the k-th best so far) are looked at one by one; the rest are passed over many at a time.
 * The order is total: score descending, item ascending. A pair (score, item) is one 64-bit key, greater = better. */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

enum { GROUP = 64 };
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "topk_scan reads eight flags as one word");

typedef struct {
    int64_t rows, items, first; /* the tile's scores [rows, items] are those of items first, first + 1, ... */
    int64_t keep, room;         /* k; and the keys that a row's buffer holds, at least k + 2 GROUP */
    float *scores;
    const int64_t *seen_row; /* [rows + 1] where each row's entries of seen begin */
    const int32_t *seen;     /* items not to be shown, ascending in a row */
    uint64_t *keys;          /* [rows, room] */
    int64_t *count;          /* [rows] keys held */
    float *bound;            /* [rows] the k-th best score; -inf while fewer than k are held */
} Tile;

int64_t kernel_source(void) { return KERNEL_SOURCE; }

/* Order of keys = order of (score, -item); + 0 makes -0 and 0 one score. */
static inline uint64_t key_of(float score, uint32_t item) {
    uint32_t bits;
    score += 0.0f;
    memcpy(&bits, &score, 4);
    bits = bits >> 31 ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | (uint32_t)~item;
}

static inline float score_of(uint64_t key) {
    uint32_t bits = (uint32_t)(key >> 32);
    bits = bits >> 31 ? bits & 0x7fffffffu : ~bits;
    float score;
    memcpy(&score, &bits, 4);
    return score;
}

/* Move the k greatest of n keys to the front (quickselect without branches on keys, which are unique). Returns the
 * least of them. */
static uint64_t select_best(uint64_t *keys, int64_t n, int64_t k) {
    int64_t low = 0, high = n - 1;
    while (low < high) {
        uint64_t a = keys[low], b = keys[(low + high) / 2], c = keys[high];
        int64_t middle = (a > b) == (b > c) ? (low + high) / 2 : (b > a) == (a > c) ? low : high, end = low;
        uint64_t pivot = keys[middle];
        keys[middle] = keys[high], keys[high] = pivot;
        for (int64_t i = low; i < high; i++) {
            uint64_t key = keys[i];
            keys[i] = keys[end], keys[end] = key;
            end += key > pivot;
        }
        keys[high] = keys[end], keys[end] = pivot;
        if (end == k - 1) break;
        if (end > k - 1) high = end - 1;
        else low = end + 1;
    }
    return keys[k - 1];
}

/* Whether any of n scores is above the bound, or no number. */
static inline __attribute__((always_inline)) int any_above(const float *scores, int64_t n, float bound) {
    int any = 0;
    for (int64_t i = 0; i < n; i++) any |= !(scores[i] <= bound);
    return any;
}

static inline __attribute__((always_inline)) int64_t count_above(const float *scores, int64_t n, float bound) {
    int32_t count = 0;
    for (int64_t i = 0; i < n; i++) count += scores[i] > bound;
    return count;
}

static inline __attribute__((always_inline)) int64_t count_from(const float *scores, int64_t n, float bound) {
    int32_t count = 0;
    for (int64_t i = 0; i < n; i++) count += scores[i] >= bound;
    return count;
}

/* Set the scores of the row's seen items to -inf. */
static void hide(const Tile *tile, int64_t row) {
    int64_t low = tile->seen_row[row], high = tile->seen_row[row + 1], end = high;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (tile->seen[middle] < tile->first) low = middle + 1;
        else high = middle;
    }
    float *scores = tile->scores + row * tile->items;
    for (; low < end && tile->seen[low] < tile->first + tile->items; low++)
        scores[tile->seen[low] - tile->first] = -INFINITY;
}

/* A bound for a row of which nothing is held yet: at least k groups of items (group g: g, g + groups, ...) have a
 * score above it, for it lies just below the k-th best of the groups' greatest. */
static inline __attribute__((always_inline)) float first_bound(const Tile *tile, const float *scores, uint64_t *keys) {
    int64_t groups = (2 * tile->keep + GROUP - 1) / GROUP * GROUP;
    if (groups > tile->room || 2 * groups > tile->items) return -INFINITY;
    for (int64_t group = 0; group < groups; group += GROUP) {
        float most[GROUP];
        for (int64_t i = 0; i < GROUP; i++) most[i] = scores[group + i];
        for (int64_t at = group + groups; at + GROUP <= tile->items; at += groups)
            for (int64_t i = 0; i < GROUP; i++) most[i] = scores[at + i] > most[i] ? scores[at + i] : most[i];
        for (int64_t i = 0; i < GROUP; i++) keys[group + i] = key_of(most[i], (uint32_t)(group + i));
    }
    return nextafterf(score_of(select_best(keys, groups, tile->keep)), -INFINITY);
}

/* Take a tile's scores into the rows' buffers. Returns 0, or 1 when a score is NaN or +inf. */
WIDE int topk_scan(const Tile *tile) {
    for (int64_t row = 0; row < tile->rows; row++) {
        const float *scores = tile->scores + row * tile->items;
        uint64_t *keys = tile->keys + row * tile->room;
        int64_t count = tile->count[row];
        float bound = tile->bound[row];
        hide(tile, row);
        if (tile->first == 0) bound = first_bound(tile, scores, keys);
        for (int64_t from = 0; from < tile->items; from += GROUP) {
            const float *group = scores + from;
            float last[GROUP];
            if (tile->items - from < GROUP) {
                for (int64_t i = 0; i < GROUP; i++) last[i] = i < tile->items - from ? group[i] : -INFINITY;
                group = last;
            }
            if (!any_above(group, GROUP, bound)) continue;
            uint8_t above[GROUP];
            for (int64_t i = 0; i < GROUP; i++) above[i] = !(group[i] <= bound);
            for (int64_t part = 0; part < GROUP; part += 8) {
                uint64_t some; /* bytes of 0 or 1 */
                memcpy(&some, above + part, 8);
                while (some) {
                    int64_t i = part + (__builtin_ctzll(some) >> 3);
                    some &= some - 1;
                    keys[count++] = key_of(group[i], (uint32_t)(tile->first + from + i));
                    if (!(group[i] <= FLT_MAX)) return 1;
                }
            }
            if (count + GROUP <= tile->room) continue;
            bound = score_of(select_best(keys, count, tile->keep));
            count = tile->keep;
        }
        tile->count[row] = count, tile->bound[row] = bound;
    }
    return 0;
}

/* Leave the k best keys in front of each buffer, zeros where fewer are held. */
void topk_finish(const Tile *tile) {
    for (int64_t row = 0; row < tile->rows; row++) {
        uint64_t *keys = tile->keys + row * tile->room;
        if (tile->count[row] > tile->keep) select_best(keys, tile->count[row], tile->keep);
        for (int64_t i = tile->count[row]; i < tile->keep; i++) keys[i] = 0;
    }
}

/* Add to before[p] how many of the tile's items stand before item[p], whose score is own[p]; row r's p run from
 * place[r] to place[r + 1]. Seen items are hidden first. Returns 0, or 1 when a score is NaN or +inf. */
WIDE int topk_count(const Tile *tile, const int64_t *place, const int64_t *item, const float *own, int64_t *before) {
    for (int64_t row = 0; row < tile->rows; row++) {
        const float *scores = tile->scores + row * tile->items;
        hide(tile, row);
        if (any_above(scores, tile->items, FLT_MAX)) return 1;
        for (int64_t p = place[row]; p < place[row + 1]; p++) {
            int64_t ahead = item[p] - tile->first;
            ahead = ahead < 0 ? 0 : ahead > tile->items ? tile->items : ahead;
            before[p] += count_from(scores, ahead, own[p]) + count_above(scores + ahead, tile->items - ahead, own[p]);
        }
    }
    return 0;
}
