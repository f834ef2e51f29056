/* The hot loops of graph building: keys to ids, sums of pairs, users' events in order, and the strongest neighbours of
 * a node.
 *
 * A record is the sum of a pair's moments between two cuts of time: a key (source, target, cut: bits from high to low)
 * and units, whole numbers, so sums are exact and no cut into tasks or nights shows in them; timed records add the
 * first and the last time. Records are sorted by radix and spilled as runs, keys as differences of variable length. A
 * list keeps the M strongest (weight descending, id ascending): the top of tops of disjoint targets is the top of all,
 * so a hub's whole list is never in one place. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LOW = 8, HIGH = 10, CACHED = 1 << 15 }; /* bits of a digit; records that are sorted from the lowest digit on */

int64_t kernel_source(void) { return KERNEL_SOURCE; }

/* Finalizer of splitmix64. */
static inline uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* ---- Keys: an open hash table of ids; key i is text[at[i] .. at[i + 1]). size is a power of two, slots start at -1. */

static uint64_t hash_text(const uint8_t *text, int64_t length) {
    uint64_t hash = (uint64_t)length, word;
    for (; length >= 8; text += 8, length -= 8) memcpy(&word, text, 8), hash = mix(hash ^ word);
    word = 0;
    memcpy(&word, text, (size_t)length);
    return mix(hash ^ word);
}

void keys_index(const uint8_t *text, const int64_t *at, int64_t keys, int32_t *slots, int64_t size) {
    for (int64_t i = 0; i < keys; i++) {
        int64_t slot = (int64_t)hash_text(text + at[i], at[i + 1] - at[i]) & (size - 1);
        while (slots[slot] >= 0) slot = (slot + 1) & (size - 1);
        slots[slot] = (int32_t)i;
    }
}

/* ids[j] of the asked keys, -1 for one that is not there. */
void keys_find(const uint8_t *text, const int64_t *at, const int32_t *slots, int64_t size, const uint8_t *asked,
               const int32_t *asked_at, int64_t count, int32_t *ids) {
    for (int64_t j = 0; j < count; j++) {
        const uint8_t *key = asked + asked_at[j];
        int64_t length = asked_at[j + 1] - asked_at[j], slot = (int64_t)hash_text(key, length) & (size - 1);
        for (ids[j] = -1; slots[slot] >= 0; slot = (slot + 1) & (size - 1)) {
            int64_t found = slots[slot];
            if (at[found + 1] - at[found] == length && !memcmp(text + at[found], key, (size_t)length)) {
                ids[j] = (int32_t)found;
                break;
            }
        }
    }
}

/* Earliest time and number of events of each code; a negative code is none. */
void keys_seen(const int32_t *codes, const int64_t *time, int64_t events, int64_t *first, int64_t *count) {
    for (int64_t i = 0; i < events; i++) {
        int32_t code = codes[i];
        if (code < 0) continue;
        if (time[i] < first[code]) first[code] = time[i];
        count[code]++;
    }
}

/* ---- Records: width words each: key, units, and for timed ones first and last time. */

/* Sort by the low `bits` of the key, digit by digit from the lowest; the result lies in a, scratch in b. */
static inline __attribute__((always_inline)) void sort_low(uint64_t *a, uint64_t *b, int64_t n, int bits, int width) {
    uint64_t *from = a, *to = b;
    for (int shift = 0; shift < bits; shift += LOW) {
        uint32_t place[1 << LOW] = {0}, sum = 0;
        for (int64_t i = 0; i < n; i++) place[(from[i * width] >> shift) & ((1 << LOW) - 1)]++;
        for (int d = 0; d < 1 << LOW; d++) {
            uint32_t here = place[d];
            place[d] = sum, sum += here;
        }
        for (int64_t i = 0; i < n; i++) {
            int64_t target = place[(from[i * width] >> shift) & ((1 << LOW) - 1)]++;
            for (int k = 0; k < width; k++) to[target * width + k] = from[i * width + k];
        }
        uint64_t *swap = from;
        from = to, to = swap;
    }
    if (from != a) memcpy(a, from, (size_t)n * (size_t)width * 8);
}

/* The same for any number: cut by the highest digit until a piece fits the cache of a core. */
static inline __attribute__((always_inline)) void sort_high(uint64_t *a, uint64_t *b, int64_t n, int bits, int width,
                                                            void (*rest)(uint64_t *, uint64_t *, int64_t, int)) {
    int shift = bits - HIGH;
    int64_t place[1 << HIGH] = {0};
    for (int64_t i = 0; i < n; i++) place[(a[i * width] >> shift) & ((1 << HIGH) - 1)]++;
    for (int64_t d = 0, sum = 0; d < 1 << HIGH; d++) {
        int64_t here = place[d];
        place[d] = sum, sum += here;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t target = place[(a[i * width] >> shift) & ((1 << HIGH) - 1)]++;
        for (int k = 0; k < width; k++) b[target * width + k] = a[i * width + k];
    }
    for (int64_t d = 0, start = 0; d < 1 << HIGH; start = place[d++])
        rest(b + start * width, a + start * width, place[d] - start, shift);
    memcpy(a, b, (size_t)n * (size_t)width * 8);
}

#define SORT(NAME, WIDTH)                                                                                              \
    static void NAME(uint64_t *a, uint64_t *b, int64_t n, int bits) {                                                  \
        if (n < 2) return;                                                                                             \
        if (n <= CACHED || bits <= HIGH) sort_low(a, b, n, bits, WIDTH);                                               \
        else sort_high(a, b, n, bits, WIDTH, NAME);                                                                    \
    }
SORT(sort_pairs, 2)
SORT(sort_timed, 4)

static void sort_records(uint64_t *a, uint64_t *b, int64_t n, int bits, int width) {
    (width == 2 ? sort_pairs : sort_timed)(a, b, n, bits);
}

/* Add a record to n sorted ones: to the last, where the key is the same. Returns how many there are. */
static inline int64_t append(uint64_t *a, int64_t n, const uint64_t *from, int width) {
    uint64_t *last = a + (n - 1) * width;
    if (!n || last[0] != from[0]) {
        memmove(last + width, from, (size_t)width * 8);
        return n + 1;
    }
    last[1] += from[1];
    if (width == 4) {
        if ((int64_t)from[2] < (int64_t)last[2]) last[2] = from[2];
        if ((int64_t)from[3] > (int64_t)last[3]) last[3] = from[3];
    }
    return n;
}

/* Sum up neighbouring records of one key, in place; returns how many are left. */
static int64_t sum_runs(uint64_t *a, int64_t n, int width) {
    int64_t out = 0;
    for (int64_t i = 0; i < n; i++) out = append(a, out, a + i * width, width);
    return out;
}

/* A run: number of records, then each as (difference to the key before, 2 bits of length of units), units, times. */
static uint8_t *encode(const uint64_t *a, int64_t n, int width, uint8_t *out) {
    uint64_t before = 0;
    memcpy(out, &n, 8), out += 8;
    for (int64_t i = 0; i < n; i++, a += width) {
        int wide = a[1] >> 32 != 0;
        uint64_t step = a[0] - before;
        uint8_t low = (uint8_t)((step & 63) << 1 | (uint64_t)wide);
        before = a[0];
        for (step >>= 6; step; step >>= 7) *out++ = low | 128, low = (uint8_t)(step & 127);
        *out++ = low;
        memcpy(out, &a[1], wide ? 8 : 4), out += wide ? 8 : 4;
        if (width == 4) memcpy(out, &a[2], 16), out += 16;
    }
    return out;
}

/* A run as it is read. Its keys may have other bits for the cut and the target than those asked for, and its cuts other
 * numbers, never in another order: cut c is now cut[c], its units times worth[c]. */
typedef struct {
    const uint8_t *in;
    int64_t left, low, mid;
    const int64_t *cut;
    const double *worth;
    uint64_t key;
} Run;

static inline void next_record(Run *run, int64_t low, int64_t mid, int width, uint64_t *a) {
    uint8_t byte = *run->in++;
    int wide = byte & 1;
    uint64_t step = (byte & 127) >> 1;
    for (int shift = 6; byte & 128; shift += 7) byte = *run->in++, step |= (uint64_t)(byte & 127) << shift;
    uint64_t key = run->key += step, pair = key >> run->low, cut = key & (((uint64_t)1 << run->low) - 1);
    uint64_t target = pair & (((uint64_t)1 << run->mid) - 1);
    a[0] = ((pair >> run->mid) << mid | target) << low | (uint64_t)run->cut[cut], a[1] = 0;
    memcpy(&a[1], run->in, wide ? 8 : 4), run->in += wide ? 8 : 4;
    if (run->worth[cut] != 1) a[1] = (uint64_t)rint((double)a[1] * run->worth[cut]);
    if (width == 4) memcpy(&a[2], run->in, 16), run->in += 16;
    run->left--;
}

/* Which of the parts a pair belongs to: that of its source, or for a source that is spread over several, one of those
 * by its target. */
static inline int64_t part_of(uint64_t source, uint64_t target, const uint8_t *spread, int64_t parts) {
    uint64_t salt = spread && spread[source] > 1 ? mix(target) % spread[source] : 0;
    return (int64_t)((mix(source + (salt << 40)) >> 32) * (uint64_t)parts >> 32);
}

/* Records of n moments from source to target, in place at `records`; returns how many. An id below 0 is none. Ends of
 * one type (`alike`) go smaller first, and a node is no pair with itself. time is there for timed records only. */
int64_t records_fill(const int32_t *source, const int32_t *target, const int64_t *cut, const uint64_t *units,
                     const int64_t *time, int64_t n, int64_t width, int64_t low, int64_t mid, int64_t alike,
                     uint64_t *records) {
    uint64_t *out = records;
    for (int64_t i = 0; i < n; i++) {
        int32_t from = source[i], to = target[i];
        if (from < 0 || to < 0 || (alike && from == to)) continue;
        if (alike && from > to) from = target[i], to = source[i];
        out[0] = ((uint64_t)from << mid | (uint64_t)to) << low | (uint64_t)cut[i];
        out[1] = units[i];
        if (width == 4) out[2] = out[3] = (uint64_t)time[i];
        out += width;
    }
    return (out - records) / width;
}

/* Spill n records: one run for each part, at out[offsets[p] .. offsets[p + 1]). low: bits of the cut, mid: of the
 * target. records and scratch hold n records each. */
void records_spill(uint64_t *records, uint64_t *scratch, int64_t n, int64_t width, int64_t low, int64_t mid,
                   int64_t bits, const uint8_t *spread, int64_t parts, uint8_t *out, int64_t *offsets) {
    int64_t *place = calloc((size_t)parts + 1, 8);
    uint64_t target = ((uint64_t)1 << mid) - 1;
#define PART(i) part_of(records[(i) * width] >> (low + mid), (records[(i) * width] >> low) & target, spread, parts)
    for (int64_t i = 0; i < n; i++) place[PART(i) + 1]++;
    for (int64_t p = 0; p < parts; p++) place[p + 1] += place[p];
    for (int64_t i = 0; i < n; i++) memcpy(scratch + place[PART(i)]++ * width, records + i * width, (size_t)width * 8);
    uint8_t *end = out;
    for (int64_t p = 0, start = 0; p < parts; start = place[p++]) {
        int64_t here = place[p] - start;
        sort_records(scratch + start * width, records, here, (int)bits, (int)width);
        offsets[p] = end - out;
        end = encode(scratch + start * width, sum_runs(scratch + start * width, here, (int)width), (int)width, end);
    }
    offsets[parts] = end - out;
    free(place);
}

/* Bytes of a run of all n records at out, which are sorted and summed up. */
int64_t records_encode(const uint64_t *records, int64_t n, int64_t width, uint8_t *out) {
    return encode(records, n, (int)width, out) - out;
}

static inline __attribute__((always_inline)) int64_t gather(Run *runs, int64_t count, int64_t low, int64_t mid,
                                                            int64_t bits, int width, uint64_t *records,
                                                            uint64_t *scratch) {
    int64_t n = 0, i = 0, out = 0;
    uint64_t record[4];
    for (int64_t r = 1; r < count; r++)
        while (runs[r].left) next_record(&runs[r], low, mid, width, scratch + n++ * width);
    sort_records(scratch, records, n, (int)bits, width);
    while (runs->left) {
        next_record(runs, low, mid, width, record);
        for (; i < n && scratch[i * width] <= record[0]; i++) out = append(records, out, scratch + i * width, width);
        out = append(records, out, record, width);
    }
    for (; i < n; i++) out = append(records, out, scratch + i * width, width);
    return out;
}

/* All records of some runs, by key, summed up: the first run, which is sorted, merged with all the others, which are
 * sorted first. lows, mids, cuts and worths: see Run. low, mid, bits: of the keys asked for. records holds as many as
 * all runs together, scratch as many as all but the first. */
int64_t records_gather(const uint8_t *const *runs, int64_t count, int64_t width, const int64_t *lows,
                       const int64_t *mids, const int64_t *const *cuts, const double *const *worths, int64_t low,
                       int64_t mid, int64_t bits, uint64_t *records, uint64_t *scratch) {
    Run *open = malloc((size_t)(count + 1) * sizeof(Run));
    if (!open) return -1;
    for (int64_t r = 0; r < count; r++) {
        open[r] = (Run){.in = runs[r] + 8, .low = lows[r], .mid = mids[r], .cut = cuts[r], .worth = worths[r]};
        memcpy(&open[r].left, runs[r], 8);
    }
    int64_t n = (width == 2 ? gather(open, count, low, mid, bits, 2, records, scratch)
                            : gather(open, count, low, mid, bits, 4, records, scratch));
    free(open);
    return n;
}

/* Pairs with what they weigh at cut number `now`: units of earlier cuts times decay[cut], rounded, all times scale. first
 * and last may be null. Returns the number of pairs. */
int64_t records_pairs(const uint64_t *records, int64_t n, int64_t width, int64_t low, int64_t mid, int64_t now,
                      const double *decay, double scale, int32_t *source, int32_t *target, float *weight,
                      int64_t *first, int64_t *last) {
    uint64_t cuts = ((uint64_t)1 << low) - 1, targets = ((uint64_t)1 << mid) - 1, before = UINT64_MAX, units = 0;
    int64_t pairs = 0;
    for (int64_t i = 0; i < n; i++, records += width) {
        int64_t cut = (int64_t)(records[0] & cuts);
        uint64_t pair = records[0] >> low;
        if (cut > now) continue;
        if (pair != before) {
            source[pairs] = (int32_t)(pair >> mid), target[pairs] = (int32_t)(pair & targets);
            if (first) first[pairs] = (int64_t)records[2], last[pairs] = INT64_MIN;
            pairs++, before = pair, units = 0;
        }
        units += decay[cut] == 1 ? records[1] : (uint64_t)rint((double)records[1] * decay[cut]);
        weight[pairs - 1] = (float)((double)units * scale);
        if (first && (int64_t)records[2] < first[pairs - 1]) first[pairs - 1] = (int64_t)records[2];
        if (last && (int64_t)records[3] > last[pairs - 1]) last[pairs - 1] = (int64_t)records[3];
    }
    return pairs;
}

/* ---- Histories: a user's events in order of (time, item, query). */

typedef struct {
    int64_t time;
    int32_t item, query;
} Event;

static int by_time(const void *a, const void *b) {
    const Event *one = a, *other = b;
    if (one->time != other->time) return one->time < other->time ? -1 : 1;
    if (one->item != other->item) return one->item < other->item ? -1 : 1;
    return (one->query > other->query) - (one->query < other->query);
}

/* Sort n events of the users first .. first + users - 1 by (user, time, item, query), each once: those of user u lie at
 * events[starts[u - first] .. starts[u - first + 1]). Returns how many there are. */
int64_t histories_sort(const int32_t *user, const int64_t *time, const int32_t *item, const int32_t *query, int64_t n,
                       int64_t first, int64_t users, Event *events, int64_t *starts) {
    int64_t out = 0;
    for (int64_t i = 0; i < n; i++) starts[user[i] - first]++;
    for (int64_t u = 0, sum = 0; u <= users; u++) {
        int64_t here = starts[u];
        starts[u] = sum, sum += here;
    }
    for (int64_t i = 0; i < n; i++) events[starts[user[i] - first]++] = (Event){time[i], item[i], query[i]};
    for (int64_t u = 0, start = 0; u < users; u++) {
        int64_t end = starts[u], sorted = start + 1;
        while (sorted < end && by_time(&events[sorted - 1], &events[sorted]) <= 0) sorted++;
        if (sorted < end) qsort(events + start, (size_t)(end - start), sizeof(Event), by_time);
        starts[u] = out;
        for (int64_t i = start; i < end; i++)
            if (i == start || by_time(&events[i], &events[out - 1])) events[out++] = events[i];
        start = end;
    }
    return starts[users] = out;
}

/* ---- Lists. An entry is strength (inverted bits of its weight, which is not negative) above id: smallest first. */

static inline uint64_t entry_of(float weight, int32_t id) {
    uint32_t bits;
    memcpy(&bits, &weight, 4);
    return (uint64_t)~bits << 32 | (uint32_t)id;
}

/* The strongest of a list while it is read: up to 2 most entries, all of the strongest `most` among them; an entry of
 * `limit` or above is none of those. */
typedef struct {
    uint64_t *entries, *scratch, limit;
    int64_t count, most;
} Best;

static int best_open(Best *best, int64_t most) {
    *best = (Best){.entries = malloc((size_t)(4 * most + 1) * 8), .limit = UINT64_MAX, .most = most};
    best->scratch = best->entries + 2 * most;
    return best->entries != NULL;
}

/* place[i]: how many of the entries, which differ, are smaller than entry i. */
__attribute__((target_clones("avx512f", "avx2", "default"))) static void rank(const uint64_t *entries, int64_t n,
                                                                              uint64_t *place) {
    for (int64_t i = 0; i < n; i++) {
        uint64_t one = entries[i], smaller = 0;
        for (int64_t j = 0; j < n; j++) smaller += entries[j] < one;
        place[i] = smaller;
    }
}

static int by_size(const void *a, const void *b) {
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return (one > other) - (one < other);
}

/* Leave the strongest `most`, in order. Counting beats sorting while it is done in a few registers. */
static void best_cut(Best *best) {
    enum { FEW = 256 };
    uint64_t place[FEW], *entries = best->entries;
    int64_t n = best->count, most = best->most;
    if (n <= FEW) {
        rank(entries, n, place);
        memcpy(best->scratch, entries, (size_t)n * 8);
        for (int64_t i = 0; i < n; i++) entries[place[i]] = best->scratch[i];
    } else {
        qsort(entries, (size_t)n, 8, by_size);
    }
    if (n >= most) best->count = most, best->limit = entries[most - 1];
}

/* Returns 0 for an entry that is none of the strongest. */
static inline int best_offer(Best *best, uint64_t entry) {
    if (entry >= best->limit) return 0;
    best->entries[best->count++] = entry;
    if (best->count == 2 * best->most) best_cut(best);
    return 1;
}

/* The strongest `most` targets of each source, as lists one after another at out: source, length (int32 each), entries.
 * The lists of part p lie at out[offsets[p] .. offsets[p + 1]). nodes: number of possible sources; entries holds one
 * word for each pair. Returns 0, or -1 when there is no memory. */
int lists_spill(const int32_t *source, const int32_t *target, const float *weight, int64_t pairs, int64_t nodes,
                int64_t most, int64_t parts, uint64_t *entries, uint8_t *out, int64_t *offsets) {
    int64_t *place = calloc((size_t)nodes + 1, 8), *length = calloc((size_t)parts + 1, 8);
    Best best;
    if (!best_open(&best, most) || !place || !length) return free(place), free(length), free(best.entries), -1;
    for (int64_t i = 0; i < pairs; i++) place[source[i]]++;
    for (int64_t s = 0, sum = 0; s < nodes; s++) {
        int64_t here = place[s], kept = here < most ? here : most;
        place[s] = sum, sum += here;
        if (here) length[part_of((uint64_t)s, 0, NULL, parts)] += 8 + 8 * kept;
    }
    for (int64_t i = 0; i < pairs; i++) entries[place[source[i]]++] = entry_of(weight[i], target[i]);
    for (int64_t p = 0, sum = 0; p <= parts; p++) {
        int64_t here = p < parts ? length[p] : 0;
        offsets[p] = length[p] = sum, sum += here;
    }
    for (int64_t s = 0, start = 0; s < nodes; start = place[s++]) {
        if (place[s] == start) continue;
        int64_t part = part_of((uint64_t)s, 0, NULL, parts);
        best.count = 0, best.limit = UINT64_MAX;
        for (int64_t i = start; i < place[s]; i++) best_offer(&best, entries[i]);
        best_cut(&best);
        int32_t head[2] = {(int32_t)s, (int32_t)best.count};
        memcpy(out + length[part], head, 8);
        memcpy(out + length[part] + 8, best.entries, (size_t)best.count * 8);
        length[part] += 8 + 8 * best.count;
    }
    free(place), free(length), free(best.entries);
    return 0;
}

/* Number of lists and of entries in some bytes of lists. */
void lists_size(const uint8_t *in, int64_t bytes, int64_t *lists, int64_t *entries) {
    for (const uint8_t *end = in + bytes; in < end; (*lists)++) {
        int32_t head[2];
        memcpy(head, in, 8);
        *entries += head[1], in += 8 + 8 * (int64_t)head[1];
    }
}

/* Merge lists of several pieces: for each source in order its id, where its list starts (starts[count] is the end), and
 * the strongest `most` ids and weights. found and scratch hold 2 words for each list. Returns the number of sources. */
int64_t lists_merge(const uint8_t *const *pieces, const int64_t *bytes, int64_t count, int64_t most, uint64_t *found,
                    uint64_t *scratch, int32_t *source, int32_t *starts, int32_t *ids, float *weights) {
    Best best;
    int64_t lists = 0, sources = 0, end = 0;
    if (!best_open(&best, most)) return -1;
    for (int64_t p = 0; p < count; p++)
        for (const uint8_t *in = pieces[p], *stop = in + bytes[p]; in < stop; lists++) {
            int32_t head[2];
            memcpy(head, in, 8);
            found[2 * lists] = (uint64_t)head[0], found[2 * lists + 1] = (uint64_t)(uintptr_t)in;
            in += 8 + 8 * (int64_t)head[1];
        }
    sort_records(found, scratch, lists, 32, 2);
    for (int64_t l = 0; l < lists; l++) {
        const uint8_t *in = (const uint8_t *)(uintptr_t)found[2 * l + 1];
        int32_t head[2];
        memcpy(head, in, 8);
        for (int64_t i = 0; i < head[1]; i++) {
            uint64_t entry;
            memcpy(&entry, in + 8 + 8 * i, 8);
            if (!best_offer(&best, entry)) break; /* a list is in order: the rest is weaker still */
        }
        if (l + 1 < lists && found[2 * l + 2] == found[2 * l]) continue;
        best_cut(&best);
        source[sources] = head[0], starts[sources++] = (int32_t)end;
        for (int64_t i = 0; i < best.count; i++, end++) {
            uint32_t bits = ~(uint32_t)(best.entries[i] >> 32);
            memcpy(weights + end, &bits, 4);
            ids[end] = (int32_t)(uint32_t)best.entries[i];
        }
        best.count = 0, best.limit = UINT64_MAX;
    }
    starts[sources] = (int32_t)end;
    free(best.entries);
    return sources;
}
