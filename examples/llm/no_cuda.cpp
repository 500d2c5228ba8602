// The door to CUDA of a program that was built without it.
#include <stdexcept>

#include "cuda_text.hpp"

namespace llm {
namespace {

[[noreturn]] void refuse() {
  throw std::runtime_error("--device cuda: this program was built without CUDA (configure with -DQLITE_CUDA=ON, with " +
                           std::string("nvcc and cuBLAS installed)"));
}

}    // namespace

std::unique_ptr<cuda_text> make_cuda_text(std::shared_ptr<const model_file>, const model_format&, std::size_t,
                                          std::size_t, executor&, const load_progress&) {
  refuse();
}

std::string cuda_device() { refuse(); }

std::function<double()> cuda_bandwidth_probe() { refuse(); }

}    // namespace llm
