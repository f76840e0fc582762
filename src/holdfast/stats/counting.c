/* Counting the values of one column in one pass: what `counting.py` calls where it is compiled.

   What comes out is, to the last bit, what the look-ups of `binning.py` and numpy's `bincount` give: tests hold
   both beside each other. Nothing here allocates, and nothing knows of Python. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "counting.h"

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__)
/* The fastest of three that the processor can run is chosen when the library is loaded. */
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch((address), 0, 2)
#else
#define PREFETCH(address) ((void)(address))
#endif

enum {
    BLOCK = 1024, /* values whose places are found before they are counted: they stay in the first cache */
    APART = 4096, /* rows whose values lie apart that are counted at a time */
    WAYS = 4,     /* counters of each cell: one would wait for itself where a value is followed by its like */
    MOST_CELLS = 512,
    BESIDE = 64, /* extremes that are kept beside each other, so that none waits for the one before */
};

/* Some rows of W windows. */
typedef struct {
    int64_t rows;
    int64_t windows;
    const int64_t *ends;  /* [W], where each window's rows end; NULL where they do not lie together */
    const int64_t *local; /* [rows], the window of each */
    uint64_t *mixed;      /* [rows], to become a number for each row by its places in all columns */
} Rows;

/* The bins of one numeric column. */
typedef struct {
    int64_t cells;
    const float *scores; /* [cells], of each cell the normal score */
    /* With edges on marks of a ruler, else places is 0. */
    int64_t places, first;
    double scale, least, greatest;
    const uint16_t *bin_of; /* [places + 4], the cell of each place */
    /* Else with a grid over the edges. */
    const double *edges; /* [inner + 1], after the last one NaN, which nothing passes */
    int64_t inner;
    const int32_t *passed; /* [grid_cells + 1], edges in lower cells of the grid */
    int64_t grid_cells;
    double grid_low, grid_scale;
    /* Of whole numbers from one to another the place of each; NULL where they are too many, and for uint64. */
    const uint16_t *whole;
    int64_t whole_least, whole_greatest;
    uint16_t missing; /* the place of none */
} Bins;

enum { FLOAT64, FLOAT32, INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, UINT64 };

/* Numbers as they lie. */
typedef struct {
    const void *values;
    int64_t kind;  /* one of those above */
    int64_t apart; /* bytes from one to the next */
    const uint8_t *valid; /* a bit for each, 0 where none is; NULL where all are */
    int64_t first_valid;  /* number of the first one's bit */
} Numbers;

/* A column of some rows, and where what is found of it is put. */
typedef struct {
    int64_t cells;
    const Bins *bins; /* of numbers, else NULL */
    Numbers numbers;
    const void *codes; /* [rows], of text */
    int64_t width;     /* of a code, 1 or 4 bytes */
    int64_t words;
    const int64_t *table; /* [words + 1], the cell of each word, then that of a missing one */
    int64_t *counts;      /* [W, cells], to be added to */
    float *paired;        /* [rows], the normal score of each value; may be NULL */
    int64_t *found;       /* [rows], the cell of each; may be NULL */
} Column;

FOR_EACH_PROCESSOR
static void by_ruler(const Bins *bins, const double *restrict values, int rows, uint16_t *restrict found,
                     uint64_t *restrict mixed)
{
    const double turn = 6755399441055744.0; /* 1.5 * 2^52: the sum's lowest bits are the nearest whole number */
    const int64_t base = 0x4338000000000000 + bins->first - 1;
    const double scale = bins->scale, least = bins->least, greatest = bins->greatest;
    const double low = (double)bins->first, high = (double)(bins->first + bins->places - 1);
    for (int i = 0; i < rows; i++) {
        double value = values[i], at = value * scale;
        at = at > low ? at : low;
        at = at < high ? at : high;
        at = value < least ? low - 1 : at;
        at = value > greatest ? high + 1 : at;
        at = value != value ? high + 2 : at;
        at = fabs(value) == INFINITY ? high + 3 : at;
        at += turn;
        int64_t place;
        memcpy(&place, &at, sizeof place);
        place -= base;
        found[i] = (uint16_t)place;
        mixed[i] = (mixed[i] + (uint64_t)place) * MIX;
    }
}

#define EACH(type, put)                                                                                                \
    if (numbers->apart == (int64_t)sizeof(type)) {                                                                     \
        const type *from = (const type *)numbers->values + start;                                                      \
        for (int i = 0; i < rows; i++) {                                                                               \
            type value = from[i];                                                                                      \
            put;                                                                                                       \
        }                                                                                                              \
    } else {                                                                                                           \
        const char *from = (const char *)numbers->values + start * numbers->apart;                                     \
        for (int i = 0; i < rows; i++) {                                                                               \
            type value;                                                                                                \
            memcpy(&value, from + i * numbers->apart, sizeof value);                                                   \
            put;                                                                                                       \
        }                                                                                                              \
    }                                                                                                                  \
    break;

/* NaN in the place of those that are missing. */
static inline void without_missing(const uint8_t *valid, int64_t first, int rows, double *restrict values)
{
    const int shift = (int)(first & 7);
    int i = 0;
    valid += first >> 3;
    for (; i + 8 <= rows; i += 8, valid++) {
        /* The eighth of them lies in the next byte, if these do not begin with one. */
        int bits = (shift == 0 ? valid[0] : valid[0] | valid[1] << 8) >> shift;
        for (int j = 0; j < 8; j++)
            values[i + j] = bits >> j & 1 ? values[i + j] : NAN;
    }
    for (int j = shift; i < rows; i++, j++)
        values[i] = valid[j >> 3] >> (j & 7) & 1 ? values[i] : NAN;
}

/* Some of the numbers as doubles, NaN where none is: in `room`, or where they lie. */
FOR_EACH_PROCESSOR
static const double *as_doubles(const Numbers *numbers, int64_t start, int rows, double *restrict room)
{
    const double *found = (const double *)numbers->values + start;
    if (numbers->kind == FLOAT64 && numbers->apart == (int64_t)sizeof(double)) {
        if (numbers->valid == NULL)
            return found;
        memcpy(room, found, (size_t)rows * sizeof *room);
    } else {
        switch (numbers->kind) {
        case FLOAT64: EACH(double, room[i] = value)
        case FLOAT32: EACH(float, room[i] = (double)value)
        case INT8: EACH(int8_t, room[i] = (double)value)
        case UINT8: EACH(uint8_t, room[i] = (double)value)
        case INT16: EACH(int16_t, room[i] = (double)value)
        case UINT16: EACH(uint16_t, room[i] = (double)value)
        case INT32: EACH(int32_t, room[i] = (double)value)
        case UINT32: EACH(uint32_t, room[i] = (double)value)
        case INT64: EACH(int64_t, room[i] = (double)value)
        case UINT64: EACH(uint64_t, room[i] = (double)value)
        }
    }
    if (numbers->valid != NULL)
        without_missing(numbers->valid, numbers->first_valid + start, rows, room);
    return room;
}

/* Places of whole numbers, which are looked up. */
static void by_whole(const Bins *bins, const Numbers *numbers, int64_t start, int rows, uint16_t *restrict found)
{
    const int64_t low = bins->whole_least, high = bins->whole_greatest;
#define LOOKED_UP                                                                                                      \
    int64_t at = (int64_t)value;                                                                                       \
    at = at < low ? low : at;                                                                                          \
    found[i] = bins->whole[(at > high ? high : at) - low]
    switch (numbers->kind) {
    case INT8: EACH(int8_t, LOOKED_UP)
    case UINT8: EACH(uint8_t, LOOKED_UP)
    case INT16: EACH(int16_t, LOOKED_UP)
    case UINT16: EACH(uint16_t, LOOKED_UP)
    case INT32: EACH(int32_t, LOOKED_UP)
    case UINT32: EACH(uint32_t, LOOKED_UP)
    case INT64: EACH(int64_t, LOOKED_UP)
    }
    if (numbers->valid != NULL) {
        const int64_t first = numbers->first_valid + start;
        for (int i = 0; i < rows; i++)
            found[i] = is_there(numbers->valid, first + i) ? found[i] : bins->missing;
    }
}

static void by_grid(const Bins *bins, const double *values, int rows, uint16_t *found)
{
    const double *edges = bins->edges;
    const double top = (double)(bins->grid_cells - 1);
    for (int i = 0; i < rows; i++) {
        double value = values[i], at = (value - bins->grid_low) * bins->grid_scale;
        at = at > 0.0 ? at : 0.0;
        at = at < top ? at : top;
        /* The first edge above the value, without a branch that depends on it. */
        const double *from = edges + bins->passed[(int32_t)at];
        int64_t left = edges + bins->passed[(int32_t)at + 1] - from;
        for (; left > 1; left -= left / 2)
            from += left / 2 * (from[left / 2 - 1] <= value);
        from += left * (*from <= value); /* of the one that is left, if any */
        int64_t cell = value > bins->greatest ? bins->inner + 1 : from - edges;
        cell = value != value ? bins->inner + 2 : cell;
        cell = fabs(value) == INFINITY ? bins->inner + 3 : cell;
        found[i] = (uint16_t)cell;
    }
}

/* The cell of each word by its code; what is no word's number is missing, which comes last in the table. */
static void by_table(const int64_t *table, int64_t words, const void *codes, int width, int64_t start, int rows,
                     uint16_t *restrict found)
{
    if (width == 1) {
        const uint8_t *narrow = (const uint8_t *)codes + start;
        uint16_t each[256]; /* the cell of each code that eight bits can be */
        for (int code = 0; code < 256; code++)
            each[code] = (uint16_t)table[code < 128 && code < words ? code : words];
        for (int i = 0; i < rows; i++)
            found[i] = each[narrow[i]];
        return;
    }
    const int32_t *wide = (const int32_t *)codes + start;
    for (int i = 0; i < rows; i++)
        found[i] = (uint16_t)table[(uint64_t)wide[i] < (uint64_t)words ? wide[i] : words];
}

FOR_EACH_PROCESSOR
static void mix(const uint16_t *restrict cell, int rows, uint64_t *restrict mixed)
{
    for (int i = 0; i < rows; i++)
        mixed[i] = (mixed[i] + cell[i]) * MIX;
}

/* Counts of the window that is being counted, where the rows of each lie together. */
typedef struct {
    int64_t window, cells;
    int64_t *counts; /* [W, cells], to which they are added in the end */
    uint32_t ways[WAYS][MOST_CELLS];
} Tally;

static void close_window(Tally *tally)
{
    if (tally->window < 0)
        return;
    int64_t *counts = tally->counts + tally->window * tally->cells;
    for (int64_t c = 0; c < tally->cells; c++)
        for (int way = 0; way < WAYS; way++)
            counts[c] += tally->ways[way][c];
}

/* What `add` does with a block, where both tables are there or not: four loops without a question in them. */
static inline void tally_block(const uint16_t *restrict place, int size, const uint16_t *restrict bin_of,
                               Tally *restrict tally, const float *restrict scores, float *restrict paired,
                               const char *next, int64_t apart)
{
    int i = 0;
    for (; i + WAYS <= size; i += WAYS) {
        int a = place[i], b = place[i + 1], c = place[i + 2], d = place[i + 3];
        if (bin_of != NULL)
            a = bin_of[a], b = bin_of[b], c = bin_of[c], d = bin_of[d];
        tally->ways[0][a]++;
        tally->ways[1][b]++;
        tally->ways[2][c]++;
        tally->ways[3][d]++;
        if (scores != NULL) {
            paired[i] = scores[a];
            paired[i + 1] = scores[b];
            paired[i + 2] = scores[c];
            paired[i + 3] = scores[d];
        }
        if (next != NULL && i % 8 == 0)
            PREFETCH(next + i * apart);
    }
    for (; i < size; i++) {
        int a = bin_of != NULL ? bin_of[place[i]] : place[i];
        tally->ways[0][a]++;
        if (scores != NULL)
            paired[i] = scores[a];
    }
}

/* Adds the cells of some rows of a window, and finds the score of each. `next` are the values after them, which
   are on their way from memory meanwhile; NULL where that is not worth it. */
static void add(const Rows *rows, int64_t start, int64_t window, const uint16_t *place, int size,
                const uint16_t *bin_of, Tally *tally, const float *scores, float *paired, const char *next,
                int64_t apart)
{
    if (rows->ends == NULL || tally->cells > MOST_CELLS) {
        for (int i = 0; i < size; i++) {
            int cell = bin_of != NULL ? bin_of[place[i]] : place[i];
            tally->counts[(rows->ends == NULL ? rows->local[start + i] : window) * tally->cells + cell]++;
            if (scores != NULL)
                paired[i] = scores[cell];
        }
        return;
    }
    if (window != tally->window) {
        close_window(tally);
        memset(tally->ways, 0, sizeof tally->ways);
        tally->window = window;
    }
    if (bin_of != NULL && scores != NULL)
        tally_block(place, size, bin_of, tally, scores, paired, next, apart);
    else if (bin_of != NULL)
        tally_block(place, size, bin_of, tally, NULL, NULL, next, apart);
    else if (scores != NULL)
        tally_block(place, size, NULL, tally, scores, paired, next, apart);
    else
        tally_block(place, size, NULL, tally, NULL, NULL, next, apart);
}

/* Where a block that begins at a row ends: with its window at the latest. */
static int block(const Rows *rows, int64_t start, int64_t stop, int64_t *window)
{
    int64_t end = stop;
    if (rows->ends != NULL) {
        while (rows->ends[*window] <= start)
            ++*window;
        end = rows->ends[*window] < stop ? rows->ends[*window] : stop;
    }
    return end - start < BLOCK ? (int)(end - start) : BLOCK;
}

static void count_column(const Rows *rows, const Column *column, int64_t begin, int64_t stop)
{
    uint16_t place[BLOCK];
    double room[BLOCK];
    const Bins *bins = column->bins;
    const Numbers *numbers = &column->numbers;
    const int near = bins != NULL && numbers->apart > 0 && numbers->apart <= (int64_t)sizeof(double);
    const int whole = bins != NULL && bins->whole != NULL && numbers->kind >= INT8 && numbers->kind <= INT64;
    const uint16_t *bin_of = bins != NULL && bins->places ? bins->bin_of : NULL;
    const float *scores = bins != NULL && column->paired != NULL ? bins->scores : NULL;
    Tally tally = {.window = -1, .cells = column->cells, .counts = column->counts};
    int64_t window = 0;
    for (int64_t start = begin; start < stop;) {
        int size = block(rows, start, stop, &window);
        const double *values = bins != NULL && !whole ? as_doubles(numbers, start, size, room) : NULL;
        uint64_t *mixed = rows->mixed + start;
        if (values != NULL && bin_of != NULL) {
            by_ruler(bins, values, size, place, mixed);
        } else {
            if (whole)
                by_whole(bins, numbers, start, size, place);
            else if (bins != NULL)
                by_grid(bins, values, size, place);
            else
                by_table(column->table, column->words, column->codes, (int)column->width, start, size, place);
            mix(place, size, mixed);
        }
        add(rows, start, window, place, size, bin_of, &tally, scores, scores != NULL ? column->paired + start : NULL,
            near ? (const char *)numbers->values + (start + size) * numbers->apart : NULL, numbers->apart);
        if (column->found != NULL)
            for (int i = 0; i < size; i++)
                column->found[start + i] = bin_of != NULL ? bin_of[place[i]] : place[i];
        start += size;
    }
    close_window(&tally);
}

/* Counts some columns of the same rows, in their order. Where values lie apart, the rows of which they are parts are
   taken some at a time, which the second cache keeps until all columns are counted. */
void holdfast_count(const Rows *rows, const Column *columns, int64_t number)
{
    int64_t some = rows->rows;
    for (int64_t i = 0; i < number; i++)
        if (columns[i].bins != NULL && columns[i].numbers.apart > (int64_t)sizeof(double))
            some = APART;
    for (int64_t begin = 0; begin < rows->rows; begin += some) {
        int64_t stop = rows->rows - begin < some ? rows->rows : begin + some;
        for (int64_t i = 0; i < number; i++)
            count_column(rows, columns + i, begin, stop);
    }
}

/* Those of the hashes that are at most the highest into `kept`, which has room for all; how many they are. */
int64_t holdfast_drawn(const uint64_t *hashes, int64_t rows, uint64_t highest, uint64_t *kept)
{
    int64_t count = 0;
    for (int64_t i = 0; i < rows; i++) {
        kept[count] = hashes[i];
        count += hashes[i] <= highest;
    }
    return count;
}

/* The least and the greatest finite number so far; infinite the wrong way where there is none. */
FOR_EACH_PROCESSOR
static void widen(const double *values, int rows, double *restrict low, double *restrict high)
{
    for (int start = 0; start < rows; start += BESIDE) {
        int size = rows - start < BESIDE ? rows - start : BESIDE;
        for (int lane = 0; lane < size; lane++) {
            double value = values[start + lane];
            low[lane] = (value < low[lane]) & (value > -INFINITY) ? value : low[lane];
            high[lane] = (value > high[lane]) & (value < INFINITY) ? value : high[lane];
        }
    }
}

/* The least and the greatest finite number into `found` [2]. */
void holdfast_extremes(const Numbers *numbers, int64_t rows, double *found)
{
    double low[BESIDE], high[BESIDE], room[BLOCK];
    for (int lane = 0; lane < BESIDE; lane++) {
        low[lane] = INFINITY;
        high[lane] = -INFINITY;
    }
    for (int64_t start = 0; start < rows; start += BLOCK) {
        int size = rows - start < BLOCK ? (int)(rows - start) : BLOCK;
        widen(as_doubles(numbers, start, size, room), size, low, high);
    }
    for (int lane = 1; lane < BESIDE; lane++) {
        low[0] = low[lane] < low[0] ? low[lane] : low[0];
        high[0] = high[lane] > high[0] ? high[lane] : high[0];
    }
    found[0] = low[0];
    found[1] = high[0];
}

typedef float Lanes __attribute__((vector_size(64)));

/* Adds the sums of products of four columns with four columns. */
FOR_EACH_PROCESSOR
static void products_of_four(const float *const *first, const float *const *second, int rows, double sums[4][4])
{
    const int width = sizeof(Lanes) / sizeof(float);
    Lanes total[4][4];
    memset(total, 0, sizeof total);
    int row = 0;
    for (; row + width <= rows; row += width) {
        Lanes a[4], b[4];
        for (int i = 0; i < 4; i++) {
            memcpy(&a[i], first[i] + row, sizeof a[i]);
            memcpy(&b[i], second[i] + row, sizeof b[i]);
        }
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                total[i][j] += a[i] * b[j];
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            for (int lane = 0; lane < width; lane++)
                sums[i][j] += total[i][j][lane];
            for (int rest = row; rest < rows; rest++)
                sums[i][j] += (double)first[i][rest] * second[j][rest];
        }
}

/* To `sums` [columns, columns] the sums of products of each two columns [columns, rows], which begin so many
   numbers apart, are added. */
void holdfast_products(const float *values, int64_t columns, int64_t apart, int64_t rows, double *sums)
{
    static const float none[BLOCK];
    for (int64_t start = 0; start < rows; start += BLOCK) {
        int size = rows - start < BLOCK ? (int)(rows - start) : BLOCK;
        for (int64_t one = 0; one < columns; one += 4)
            for (int64_t other = 0; other <= one; other += 4) {
                const float *first[4], *second[4];
                double found[4][4] = {{0}};
                for (int i = 0; i < 4; i++) {
                    first[i] = one + i < columns ? values + (one + i) * apart + start : none;
                    second[i] = other + i < columns ? values + (other + i) * apart + start : none;
                }
                products_of_four(first, second, size, found);
                for (int i = 0; i < 4 && one + i < columns; i++)
                    for (int j = 0; j < 4 && other + j < columns; j++) {
                        sums[(one + i) * columns + other + j] += found[i][j];
                        if (one != other)
                            sums[(other + j) * columns + one + i] += found[i][j];
                    }
            }
    }
}

/* Hashes whose highest bits are as good as drawn, of the numbers of rows. */
FOR_EACH_PROCESSOR
void holdfast_spread(const uint64_t *restrict numbers, int64_t rows, uint64_t *restrict hashes)
{
    for (int64_t i = 0; i < rows; i++) {
        uint64_t number = (numbers[i] ^ (numbers[i] >> 30)) * 0xBF58476D1CE4E5B9u;
        hashes[i] = number ^ (number >> 31);
    }
}
