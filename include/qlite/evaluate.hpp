// Measuring what quantization does: to numbers, to a layer's outputs, to predictions, to a search; what it saves; and
// which scheme to give to which layer. On top of door 1; `evaluate/workspace_plan.hpp` needs door 2.
#pragma once

#include <qlite/evaluate/assignment.hpp>
#include <qlite/evaluate/error_metrics.hpp>
#include <qlite/evaluate/logits.hpp>
#include <qlite/evaluate/memory_plan.hpp>
#include <qlite/evaluate/output_error.hpp>
#include <qlite/evaluate/ranking.hpp>
#include <qlite/evaluate/sensitivity.hpp>
#include <qlite/evaluate/shadow_check.hpp>
