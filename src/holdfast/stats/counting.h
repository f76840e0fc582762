/* What `counting.c` and `distinct.c` share. */

#include <stddef.h>
#include <stdint.h>

static const uint64_t MIX = 0x9E3779B97F4A7C15u;

/* Whether one of many is there, of which each has a bit; all are without them. */
static inline int is_there(const uint8_t *valid, int64_t number)
{
    return valid == NULL || (valid[number >> 3] >> (number & 7) & 1);
}
