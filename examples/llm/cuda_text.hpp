// Models on an NVIDIA GPU, for `--device cuda`. A program that was built without CUDA has the same functions; they
// throw std::runtime_error and say so.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "transformer.hpp"

namespace llm {

/// A model in float16, INT8 or INT4 in a GPU's memory, and a running text of it.
class cuda_text : public running_text {
 public:
  /// As of transformer: layers, norms and output; not the embedding rows.
  virtual std::size_t weights() const = 0;
  virtual std::size_t bytes() const = 0;
};

/// Loads layer by layer. Room for `capacity` positions, of which up to `batch` are computed at once.
std::unique_ptr<cuda_text> make_cuda_text(std::shared_ptr<const model_file> file, const model_format& format,
                                          std::size_t capacity, std::size_t batch, executor& threads,
                                          const load_progress& progress = {});

/// The name of the GPU. Throws std::runtime_error where there is none.
std::string cuda_device();

/// What measures how many bytes of the GPU's memory plain reads get in a second.
std::function<double()> cuda_bandwidth_probe();

}    // namespace llm
