// The dropout mask: whether an element stays is a function of (its token's key, module, column) alone, the same one as on the CPU, bit
// for bit.
//
//     seed = mask_seed(key, module)
//     numbers of columns c..c+15 (c a multiple of 16): mask_numbers(seed, c / 2 + i), i in 0..<8,
//     low 16 bits for column c + i, high 16 bits for column c + 8 + i
//     an element stays where its number reaches the threshold, round(probability * 65536)
#pragma once
#include "device.cuh"

/// lowbias32 (Wellons 2018).
DEVICE u32 hash(u32 x) {
    x ^= x >> 16;
    x *= 0x21F0AAADu;
    x ^= x >> 15;
    x *= 0x735A2D97u;
    return x ^ (x >> 15);
}

DEVICE u32 mask_seed(u32 key, int module) { return hash(key + (u32)module * 0x85EBCA6Bu); }

/// Two numbers of 16 bits.
DEVICE u32 mask_numbers(u32 seed, u32 index) { return hash(seed + index * 0x9E3779B9u); }
