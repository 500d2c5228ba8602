#include "linear_weights.hpp"

#include <algorithm>

namespace llm {
namespace {

std::vector<tensor_id> tensors_of(const model_file& file, linear_id id) {
  switch (id.what) {
    case part::qkv:
      return {{role::query, id.layer}, {role::key, id.layer}, {role::value, id.layer}};
    case part::attention_output:
      return {{role::attention_output, id.layer}};
    case part::gate:
      return {{role::gate, id.layer}};
    case part::up:
      return {{role::up, id.layer}};
    case part::down:
      return {{role::down, id.layer}};
    case part::output:
      return {file.has({role::output, 0}) ? tensor_id{role::output, 0} : tensor_id{role::embedding, 0}};
  }
  return {};
}

}    // namespace

const char* name_of(part what) {
  switch (what) {
    case part::qkv:
      return "qkv";
    case part::attention_output:
      return "attention_output";
    case part::gate:
      return "gate";
    case part::up:
      return "up";
    case part::down:
      return "down";
    case part::output:
      return "output";
  }
  return "";
}

std::vector<linear_id> linears_of(const model_config& config) {
  std::vector<linear_id> all;
  for (std::size_t i = 0; i < config.layers; ++i)
    for (const part what : {part::qkv, part::attention_output, part::gate, part::up, part::down})
      all.push_back({what, i});
  return all;
}

tensor_shape shape_of(const model_config& c, part what) {
  switch (what) {
    case part::qkv:
      return {c.query_width() + 2 * c.kv_width(), c.width};
    case part::attention_output:
      return shape_of(c, role::attention_output);
    case part::gate:
      return shape_of(c, role::gate);
    case part::up:
      return shape_of(c, role::up);
    case part::down:
      return shape_of(c, role::down);
    case part::output:
      return shape_of(c, role::output);
  }
  return {0, 0};
}

row_reader reader_of(const model_file& file, linear_id id) {
  return [&file, tensors = tensors_of(file, id)](std::size_t first, qlite::matrix_view<float> out) {
    std::size_t begin_of_tensor = 0;
    for (const tensor_id tensor : tensors) {    // the rows that lie in each of them
      const std::size_t end_of_tensor = begin_of_tensor + shape_of(file.config(), tensor.what).rows;
      const std::size_t begin = std::max(first, begin_of_tensor);
      const std::size_t end = std::min(first + out.rows(), end_of_tensor);
      if (begin < end)
        file.read_rows(tensor, begin - begin_of_tensor, {out.row(begin - first), end - begin, out.cols()});
      begin_of_tensor = end_of_tensor;
    }
  };
}

}    // namespace llm
