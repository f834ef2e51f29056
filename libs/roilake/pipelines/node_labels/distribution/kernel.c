/* What surrounds the nodes of a graph: degrees by histogram, how far these are from landmarks', hops to anchors, and
 * how like the neighbours' features are.
 *
 * A graph is compressed sparse rows: the neighbours of node i are ids[offsets[i]] up to ids[offsets[i + 1]], ascending.
 * Every function works on the nodes first <= i < last and reads what it needs of all others, so that ranges of nodes
 * can be done by different processes on the same memory-mapped files. Random reads are the limit of all but dtw: rows
 * are prefetched AHEAD edges before their turn. */
#include <math.h>
#include <stdint.h>

enum { AHEAD = 16, LANES = 32 };

#ifdef __x86_64__
/* The widest vectors that the machine has. Lanes are apart from each other, so the bits are the same with any. */
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

typedef struct { int64_t nodes; const int64_t *offsets; const int32_t *ids; } Rows;
typedef struct { int32_t bin, count; } Pair; /* a row's list of pairs ends with a count of 0 or with the row */

/* How many neighbours of each node have a degree of each bin, as pairs in the place of its row, which has room for them.
 * pairs begins with the row of the node first. */
void bin_neighbours(const Rows *graph, const uint8_t *bin, int64_t bins, int64_t first, int64_t last, Pair *pairs) {
    int32_t count[256] = {0};
    pairs -= graph->offsets[first];
    for (int64_t i = first; i < last; i++) {
        int64_t at = graph->offsets[i], end = graph->offsets[i + 1];
        for (int64_t e = at; e < end; e++) count[bin[graph->ids[e]]]++;
        for (int64_t b = 0; b < bins && at < end; b++)
            if (count[b]) pairs[at++] = (Pair){(int32_t)b, count[b]}, count[b] = 0;
        if (at < end) pairs[at] = (Pair){0, 0};
    }
}

static inline void add_row(const Rows *graph, const Pair *pairs, int64_t node, int64_t *count) {
    int64_t end = graph->offsets[node + 1];
    for (int64_t at = graph->offsets[node]; at < end && pairs[at].count; at++) count[pairs[at].bin] += pairs[at].count;
}

/* counts [n, 2, bins], of zeros: the ends of all walks of length 1 and 2 from each node, by bin of their degree. */
void count_walks(const Rows *graph, const Pair *pairs, int64_t bins, const int32_t *nodes, int64_t n, int64_t *counts) {
    int64_t total = graph->offsets[graph->nodes];
    for (int64_t i = 0; i < n; i++) {
        int64_t *one = counts + 2 * i * bins, *two = one + bins, end = graph->offsets[nodes[i] + 1];
        add_row(graph, pairs, nodes[i], one);
        for (int64_t e = graph->offsets[nodes[i]]; e < end; e++) {
            if (e + AHEAD < total) __builtin_prefetch(pairs + graph->offsets[graph->ids[e + AHEAD]]);
            add_row(graph, pairs, graph->ids[e], two);
        }
    }
}

static inline float least(float a, float b) { return a < b ? a : b; }
static inline float most(float a, float b) { return a > b ? a : b; }

/* Landmarks by groups of LANES: entry k of a sequence has a weight, and a cost against each bin. */
typedef struct {
    int64_t groups, bins, longest;
    const float *cost;     /* [groups, bins, longest, LANES] */
    const float *weight;   /* [groups, longest, LANES] */
    const int32_t *length; /* [groups, LANES] */
} Landmarks;

/* Dynamic time warping of a node's sequence against those of LANES landmarks: d(b, k) = c(b, k) max(w_b, w_k) +
 * min(d(b - 1, k), d(b - 1, k - 1), d(b, k - 1)). row[k] holds d(b, k) of the node's last bin b. Bins of weight 0 are
 * in no sequence. A lane goes on beyond its own end: what lies there reaches nothing before. The limit is arithmetic:
 * four of a cell's five operations compete for two ports of the core. Two bins at a time, with half the loads, gain a
 * tenth only. */
WIDE static void dtw(const float *restrict node, int64_t bins, const float *restrict cost, int64_t stride,
                     const float *restrict weight, int64_t longest, float *restrict row) {
    float corner = 0;
    for (int64_t k = 0; k < longest * LANES; k++) row[k] = INFINITY;
    for (int64_t b = 0; b < bins; b++) {
        if (node[b] == 0) continue;
        const float *restrict c = cost + b * stride * LANES;
        float left[LANES], diagonal[LANES]; /* the compiler keeps both in registers */
        for (int l = 0; l < LANES; l++) left[l] = INFINITY, diagonal[l] = corner;
        for (int64_t k = 0; k < longest; k++)
            for (int l = 0; l < LANES; l++) {
                float up = row[k * LANES + l], w = most(node[b], weight[k * LANES + l]);
                left[l] = least(least(up, diagonal[l]), left[l]) + c[k * LANES + l] * w;
                diagonal[l] = up;
                row[k * LANES + l] = left[l];
            }
        corner = INFINITY;
    }
}

/* distance [n, groups, LANES] += dtw of the weights [n, bins]; INFINITY where either sequence is empty. row has room
 * for [longest, LANES]. */
void add_distances(const float *nodes, int64_t n, const Landmarks *landmarks, float *row, float *distance) {
    int64_t bins = landmarks->bins, stride = landmarks->longest;
    for (int64_t g = 0; g < landmarks->groups; g++) { /* a group's costs stay in the cache */
        const int32_t *length = landmarks->length + g * LANES;
        int64_t longest = 0;
        for (int l = 0; l < LANES; l++) longest = length[l] > longest ? length[l] : longest;
        for (int64_t i = 0; i < n; i++) {
            float *to = distance + (i * landmarks->groups + g) * LANES;
            dtw(nodes + i * bins, bins, landmarks->cost + g * bins * stride * LANES, stride,
                landmarks->weight + g * stride * LANES, longest, row);
            for (int l = 0; l < LANES; l++) to[l] += length[l] ? row[(length[l] - 1) * LANES + l] : INFINITY;
        }
    }
}

/* next[i - first] = mask[i] | OR of the neighbours' masks; whether any changed. */
int64_t spread(const Rows *graph, const uint64_t *mask, int64_t first, int64_t last, uint64_t *next) {
    uint64_t changed = 0;
    for (int64_t i = first; i < last; i++) {
        uint64_t reached = mask[i];
        for (int64_t e = graph->offsets[i]; e < graph->offsets[i + 1]; e++) reached |= mask[graph->ids[e]];
        changed |= reached ^ mask[i];
        next[i - first] = reached;
    }
    return changed != 0;
}

/* position [n, anchors] of the masks [rounds, n]: 1 / (1 + the first round with the anchor's bit), 0 without one. */
void nearness(const uint64_t *mask, int64_t rounds, int64_t n, int64_t anchors, float *position) {
    for (int64_t i = 0; i < n; i++) {
        uint64_t seen = 0;
        for (int64_t r = 0; r < rounds; r++) {
            float near = 1.0f / (float)(1 + r);
            for (uint64_t fresh = mask[r * n + i] & ~seen; fresh; fresh &= fresh - 1)
                position[i * anchors + __builtin_ctzll(fresh)] = near;
            seen |= mask[r * n + i];
        }
    }
}

/* How many ids two ascending rows share. No branch depends on the data, so none is mispredicted. */
static inline int64_t shared(const int32_t *a, int64_t m, const int32_t *b, int64_t n) {
    int64_t i = 0, j = 0, both = 0;
    while (i < m && j < n) {
        uint32_t x = (uint32_t)a[i], y = (uint32_t)b[j];
        both += x == y, i += x <= y, j += y <= x;
    }
    return both;
}

/* share [last - first, bins]: of each node's neighbours, by bin of the cosine of their feature sets and its own. */
void compare_features(const Rows *graph, const Rows *features, int64_t bins, int64_t first, int64_t last,
                      float *share) {
    int64_t total = graph->offsets[graph->nodes];
    for (int64_t i = first; i < last; i++) {
        int64_t start = graph->offsets[i], end = graph->offsets[i + 1], count[64] = {0};
        int64_t own = features->offsets[i], m = features->offsets[i + 1] - own;
        for (int64_t e = start; e < end; e++) {
            int64_t theirs = features->offsets[graph->ids[e]], n = features->offsets[graph->ids[e] + 1] - theirs;
            if (e + AHEAD < total) __builtin_prefetch(features->ids + features->offsets[graph->ids[e + AHEAD]]);
            int64_t both = shared(features->ids + own, m, features->ids + theirs, n);
            int64_t bin = both ? (int64_t)((double)(bins * both) / sqrt((double)m * (double)n)) : 0;
            count[bin < bins ? bin : bins - 1]++;
        }
        for (int64_t b = 0; b < bins && start < end; b++)
            share[(i - first) * bins + b] = (float)count[b] / (float)(end - start);
    }
}

int64_t kernel_source(void) { return KERNEL_SOURCE; }
