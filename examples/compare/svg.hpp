// Charts as inline SVG, without scripts: points against two axes, lines, stacked bars, a grid of choices.
#pragma once

#include <string>
#include <vector>

namespace compare {

/// & < > " as HTML has them.
std::string escaped(const std::string& text);

/// One axis: its title, and whether equal distances are equal ratios. Zeros and less are left out of the latter.
struct axis {
  std::string title;
  bool logarithmic = false;
  bool whole = false;    ///< ticks at whole numbers only
};

/// A point with a name; `color` is the number of a colour of the page.
struct chart_point {
  std::string name;
  double x = 0, y = 0;
  std::size_t color = 0;
  bool marked = false;    ///< drawn larger, with a ring
};

/// Points with their names beside them; a tooltip has the numbers.
std::string scatter_chart(const std::string& title, const axis& x, const axis& y,
                          const std::vector<chart_point>& points);

/// A line over 0, 1, 2, ...
struct chart_line {
  std::string name;
  std::vector<double> values;
  std::size_t color = 0;
};

std::string line_chart(const std::string& title, const axis& x, const axis& y, const std::vector<chart_line>& lines);

/// A bar of several parts, from the left.
struct chart_bar {
  std::string name;
  std::vector<double> parts;
};

std::string bar_chart(const std::string& title, const std::string& unit, const std::vector<std::string>& parts,
                      const std::vector<chart_bar>& bars);

/// Cells [rows][columns] in the colour of what was chosen there, with a legend.
std::string choice_chart(const std::string& title, const std::vector<std::string>& rows,
                         const std::vector<std::vector<std::size_t>>& cells, const std::vector<std::string>& choices,
                         const std::vector<std::size_t>& colors);

}    // namespace compare
