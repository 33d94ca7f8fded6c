// The kernels' sources, each in a namespace of its own, as each is compiled alone on a card; a test compares this list with the folder.
#include "../../Sources/CUDAKernels/device.cuh"
#include "../../Sources/CUDAKernels/codes.cuh"
#include "../../Sources/CUDAKernels/tiles.cuh"

namespace {
namespace activation_cu {
#include "../../Sources/CUDAKernels/activation.cu"
}
namespace attention_cu {
#include "../../Sources/CUDAKernels/attention.cu"
}
// The same with a warpgroup's products (tiles.cuh).
#undef ATTENTION
#define ATTENTION(name) JOINED(hopper_attention_, name)
#undef HOPPER
#define HOPPER 1
namespace attention_hopper {
#include "../../Sources/CUDAKernels/attention.cu"
}
#undef HOPPER
#define HOPPER 0
namespace attention_any_cu {
#include "../../Sources/CUDAKernels/attention_any.cu"
}
namespace convert_cu {
#include "../../Sources/CUDAKernels/convert.cu"
}
namespace cross_entropy_cu {
#include "../../Sources/CUDAKernels/cross_entropy.cu"
}
namespace decode_cu {
#include "../../Sources/CUDAKernels/decode.cu"
}
namespace dropout_cu {
#include "../../Sources/CUDAKernels/dropout.cu"
}
namespace embedding_cu {
#include "../../Sources/CUDAKernels/embedding.cu"
}
namespace expand_cu {
#include "../../Sources/CUDAKernels/expand.cu"
}
namespace lora_cu {
#include "../../Sources/CUDAKernels/lora.cu"
}
namespace lora_back_cu {
#include "../../Sources/CUDAKernels/lora_back.cu"
}
namespace lora_up_cu {
#include "../../Sources/CUDAKernels/lora_up.cu"
}
namespace optimiser_cu {
#include "../../Sources/CUDAKernels/optimiser.cu"
}
namespace quantise_cu {
#include "../../Sources/CUDAKernels/quantise.cu"
}
namespace range_cu {
#include "../../Sources/CUDAKernels/range.cu"
}
namespace rmsnorm_cu {
#include "../../Sources/CUDAKernels/rmsnorm.cu"
}
namespace rope_cu {
#include "../../Sources/CUDAKernels/rope.cu"
}
}
