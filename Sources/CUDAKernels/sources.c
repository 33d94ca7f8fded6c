// Written by Scripts/kernel_table.py from the folder Sources/CUDAKernels/kernels; do not edit.
#include "CUDAKernels.h"

static const unsigned char attention_cuh[] = {
#embed "kernels/attention.cuh"
};
static const unsigned char attention_group_cuh[] = {
#embed "kernels/attention_group.cuh"
};
static const unsigned char codes_cuh[] = {
#embed "kernels/codes.cuh"
};
static const unsigned char device_cuh[] = {
#embed "kernels/device.cuh"
};
static const unsigned char dropout_cuh[] = {
#embed "kernels/dropout.cuh"
};
static const unsigned char tiles_cuh[] = {
#embed "kernels/tiles.cuh"
};
static const unsigned char activation_cu[] = {
#embed "kernels/activation.cu"
};
static const unsigned char attention_cu[] = {
#embed "kernels/attention.cu"
};
static const unsigned char attention_any_cu[] = {
#embed "kernels/attention_any.cu"
};
static const unsigned char convert_cu[] = {
#embed "kernels/convert.cu"
};
static const unsigned char cross_entropy_cu[] = {
#embed "kernels/cross_entropy.cu"
};
static const unsigned char decode_cu[] = {
#embed "kernels/decode.cu"
};
static const unsigned char dropout_cu[] = {
#embed "kernels/dropout.cu"
};
static const unsigned char embedding_cu[] = {
#embed "kernels/embedding.cu"
};
static const unsigned char expand_cu[] = {
#embed "kernels/expand.cu"
};
static const unsigned char lora_cu[] = {
#embed "kernels/lora.cu"
};
static const unsigned char lora_back_cu[] = {
#embed "kernels/lora_back.cu"
};
static const unsigned char lora_up_cu[] = {
#embed "kernels/lora_up.cu"
};
static const unsigned char norm_rows_cu[] = {
#embed "kernels/norm_rows.cu"
};
static const unsigned char optimiser_cu[] = {
#embed "kernels/optimiser.cu"
};
static const unsigned char quantise_cu[] = {
#embed "kernels/quantise.cu"
};
static const unsigned char range_cu[] = {
#embed "kernels/range.cu"
};
static const unsigned char residual_cu[] = {
#embed "kernels/residual.cu"
};
static const unsigned char rmsnorm_cu[] = {
#embed "kernels/rmsnorm.cu"
};
static const unsigned char rope_cu[] = {
#embed "kernels/rope.cu"
};

static const struct {
    const char *name;
    const unsigned char *text;
    size_t length;
} table[] = {
    {"attention.cuh", attention_cuh, sizeof attention_cuh},
    {"attention_group.cuh", attention_group_cuh, sizeof attention_group_cuh},
    {"codes.cuh", codes_cuh, sizeof codes_cuh},
    {"device.cuh", device_cuh, sizeof device_cuh},
    {"dropout.cuh", dropout_cuh, sizeof dropout_cuh},
    {"tiles.cuh", tiles_cuh, sizeof tiles_cuh},
    {"activation.cu", activation_cu, sizeof activation_cu},
    {"attention.cu", attention_cu, sizeof attention_cu},
    {"attention_any.cu", attention_any_cu, sizeof attention_any_cu},
    {"convert.cu", convert_cu, sizeof convert_cu},
    {"cross_entropy.cu", cross_entropy_cu, sizeof cross_entropy_cu},
    {"decode.cu", decode_cu, sizeof decode_cu},
    {"dropout.cu", dropout_cu, sizeof dropout_cu},
    {"embedding.cu", embedding_cu, sizeof embedding_cu},
    {"expand.cu", expand_cu, sizeof expand_cu},
    {"lora.cu", lora_cu, sizeof lora_cu},
    {"lora_back.cu", lora_back_cu, sizeof lora_back_cu},
    {"lora_up.cu", lora_up_cu, sizeof lora_up_cu},
    {"norm_rows.cu", norm_rows_cu, sizeof norm_rows_cu},
    {"optimiser.cu", optimiser_cu, sizeof optimiser_cu},
    {"quantise.cu", quantise_cu, sizeof quantise_cu},
    {"range.cu", range_cu, sizeof range_cu},
    {"residual.cu", residual_cu, sizeof residual_cu},
    {"rmsnorm.cu", rmsnorm_cu, sizeof rmsnorm_cu},
    {"rope.cu", rope_cu, sizeof rope_cu},
};

size_t lorikeet_kernel_source_count(void) { return sizeof table / sizeof *table; }
const char *lorikeet_kernel_source_name(size_t index) { return index < lorikeet_kernel_source_count() ? table[index].name : NULL; }
const unsigned char *lorikeet_kernel_source_text(size_t index, size_t *length) {
    if (index >= lorikeet_kernel_source_count()) return NULL;
    *length = table[index].length;
    return table[index].text;
}
