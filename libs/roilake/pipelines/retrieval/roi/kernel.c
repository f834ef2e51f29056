/* Keeps the top neighbours of many lists: the hot loop of ROI building.
 *
 * A list is a run of edges [first, last) in list order (edge weight descending, id ascending). Its focal F and a
 * neighbour's vector v are whole numbers, so the relevance (Tanimoto) R = F.v / (|F|^2 + |v|^2 - F.v), 0/0 = 0, is one
 * correctly rounded division: the same bits on every machine. Candidates are scored in blocks; while one block is
 * scored the vectors of the next are prefetched, for random memory access is the limit. |v|^2 is summed from the
 * vector at hand: a table of norms would cost one more cache miss per edge than it saves. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

enum { BLOCK = 64, IDS_AHEAD = 6, ROI = 0, WEIGHTED = 1, UNIFORM = 2 };

typedef struct {
    int64_t lists, per_row, fanout, stride, dim; /* list l belongs to row l / per_row; dim is a multiple of 32 */
    int64_t by_edge;                             /* vectors lie by edge (1) or by neighbour id (0) */
    int64_t sampler;
    const int64_t *first, *last; /* [lists] */
    const int32_t *ids;          /* [edges] */
    const int8_t *vectors;       /* [edges or nodes, dim] */
    const int16_t *focal;        /* [rows, dim] */
    const int32_t *skip;         /* [rows] an id never to keep; -1 for none */
    const uint64_t *key;         /* [lists] hash key of the uniform sampler */
    int32_t *neighbours;         /* row r, its list p: fanout entries at r * stride + p * fanout, -1 padded */
    int8_t *relevance;           /* the same places: round(127 R) */
} Job;

typedef struct { int64_t list, at, size; } Block;
typedef int64_t (*Select)(const double *score, int64_t n, int64_t k, int64_t *chosen);
typedef void (*Score)(const int16_t *focal, const int8_t *const *v, const int8_t *const *ahead, int64_t n, int64_t dim,
                      double *relevance);

static inline double tanimoto(int32_t dot, int32_t focal_norm, int32_t norm) {
    int32_t rest = focal_norm + norm - dot; /* 0 only if both vectors are 0 */
    return (double)dot / (double)(rest + (rest == 0));
}

static void score_any(const int16_t *focal, const int8_t *const *v, const int8_t *const *ahead, int64_t n, int64_t dim,
                      double *relevance) {
    int32_t focal_norm = 0;
    for (int64_t k = 0; k < dim; k++) focal_norm += focal[k] * focal[k];
    for (int64_t i = 0; i < n; i++) {
        int32_t dot = 0, norm = 0;
        __builtin_prefetch(ahead[i]);
        for (int64_t k = 0; k < dim; k++) dot += focal[k] * v[i][k], norm += v[i][k] * v[i][k];
        relevance[i] = tanimoto(dot, focal_norm, norm);
    }
}

/* Places of the k highest of n scores, highest first, of equal ones the earlier; never those of -INFINITY. Returns how
 * many there are. */
static int64_t select_any(const double *score, int64_t n, int64_t k, int64_t *chosen) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (score[i] == -INFINITY || (count == k && score[i] <= score[chosen[count - 1]])) continue;
        int64_t place = count < k ? count++ : count - 1;
        for (; place > 0 && score[chosen[place - 1]] < score[i]; place--) chosen[place] = chosen[place - 1];
        chosen[place] = i;
    }
    return count;
}

#ifdef __x86_64__
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
#define VNNI __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512vnni")))

/* Lane i of the result is the sum of the lanes of a[i]. */
AVX2 static inline __attribute__((always_inline)) __m256i sums(const __m256i *a) {
    __m256i low = _mm256_hadd_epi32(_mm256_hadd_epi32(a[0], a[1]), _mm256_hadd_epi32(a[2], a[3]));
    __m256i high = _mm256_hadd_epi32(_mm256_hadd_epi32(a[4], a[5]), _mm256_hadd_epi32(a[6], a[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
}

AVX2 static inline __attribute__((always_inline)) void divide(__m256i dot, __m256i norm, __m256i focal_norm, double *r) {
    __m256i rest = _mm256_sub_epi32(_mm256_add_epi32(focal_norm, norm), dot);
    rest = _mm256_sub_epi32(rest, _mm256_cmpeq_epi32(rest, _mm256_setzero_si256()));
    for (int h = 0; h < 2; h++) {
        __m128i a = h ? _mm256_extracti128_si256(dot, 1) : _mm256_castsi256_si128(dot);
        __m128i b = h ? _mm256_extracti128_si256(rest, 1) : _mm256_castsi256_si128(rest);
        _mm256_storeu_pd(r + 4 * h, _mm256_div_pd(_mm256_cvtepi32_pd(a), _mm256_cvtepi32_pd(b)));
    }
}

#define BY_EIGHT(TARGET, NAME, ACCUMULATE)                                                                             \
    TARGET static void NAME(const int16_t *focal, const int8_t *const *v, const int8_t *const *ahead, int64_t n,       \
                            int64_t dim, double *relevance) {                                                          \
        int32_t total = 0;                                                                                             \
        for (int64_t k = 0; k < dim; k++) total += focal[k] * focal[k];                                                \
        __m256i focal_norm = _mm256_set1_epi32(total), dots[8], norms[8];                                              \
        for (int64_t i = 0; i < n; i += 8) {                                                                           \
            for (int c = 0; c < 8; c++) {                                                                              \
                _mm_prefetch((const char *)ahead[i + c], _MM_HINT_T0);                                                 \
                ACCUMULATE(focal, v[i + c], dim, &dots[c], &norms[c]);                                                 \
            }                                                                                                          \
            divide(sums(dots), sums(norms), focal_norm, relevance + i);                                                \
        }                                                                                                              \
    }

AVX2 static inline __attribute__((always_inline)) void add_avx2(const int16_t *focal, const int8_t *v, int64_t dim,
                                                                __m256i *dot, __m256i *norm) {
    *dot = *norm = _mm256_setzero_si256();
    for (int64_t k = 0; k < dim; k += 16) {
        __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(v + k)));
        __m256i f = _mm256_loadu_si256((const __m256i *)(focal + k));
        *dot = _mm256_add_epi32(*dot, _mm256_madd_epi16(x, f));
        *norm = _mm256_add_epi32(*norm, _mm256_madd_epi16(x, x));
    }
}

VNNI static inline __attribute__((always_inline)) void add_vnni(const int16_t *focal, const int8_t *v, int64_t dim,
                                                                __m256i *dot, __m256i *norm) {
    __m512i d = _mm512_setzero_si512(), q = d;
    for (int64_t k = 0; k < dim; k += 32) {
        __m512i x = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(v + k)));
        d = _mm512_dpwssd_epi32(d, x, _mm512_loadu_si512(focal + k));
        q = _mm512_dpwssd_epi32(q, x, x);
    }
    *dot = _mm256_add_epi32(_mm512_castsi512_si256(d), _mm512_extracti64x4_epi64(d, 1));
    *norm = _mm256_add_epi32(_mm512_castsi512_si256(q), _mm512_extracti64x4_epi64(q, 1));
}

BY_EIGHT(AVX2, score_avx2, add_avx2)
BY_EIGHT(VNNI, score_vnni, add_vnni)

/* As select_any: k times the maximum of up to 64 scores in registers. No branch depends on a score, for mispredicted
 * ones took most of the kernel's time. */
VNNI static int64_t select_avx512(const double *score, int64_t n, int64_t k, int64_t *chosen) {
    if (n > BLOCK) return select_any(score, n, k, chosen);
    const __m512d none = _mm512_set1_pd(-INFINITY);
    __m512d v[8];
    for (int g = 0; g < 8; g++) {
        int64_t left = n - 8 * g;
        v[g] = _mm512_mask_loadu_pd(none, left >= 8 ? 255 : left > 0 ? (1 << left) - 1 : 0, score + 8 * g);
    }
    for (int64_t count = 0; count < k; count++) {
        __m512d high[4];
        for (int g = 0; g < 4; g++) high[g] = _mm512_max_pd(v[g], v[g + 4]);
        double top = _mm512_reduce_max_pd(_mm512_max_pd(_mm512_max_pd(high[0], high[1]), _mm512_max_pd(high[2], high[3])));
        if (top == -INFINITY) return count;
        uint64_t equal = 0, first;
        for (int g = 0; g < 8; g++)
            equal |= (uint64_t)_mm512_cmp_pd_mask(v[g], _mm512_set1_pd(top), _CMP_EQ_OQ) << 8 * g;
        first = equal & -equal;
        for (int g = 0; g < 8; g++) v[g] = _mm512_mask_mov_pd(v[g], (__mmask8)(first >> 8 * g), none);
        chosen[count] = __builtin_ctzll(equal);
    }
    return k;
}
#endif

int64_t kernel_source(void) { return KERNEL_SOURCE; }

/* 2: AVX512-VNNI, 1: AVX2, 0: plain C. */
int roi_instruction_set(void) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return 2;
    if (__builtin_cpu_supports("avx2")) return 1;
#endif
    return 0;
}

/* Finalizer of splitmix64. */
static inline uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline const int8_t *vector_of(const Job *job, int64_t edge) {
    return job->vectors + (job->by_edge ? edge : job->ids[edge]) * job->dim;
}

/* Ask for the ids that a list ahead begins with. Inlined by force: gcc takes a function that only prefetches for one
 * without effect, and leaves out its calls. */
static inline __attribute__((always_inline)) void prefetch_ids(const Job *job, int64_t list) {
    if (list + IDS_AHEAD >= job->lists) return;
    int64_t from = job->first[list + IDS_AHEAD], to = job->last[list + IDS_AHEAD];
    for (int64_t e = from; e < to && e < from + BLOCK; e += 16) __builtin_prefetch(job->ids + e);
}

/* The next block of edges, in the same list or in the next one that is not empty. */
static Block following(const Job *job, Block block) {
    block.at += block.size;
    while (block.list < job->lists && (block.list < 0 || block.at >= job->last[block.list])) {
        if (++block.list < job->lists) block.at = job->first[block.list];
        prefetch_ids(job, block.list);
    }
    int64_t left = block.list < job->lists ? job->last[block.list] - block.at : 0;
    block.size = left < BLOCK ? left : BLOCK;
    return block;
}

/* Where the vectors of a block's neighbours lie; unused entries repeat the first, which is in cache anyway. */
static void point(const Job *job, Block block, const int8_t *const fallback, const int8_t **v) {
    for (int64_t i = 0; i < block.size; i++) v[i] = vector_of(job, block.at + i);
    for (int64_t i = block.size; i < BLOCK; i++) v[i] = block.size ? v[0] : fallback;
}

/* What is on its way through a job: score of each edge of the list at hand, and the edges that are kept. */
typedef struct {
    Score score;
    Select select;
    double *scores; /* [longest list, a block more] */
    int64_t *kept;  /* [fanout, twice] places in a list, then edges */
} Work;

static void write_out(const Job *job, int64_t list, int64_t place, int64_t edge, double relevance) {
    int64_t out = list / job->per_row * job->stride + list % job->per_row * job->fanout + place;
    job->neighbours[out] = job->ids[edge], job->relevance[out] = (int8_t)rint(127.0 * relevance);
}

/* ROI: all vectors are read, for they decide. */
static void expand_by_relevance(const Job *job, Work work) {
    const int8_t *buffers[2][BLOCK], **now = buffers[0], **ahead = buffers[1];
    Block block = following(job, (Block){-1, 0, 0});
    point(job, block, job->vectors, now);
    while (block.list < job->lists) {
        Block next = following(job, block);
        point(job, next, job->vectors, ahead);
        int64_t row = block.list / job->per_row, first = job->first[block.list];
        double *scores = work.scores + (block.at - first);
        work.score(job->focal + row * job->dim, now, ahead, block.size > next.size ? block.size : next.size, job->dim,
                   scores);
        for (int64_t i = 0; i < block.size; i++)
            scores[i] = job->ids[block.at + i] == job->skip[row] ? -INFINITY : scores[i];
        if (next.list != block.list) {
            int64_t count = work.select(work.scores, block.at + block.size - first, job->fanout, work.kept);
            for (int64_t i = 0; i < count; i++)
                write_out(job, block.list, i, first + work.kept[i], work.scores[work.kept[i]]);
        }
        block = next;
        const int8_t **swap = now;
        now = ahead, ahead = swap;
    }
}

/* The edges that a sampler keeps which does not look at vectors: UNIFORM those of the highest hashes of 53 bits,
 * WEIGHTED the first ones. Their vectors are on their way when it returns. */
static int64_t pick(const Job *job, int64_t list, Work work, int64_t *edges) {
    if (list >= job->lists) return 0;
    int64_t count = 0, first = job->first[list], last = job->last[list];
    int32_t skip = job->skip[list / job->per_row];
    if (job->sampler == UNIFORM) {
        for (int64_t e = first; e < last; e++) {
            double hash = (double)(int64_t)(mix(job->key[list] ^ (uint64_t)job->ids[e]) >> 11);
            work.scores[e - first] = job->ids[e] == skip ? -INFINITY : hash;
        }
        count = work.select(work.scores, last - first, job->fanout, edges);
        for (int64_t i = 0; i < count; i++) edges[i] += first;
    } else {
        for (int64_t e = first; e < last && count < job->fanout; e++)
            if (job->ids[e] != skip) edges[count++] = e;
    }
    for (int64_t i = 0; i < count; i++) __builtin_prefetch(vector_of(job, edges[i]));
    prefetch_ids(job, list);
    return count;
}

/* WEIGHTED and UNIFORM: edges of one list are picked while the vectors of the last one's arrive; no others are read. */
static void expand_by_pick(const Job *job, Work work) {
    int64_t *now = work.kept, *ahead = now + job->fanout, count = pick(job, 0, work, now);
    for (int64_t list = 0; list < job->lists; list++) {
        int64_t coming = pick(job, list + 1, work, ahead);
        for (int64_t done = 0; done < count; done += BLOCK) {
            int64_t size = count - done < BLOCK ? count - done : BLOCK;
            const int8_t *v[BLOCK];
            double relevance[BLOCK];
            for (int64_t i = 0; i < BLOCK; i++) v[i] = i < size ? vector_of(job, now[done + i]) : v[0];
            work.score(job->focal + list / job->per_row * job->dim, v, v, size, job->dim, relevance);
            for (int64_t i = 0; i < size; i++) write_out(job, list, done + i, now[done + i], relevance[i]);
        }
        count = coming;
        int64_t *swap = now;
        now = ahead, ahead = swap;
    }
}

/* Fill neighbours and relevance of all lists; both must come filled with their padding, -1 and 0.
 * instruction_set: as roi_instruction_set() or lower. Returns 0, or -1 when there is no memory. */
int roi_expand(const Job *job, int instruction_set) {
    Work work = {score_any, select_any, NULL, NULL};
#ifdef __x86_64__
    if (instruction_set >= 1) work.score = score_avx2;
    if (instruction_set >= 2) work.score = score_vnni, work.select = select_avx512;
#endif
    int64_t longest = 0;
    for (int64_t l = 0; l < job->lists; l++)
        if (job->last[l] - job->first[l] > longest) longest = job->last[l] - job->first[l];
    work.scores = malloc(sizeof(double) * (size_t)(longest + BLOCK));
    work.kept = malloc(sizeof(int64_t) * (size_t)(2 * job->fanout + 1));
    int failed = !work.scores || !work.kept;
    if (!failed && job->sampler == ROI) expand_by_relevance(job, work);
    if (!failed && job->sampler != ROI) expand_by_pick(job, work);
    free(work.scores), free(work.kept);
    return -failed;
}

/* Histories: each row's own events [first, last), in time order, from which its newest neighbours are chosen. */
typedef struct {
    int64_t rows, fanout, stride, places, dim, sampler, longest; /* longest: of all rows' events */
    const double *weights;           /* [3] likeness, linked, recency */
    const int64_t *first, *last;     /* [rows] */
    const int32_t *ids;              /* [events] neighbours; -1 for none */
    const int64_t *time;             /* [events] microseconds */
    const int64_t *now;              /* [rows] microseconds, after all events of the row */
    const int32_t *query;            /* [rows] -1 for none */
    const int64_t *link_first;       /* [linkable + 1] queries of neighbour i: links[link_first[i]] ...; NULL: i itself */
    const int32_t *links;
    int64_t linkable;
    const int8_t *vectors;           /* [known, dim] */
    int64_t known;
    const int16_t *focal;            /* [rows, dim] */
    const uint64_t *key;             /* [rows] hash key of the uniform sampler */
    int32_t *neighbours;             /* row r: fanout entries at r * stride, -1 padded */
    int8_t *relevance;               /* the same places: round(127 Tanimoto) */
    int8_t *linked, *ages;           /* row r: fanout entries at r * places */
} History;

/* Age in eighths of an octave of 1 + whole seconds, 0..255: whole numbers only, so equal everywhere. */
static inline int64_t age_code(int64_t microseconds) {
    uint64_t x = 1 + (uint64_t)(microseconds < 0 ? 0 : microseconds) / 1000000;
    int e = 63 - __builtin_clzll(x);
    uint64_t code = 8 * (uint64_t)e + ((e >= 3 ? x >> (e - 3) : x << (3 - e)) & 7);
    return code > 255 ? 255 : (int64_t)code;
}

static inline int is_linked(const History *job, int32_t id, int32_t query) {
    if (query < 0) return 0;
    if (!job->link_first) return id == query;
    if (id >= job->linkable) return 0;
    int found = 0;
    for (int64_t e = job->link_first[id]; e < job->link_first[id + 1]; e++) found |= job->links[e] == query;
    return found;
}

typedef struct {
    int32_t *ids, *slots; /* distinct neighbours, newest first; a hash table of their places */
    int64_t *events, *kept, mask;
    double *tanimoto, *scores;
} Candidates;

/* The distinct neighbours of a row, each at its newest event. */
static int64_t gather_newest(const History *job, int64_t row, Candidates c) {
    int64_t count = 0;
    for (int64_t s = 0; s <= c.mask; s++) c.slots[s] = -1;
    for (int64_t e = job->last[row] - 1; e >= job->first[row]; e--) {
        int32_t id = job->ids[e];
        if (id < 0) continue;
        int64_t s = (int64_t)mix((uint64_t)id) & c.mask;
        while (c.slots[s] >= 0 && c.ids[c.slots[s]] != id) s = (s + 1) & c.mask;
        if (c.slots[s] >= 0) continue;
        c.slots[s] = (int32_t)count, c.ids[count] = id, c.events[count++] = e;
        if (id < job->known) __builtin_prefetch(job->vectors + (int64_t)id * job->dim);
        if (job->link_first && id < job->linkable) __builtin_prefetch(job->link_first + id);
    }
    return count;
}

/* Ask for the lists that tell who is linked: they arrive while vectors are scored. */
static void prefetch_links(const History *job, int64_t count, Candidates c) {
    if (!job->link_first) return;
    for (int64_t i = 0; i < count; i++)
        if (c.ids[i] < job->linkable) __builtin_prefetch(job->links + job->link_first[c.ids[i]]);
}

static void score_history(const History *job, int64_t row, int64_t count, Candidates c, Score score) {
    static const int8_t nothing[4096];
    if (job->sampler == ROI && job->query[row] >= 0) prefetch_links(job, count, c);
    for (int64_t start = 0; start < count; start += BLOCK) {
        int64_t size = count - start < BLOCK ? count - start : BLOCK;
        const int8_t *v[BLOCK];
        for (int64_t i = 0; i < BLOCK; i++) {
            int32_t id = c.ids[start + (i < size ? i : 0)];
            v[i] = id < job->known ? job->vectors + (int64_t)id * job->dim : nothing;
        }
        score(job->focal + row * job->dim, v, v, size, job->dim, c.tanimoto + start);
    }
    for (int64_t i = 0; i < count; i++) {
        if (job->sampler == UNIFORM) {
            c.scores[i] = (double)(int64_t)(mix(job->key[row] ^ (uint64_t)c.ids[i]) >> 11);
        } else if (job->sampler == WEIGHTED) {
            c.scores[i] = 0.0;
        } else {
            double recency = 1.0 - (double)age_code(job->now[row] - job->time[c.events[i]]) / 256.0;
            double linked = job->weights[1] != 0.0 && is_linked(job, c.ids[i], job->query[row]) ? job->weights[1] : 0.0;
            c.scores[i] = job->weights[0] * c.tanimoto[i] + linked + job->weights[2] * recency;
        }
    }
}

/* Fill one slot of all rows; outputs must come filled with -1 and 0. Of equal scores the newest is kept, of one instant
 * that which comes last in the order of events. Returns 0, or -1 when there is no memory. */
int roi_history(const History *job, int instruction_set) {
    Score score = score_any;
    Select select = select_any;
#ifdef __x86_64__
    if (instruction_set >= 1) score = score_avx2;
    if (instruction_set >= 2) score = score_vnni, select = select_avx512;
#endif
    int64_t slots = 16;
    while (slots < 2 * job->longest) slots *= 2;
    size_t room = (size_t)job->longest + BLOCK;
    Candidates c = {malloc(4 * room), malloc(4 * (size_t)slots), malloc(8 * room), malloc(8 * (size_t)(job->fanout + 1)),
                    slots - 1, malloc(8 * room), malloc(8 * room)};
    int failed = !c.ids || !c.slots || !c.events || !c.kept || !c.tanimoto || !c.scores;
    for (int64_t row = 0; row < job->rows && !failed; row++) {
        int64_t count = gather_newest(job, row, c);
        score_history(job, row, count, c, score);
        int64_t kept = select(c.scores, count, job->fanout, c.kept);
        for (int64_t k = 0; k < kept; k++) {
            int64_t i = c.kept[k], out = row * job->stride + k, place = row * job->places + k;
            job->neighbours[out] = c.ids[i], job->relevance[out] = (int8_t)rint(127.0 * c.tanimoto[i]);
            job->linked[place] = (int8_t)is_linked(job, c.ids[i], job->query[row]);
            job->ages[place] = (int8_t)(age_code(job->now[row] - job->time[c.events[i]]) - 128);
        }
    }
    free(c.ids), free(c.slots), free(c.events), free(c.kept), free(c.tanimoto), free(c.scores);
    return -failed;
}

/* How many of each row's wanted ids [at[row], at[row + 1]) are among its events. */
void roi_repeats(int64_t rows, const int64_t *first, const int64_t *last, const int32_t *ids, const int64_t *at,
                 const int32_t *wanted, int32_t *count) {
    for (int64_t row = 0; row < rows; row++) {
        int32_t found = 0;
        for (int64_t w = at[row]; w < at[row + 1]; w++) {
            int64_t e = first[row];
            while (e < last[row] && ids[e] != wanted[w]) e++;
            found += e < last[row];
        }
        count[row] = found;
    }
}
