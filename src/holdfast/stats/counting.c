/* Counting the values of one column in one pass: what `counting.py` calls where it is compiled.

   What comes out is, to the last bit, what the look-ups of `binning.py` and numpy's `bincount` give: tests hold
   both beside each other. Nothing here allocates, and nothing knows of Python. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__)
/* The fastest of three that the processor can run is chosen when the library is loaded. */
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

enum {
    BLOCK = 1024, /* values whose places are found before they are counted: they stay in the first cache */
    WAYS = 4,     /* counters of each cell: one would wait for itself where a value is followed by its like */
    MOST_CELLS = 512,
    BESIDE = 64, /* extremes that are kept beside each other, so that none waits for the one before */
};

static const uint64_t MIX = 0x9E3779B97F4A7C15u;

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
    const double *edges;
    int64_t inner;
    const int32_t *passed; /* [grid_cells + 1], edges in lower cells of the grid */
    int64_t grid_cells;
    double grid_low, grid_scale;
} Bins;

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
        from += left == 1 && *from <= value;
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

/* Adds the cells of some rows of a window, and finds the score of each. */
static void add(const Rows *rows, int64_t start, int64_t window, const uint16_t *cell, int size, Tally *tally,
                const float *scores, float *paired)
{
    if (rows->ends == NULL || tally->cells > MOST_CELLS) {
        for (int i = 0; i < size; i++)
            tally->counts[(rows->ends == NULL ? rows->local[start + i] : window) * tally->cells + cell[i]]++;
        if (scores != NULL)
            for (int i = 0; i < size; i++)
                paired[i] = scores[cell[i]];
        return;
    }
    if (window != tally->window) {
        close_window(tally);
        memset(tally->ways, 0, sizeof tally->ways);
        tally->window = window;
    }
    int i = 0;
    for (; i + WAYS <= size; i += WAYS) {
        int a = cell[i], b = cell[i + 1], c = cell[i + 2], d = cell[i + 3];
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
    }
    for (; i < size; i++) {
        tally->ways[0][cell[i]]++;
        if (scores != NULL)
            paired[i] = scores[cell[i]];
    }
}

/* Where a block that begins at a row ends: with its window at the latest. */
static int block(const Rows *rows, int64_t start, int64_t *window)
{
    int64_t end = rows->rows;
    if (rows->ends != NULL) {
        while (rows->ends[*window] <= start)
            ++*window;
        end = rows->ends[*window];
    }
    return end - start < BLOCK ? (int)(end - start) : BLOCK;
}

/* Counts [W, cells] of the cells of a numeric column are added to, `paired` [rows] gets the normal score of
   each value and `found` [rows] its cell; both may be NULL. */
void holdfast_count_numbers(const Rows *rows, const Bins *bins, const double *values, int64_t *counts,
                            float *paired, int64_t *found)
{
    uint16_t place[BLOCK], cell[BLOCK];
    Tally tally = {.window = -1, .cells = bins->cells, .counts = counts};
    int64_t window = 0;
    for (int64_t start = 0; start < rows->rows;) {
        int size = block(rows, start, &window);
        if (bins->places) {
            by_ruler(bins, values + start, size, place, rows->mixed + start);
            for (int i = 0; i < size; i++)
                cell[i] = bins->bin_of[place[i]];
        } else {
            by_grid(bins, values + start, size, cell);
            mix(cell, size, rows->mixed + start);
        }
        if (paired != NULL)
            add(rows, start, window, cell, size, &tally, bins->scores, paired + start);
        else
            add(rows, start, window, cell, size, &tally, NULL, NULL);
        if (found != NULL)
            for (int i = 0; i < size; i++)
                found[start + i] = cell[i];
        start += size;
    }
    close_window(&tally);
}

/* The same of a column of text in codes of `width` bytes; `table` [words + 1] has the cell of each word, then
   that of a missing one. */
void holdfast_count_codes(const Rows *rows, const int64_t *table, int64_t words, int64_t cells,
                          const void *codes, int width, int64_t *counts, int64_t *found)
{
    uint16_t cell[BLOCK];
    Tally tally = {.window = -1, .cells = cells, .counts = counts};
    int64_t window = 0;
    for (int64_t start = 0; start < rows->rows;) {
        int size = block(rows, start, &window);
        by_table(table, words, codes, width, start, size, cell);
        mix(cell, size, rows->mixed + start);
        add(rows, start, window, cell, size, &tally, NULL, NULL);
        if (found != NULL)
            for (int i = 0; i < size; i++)
                found[start + i] = cell[i];
        start += size;
    }
    close_window(&tally);
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

/* The least and the greatest finite number into `found` [2]; infinite the wrong way where there is none. */
FOR_EACH_PROCESSOR
void holdfast_extremes(const double *values, int64_t rows, double *found)
{
    double low[BESIDE], high[BESIDE];
    for (int lane = 0; lane < BESIDE; lane++) {
        low[lane] = INFINITY;
        high[lane] = -INFINITY;
    }
    for (int64_t start = 0; start < rows; start += BESIDE) {
        int size = rows - start < BESIDE ? (int)(rows - start) : BESIDE;
        for (int lane = 0; lane < size; lane++) {
            double value = values[start + lane];
            low[lane] = (value < low[lane]) & (value > -INFINITY) ? value : low[lane];
            high[lane] = (value > high[lane]) & (value < INFINITY) ? value : high[lane];
        }
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

/* Codes [rows] of pointers in the order in which they are met, and the first row of each: how many differ, or -1
   where they are more than `most`. `places` [2^bits] are -1 each, and at least twice as many. */
int64_t holdfast_distinct(const uintptr_t *items, int64_t rows, int64_t most, int bits, int32_t *places,
                          int32_t *codes, int64_t *first)
{
    const uint64_t mask = ((uint64_t)1 << bits) - 1;
    int64_t count = 0;
    for (int64_t i = 0; i < rows; i++) {
        uint64_t place = ((uint64_t)items[i] * MIX) >> (64 - bits);
        while (places[place] >= 0 && items[first[places[place]]] != items[i])
            place = (place + 1) & mask;
        if (places[place] < 0) {
            if (count == most)
                return -1;
            first[count] = i;
            places[place] = (int32_t)count++;
        }
        codes[i] = places[place];
    }
    return count;
}
