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
typedef struct { double score; int32_t id; int8_t relevance; } Kept;
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

/* The next block of edges, in the same list or in the next one that is not empty. */
static Block following(const Job *job, Block block) {
    block.at += block.size;
    while (block.list < job->lists && (block.list < 0 || block.at >= job->last[block.list])) {
        if (++block.list < job->lists) block.at = job->first[block.list];
        if (block.list + IDS_AHEAD < job->lists) {
            int64_t from = job->first[block.list + IDS_AHEAD], to = job->last[block.list + IDS_AHEAD];
            for (int64_t e = from; e < to && e < from + BLOCK; e += 16) __builtin_prefetch(job->ids + e);
        }
    }
    int64_t left = block.list < job->lists ? job->last[block.list] - block.at : 0;
    block.size = left < BLOCK ? left : BLOCK;
    return block;
}

/* Where the vectors of a block's neighbours lie; unused entries repeat the first, which is in cache anyway. */
static void point(const Job *job, Block block, const int8_t *const fallback, const int8_t **v) {
    for (int64_t i = 0; i < block.size; i++)
        v[i] = job->vectors + (job->by_edge ? block.at + i : job->ids[block.at + i]) * job->dim;
    for (int64_t i = block.size; i < BLOCK; i++) v[i] = block.size ? v[0] : fallback;
}

/* Insert what a block offers into the list's best, kept by score descending; a tie leaves the earlier edge ahead. */
static int64_t keep(const Job *job, Block block, const double *relevance, Kept *best, int64_t count) {
    int32_t skip = job->skip[block.list / job->per_row];
    for (int64_t i = 0; i < block.size; i++) {
        int32_t id = job->ids[block.at + i];
        double score = relevance[i];
        if (job->sampler == WEIGHTED) score = 0;
        if (job->sampler == UNIFORM) score = (double)(mix(job->key[block.list] ^ (uint64_t)id) >> 11);
        if ((count == job->fanout && score <= best[count - 1].score) || id == skip) continue;
        int64_t place = count < job->fanout ? count++ : count - 1;
        for (; place > 0 && best[place - 1].score < score; place--) best[place] = best[place - 1];
        best[place] = (Kept){score, id, (int8_t)rint(127.0 * relevance[i])};
    }
    return count;
}

/* Fill neighbours and relevance of all lists; both must come filled with their padding, -1 and 0.
 * instruction_set: as roi_instruction_set() or lower. Returns 0, or -1 when there is no memory. */
int roi_expand(const Job *job, int instruction_set) {
    Score score = score_any;
#ifdef __x86_64__
    if (instruction_set >= 1) score = instruction_set >= 2 ? score_vnni : score_avx2;
#endif
    Kept *best = malloc(sizeof(Kept) * (size_t)(job->fanout + 1));
    if (!best) return -1;
    const int8_t *buffers[2][BLOCK], **now = buffers[0], **ahead = buffers[1];
    double relevance[BLOCK];
    Block block = following(job, (Block){-1, 0, 0});
    point(job, block, job->vectors, now);
    for (int64_t count = 0; block.list < job->lists;) {
        Block next = following(job, block);
        point(job, next, job->vectors, ahead);
        int64_t row = block.list / job->per_row, part = block.list % job->per_row;
        score(job->focal + row * job->dim, now, ahead, block.size > next.size ? block.size : next.size, job->dim,
              relevance);
        count = keep(job, block, relevance, best, count);
        if (next.list != block.list) {
            int64_t out = row * job->stride + part * job->fanout;
            for (int64_t i = 0; i < count; i++)
                job->neighbours[out + i] = best[i].id, job->relevance[out + i] = best[i].relevance;
            count = 0;
        }
        block = next;
        const int8_t **swap = now;
        now = ahead, ahead = swap;
    }
    free(best);
    return 0;
}
