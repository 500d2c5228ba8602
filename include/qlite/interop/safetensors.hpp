// safetensors, the file format of Hugging Face: reading files, and rows of their tensors as floats.
#pragma once

#include <qlite/interop/safetensors/file.hpp>
