// GGUF, the file format of ggml and llama.cpp: reading files, importing and exporting quantized tensors, writing files.
//
//     const qlite::gguf::file model("model.gguf");
//     const auto& info = model.tensor("blk.0.ffn_up.weight");
//     qlite::gguf::visit_import(info, model.data(info), [&](auto&& q) { layer = qlite::pack<qlite::cpu::native>(q); });
#pragma once

#include <qlite/interop/gguf/export.hpp>
#include <qlite/interop/gguf/file.hpp>
#include <qlite/interop/gguf/import.hpp>
#include <qlite/interop/gguf/to_float.hpp>
#include <qlite/interop/gguf/writer.hpp>
