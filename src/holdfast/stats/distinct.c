/* Codes of words in the order in which they are met: what `distinct.py` calls where it is compiled.

   As in `counting.c`, nothing here allocates, and nothing knows of Python. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "counting.h"

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

enum {
    WORDS = 1024,        /* that are told apart */
    WORD_PLACES = 4096,
    WORD_BITS = 12,
};

/* Words met so far. */
typedef struct {
    int64_t count;
    const char *begin[WORDS];
    int64_t size[WORDS];
    uint64_t hash[WORDS];
    int16_t place[WORD_PLACES]; /* number of a word, or -1 */
} Words;

/* At most eight bytes as a number, without reading beyond them. */
static inline uint64_t short_word(const char *begin, int64_t size)
{
    uint32_t low, high;
    if (size >= 4) {
        memcpy(&low, begin, 4);
        memcpy(&high, begin + size - 4, 4);
        return low | (uint64_t)high << 32;
    }
    if (size == 0)
        return 0;
    /* First, middle and last: with the size all bytes of up to three. */
    return (uint8_t)begin[0] | (uint64_t)(uint8_t)begin[size / 2] << 8 | (uint64_t)(uint8_t)begin[size - 1] << 16;
}

static inline uint64_t word_hash(const char *begin, int64_t size)
{
    uint64_t hash = (uint64_t)size * MIX, part;
    if (size <= 8)
        return (hash ^ short_word(begin, size)) * MIX;
    for (int64_t i = 0; i + 8 < size; i += 8) {
        memcpy(&part, begin + i, 8);
        hash = (hash ^ part) * MIX;
        hash ^= hash >> 32;
    }
    memcpy(&part, begin + size - 8, 8);
    return (hash ^ part) * MIX;
}

/* The number of a word, which is kept where it is new; -1 where there are too many. */
static inline int32_t word_code(Words *words, const char *begin, int64_t size)
{
    const uint64_t hash = word_hash(begin, size);
    uint64_t place = hash >> (64 - WORD_BITS);
    for (;; place = (place + 1) & (WORD_PLACES - 1)) {
        int code = words->place[place];
        if (code < 0)
            break;
        /* Up to eight bytes are told by the hash and the size. */
        if (words->hash[code] == hash && words->size[code] == size &&
            (size <= 8 || memcmp(words->begin[code], begin, (size_t)size) == 0))
            return code;
    }
    if (words->count == WORDS)
        return -1;
    words->begin[words->count] = begin;
    words->size[words->count] = size;
    words->hash[words->count] = hash;
    words->place[place] = (int16_t)words->count;
    return (int32_t)words->count++;
}

static void no_words(Words *words)
{
    words->count = 0;
    memset(words->place, -1, sizeof words->place);
}

/* The same of texts, of which each ends where the next one begins: `bounds` [rows + 1] of 4 or 8 bytes. The code of
   those that are missing, whose bit from `first_valid` on is 0, is -1. -1 where they are more than a thousand, or the
   bounds leave the `size` of all texts. */
int64_t holdfast_distinct_texts(const char *bytes, int64_t size, const void *bounds, int width, int64_t rows,
                                const uint8_t *valid, int64_t first_valid, int32_t *codes, int64_t *first)
{
    Words words;
    no_words(&words);
    for (int64_t i = 0; i < rows; i++) {
        if (!is_there(valid, first_valid + i)) {
            codes[i] = -1;
            continue;
        }
        int64_t begin = width == 4 ? ((const int32_t *)bounds)[i] : ((const int64_t *)bounds)[i];
        int64_t end = width == 4 ? ((const int32_t *)bounds)[i + 1] : ((const int64_t *)bounds)[i + 1];
        if (begin < 0 || end < begin || end > size)
            return -1;
        int64_t before = words.count;
        int32_t code = word_code(&words, bytes + begin, end - begin);
        if (code < 0)
            return -1;
        if (code == before)
            first[code] = i;
        codes[i] = code;
    }
    return words.count;
}

/* The same of views of texts: of each its size, then up to twelve bytes of it, or four of them, the number of a part
   [parts], and where it begins there. -1 also for views that leave their part. */
int64_t holdfast_distinct_views(const char *views, int64_t rows, const char *const *parts, const int64_t *sizes,
                                int64_t number, const uint8_t *valid, int64_t first_valid, int32_t *codes,
                                int64_t *first)
{
    enum { VIEW = 16, WITHIN = 12 };
    Words words;
    no_words(&words);
    for (int64_t i = 0; i < rows; i++) {
        if (!is_there(valid, first_valid + i)) {
            codes[i] = -1;
            continue;
        }
        const char *view = views + i * VIEW, *begin = view + 4;
        int32_t size, at[2];
        memcpy(&size, view, sizeof size);
        memcpy(at, view + 8, sizeof at);
        if (size < 0)
            return -1;
        if (size > WITHIN) {
            if (at[0] < 0 || at[0] >= number || at[1] < 0 || (int64_t)at[1] + size > sizes[at[0]])
                return -1;
            begin = parts[at[0]] + at[1];
        }
        int64_t before = words.count;
        int32_t code = word_code(&words, begin, size);
        if (code < 0)
            return -1;
        if (code == before)
            first[code] = i;
        codes[i] = code;
    }
    return words.count;
}

/* The same of objects, whose text and its size a function tells: NULL where one has none. What is told must be a
   part of the object, else it would be kept in every one of them. */
int64_t holdfast_distinct_objects(void *const *items, int64_t rows, const char *(*text)(void *, ptrdiff_t *),
                                  int32_t *codes, int64_t *first)
{
    enum { HEAD = 128 }; /* bytes of an object before its text */
    Words words;
    no_words(&words);
    for (int64_t i = 0; i < rows; i++) {
        ptrdiff_t size = 0;
        const char *begin = text(items[i], &size);
        if (begin == NULL || (uintptr_t)begin - (uintptr_t)items[i] > HEAD)
            return -1;
        int64_t before = words.count;
        int32_t code = word_code(&words, begin, size);
        if (code < 0)
            return -1;
        if (code == before)
            first[code] = i;
        codes[i] = code;
    }
    return words.count;
}
