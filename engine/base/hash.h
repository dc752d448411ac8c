/* hash.h - mixing of 64-bit words for hash tables (the finaliser of MurmurHash3).  Not for secrets. */
#ifndef LOQUAT_BASE_HASH_H
#define LOQUAT_BASE_HASH_H

#include <stdint.h>

static inline uint64_t hash_mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) + 0x9e3779b97f4a7c15u;
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
    return h ^ (h >> 33);
}

#endif
