// Written by Scripts/kernel_table.py; a test compares folder and table.
#include "CUDAKernels.h"

static const unsigned char codes[] = {
#embed "codes.cuh"
};
static const unsigned char device[] = {
#embed "device.cuh"
};
static const unsigned char tiles[] = {
#embed "tiles.cuh"
};
static const unsigned char activation[] = {
#embed "activation.cu"
};
static const unsigned char attention[] = {
#embed "attention.cu"
};
static const unsigned char attention_any[] = {
#embed "attention_any.cu"
};
static const unsigned char convert[] = {
#embed "convert.cu"
};
static const unsigned char cross_entropy[] = {
#embed "cross_entropy.cu"
};
static const unsigned char decode[] = {
#embed "decode.cu"
};
static const unsigned char dropout[] = {
#embed "dropout.cu"
};
static const unsigned char embedding[] = {
#embed "embedding.cu"
};
static const unsigned char expand[] = {
#embed "expand.cu"
};
static const unsigned char lora[] = {
#embed "lora.cu"
};
static const unsigned char lora_back[] = {
#embed "lora_back.cu"
};
static const unsigned char lora_up[] = {
#embed "lora_up.cu"
};
static const unsigned char optimiser[] = {
#embed "optimiser.cu"
};
static const unsigned char quantise[] = {
#embed "quantise.cu"
};
static const unsigned char range[] = {
#embed "range.cu"
};
static const unsigned char rmsnorm[] = {
#embed "rmsnorm.cu"
};
static const unsigned char rope[] = {
#embed "rope.cu"
};

static const struct {
    const char *name;
    const unsigned char *text;
    size_t length;
} table[] = {
    {"codes.cuh", codes, sizeof codes},
    {"device.cuh", device, sizeof device},
    {"tiles.cuh", tiles, sizeof tiles},
    {"activation.cu", activation, sizeof activation},
    {"attention.cu", attention, sizeof attention},
    {"attention_any.cu", attention_any, sizeof attention_any},
    {"convert.cu", convert, sizeof convert},
    {"cross_entropy.cu", cross_entropy, sizeof cross_entropy},
    {"decode.cu", decode, sizeof decode},
    {"dropout.cu", dropout, sizeof dropout},
    {"embedding.cu", embedding, sizeof embedding},
    {"expand.cu", expand, sizeof expand},
    {"lora.cu", lora, sizeof lora},
    {"lora_back.cu", lora_back, sizeof lora_back},
    {"lora_up.cu", lora_up, sizeof lora_up},
    {"optimiser.cu", optimiser, sizeof optimiser},
    {"quantise.cu", quantise, sizeof quantise},
    {"range.cu", range, sizeof range},
    {"rmsnorm.cu", rmsnorm, sizeof rmsnorm},
    {"rope.cu", rope, sizeof rope},
};

size_t lorikeet_kernel_source_count(void) { return sizeof table / sizeof *table; }
const char *lorikeet_kernel_source_name(size_t index) { return index < lorikeet_kernel_source_count() ? table[index].name : NULL; }
const unsigned char *lorikeet_kernel_source_text(size_t index, size_t *length) {
    if (index >= lorikeet_kernel_source_count()) return NULL;
    *length = table[index].length;
    return table[index].text;
}
