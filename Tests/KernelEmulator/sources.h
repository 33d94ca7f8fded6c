// Written by Scripts/kernel_table.py from the folder Sources/CUDAKernels/kernels; do not edit.
#include "../../Sources/CUDAKernels/kernels/attention.cuh"
#include "../../Sources/CUDAKernels/kernels/attention_group.cuh"
#include "../../Sources/CUDAKernels/kernels/codes.cuh"
#include "../../Sources/CUDAKernels/kernels/device.cuh"
#include "../../Sources/CUDAKernels/kernels/dropout.cuh"
#include "../../Sources/CUDAKernels/kernels/tiles.cuh"

namespace {
namespace activation_cu {
#include "../../Sources/CUDAKernels/kernels/activation.cu"
}
namespace attention_cu {
#include "../../Sources/CUDAKernels/kernels/attention.cu"
}
namespace attention_any_cu {
#include "../../Sources/CUDAKernels/kernels/attention_any.cu"
}
namespace convert_cu {
#include "../../Sources/CUDAKernels/kernels/convert.cu"
}
namespace cross_entropy_cu {
#include "../../Sources/CUDAKernels/kernels/cross_entropy.cu"
}
namespace decode_cu {
#include "../../Sources/CUDAKernels/kernels/decode.cu"
}
namespace dropout_cu {
#include "../../Sources/CUDAKernels/kernels/dropout.cu"
}
namespace embedding_cu {
#include "../../Sources/CUDAKernels/kernels/embedding.cu"
}
namespace expand_cu {
#include "../../Sources/CUDAKernels/kernels/expand.cu"
}
namespace lora_cu {
#include "../../Sources/CUDAKernels/kernels/lora.cu"
}
namespace lora_back_cu {
#include "../../Sources/CUDAKernels/kernels/lora_back.cu"
}
namespace lora_up_cu {
#include "../../Sources/CUDAKernels/kernels/lora_up.cu"
}
namespace norm_rows_cu {
#include "../../Sources/CUDAKernels/kernels/norm_rows.cu"
}
namespace optimiser_cu {
#include "../../Sources/CUDAKernels/kernels/optimiser.cu"
}
namespace quantise_cu {
#include "../../Sources/CUDAKernels/kernels/quantise.cu"
}
namespace range_cu {
#include "../../Sources/CUDAKernels/kernels/range.cu"
}
namespace residual_cu {
#include "../../Sources/CUDAKernels/kernels/residual.cu"
}
namespace rmsnorm_cu {
#include "../../Sources/CUDAKernels/kernels/rmsnorm.cu"
}
namespace rope_cu {
#include "../../Sources/CUDAKernels/kernels/rope.cu"
}

// Registered as hopper_NAME.
#undef HOPPER
#define HOPPER 1
#undef EMULATED_PREFIX
#define EMULATED_PREFIX "hopper_"
namespace attention_cu_hopper {
#include "../../Sources/CUDAKernels/kernels/attention.cu"
}

// Registered as turing_NAME.
#undef HOPPER
#define HOPPER 0
#undef EMULATED_PREFIX
#define EMULATED_PREFIX "turing_"
#undef ARCH
#define ARCH 75
#if TYPE == 1
namespace attention_cu_turing {
#include "../../Sources/CUDAKernels/kernels/attention.cu"
}
#endif
}
