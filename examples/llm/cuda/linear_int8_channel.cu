#include "cuda/quantized_linear.cuh"

LLM_QUANTIZED_LINEAR(qlite::scheme<qlite::int8, qlite::per_channel>);
