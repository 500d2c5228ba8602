#include "cuda/quantized_linear.cuh"

LLM_QUANTIZED_LINEAR(qlite::scheme<qlite::int4, llm::gpu::dynamic_group>);
