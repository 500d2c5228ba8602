// The findings as a table for a terminal, as JSON and as an HTML page.
#pragma once

#include <string>

#include "study.hpp"

namespace compare {

/// The table, the notes to it and the recommendation.
std::string table_of(const study& s);

/// Everything that was found out, for programs.
std::string json_of(const study& s);

/// A page that needs nothing but itself: charts are inline SVG, colours follow the reader's light or dark scheme.
std::string html_of(const study& s);

/// Throws std::runtime_error if a file cannot be written; leaves what is there.
void check_writable(const std::string& path);

/// Writes a file. Throws std::runtime_error if it cannot.
void write_file(const std::string& path, const std::string& content);

}    // namespace compare
