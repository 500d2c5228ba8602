// A plain recommendation from the findings, and its reason.
#pragma once

#include "study.hpp"

namespace compare {

/// Sets study.recommendation (a finding's name) and study.reason.
///
/// A candidate is safe if its perplexity is at most 1 % above the float32 model's and its first choices agree at 90 %
/// or more. Of the safe candidates the one with the fewest bytes is recommended (of equals, the one of the least
/// divergence); if none is safe, bf16 is.
void recommend(study& s);

/// Whether a finding is safe in that sense.
bool is_safe(const finding& f, const finding& reference);

}    // namespace compare
