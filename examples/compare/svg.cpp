#include "svg.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace compare {
namespace {

template <class... Args>
std::string print(const char* format, Args... args) {
  char text[512];
  std::snprintf(text, sizeof text, format, args...);
  return text;
}

/// Four significant digits, without zeros at the end; whole numbers above.
std::string number(double value) { return print(value >= 1e4 ? "%.0f" : "%.4g", value); }

constexpr double left = 76, right = 22, top = 18, bottom = 46;

/// Where a range of numbers lies on the page, and its ticks.
class scale {
 public:
  scale(const axis& a, std::vector<double> values, double from, double to)
      : logarithmic_(a.logarithmic), whole_(a.whole), from_(from), to_(to) {
    if (logarithmic_)
      values.erase(std::remove_if(values.begin(), values.end(), [](double v) { return !(v > 0); }), values.end());
    if (values.empty()) values = {1, 10};
    low_ = warp(*std::min_element(values.begin(), values.end()));
    high_ = warp(*std::max_element(values.begin(), values.end()));
    const double margin = high_ > low_ ? 0.08 * (high_ - low_) : std::max(0.1 * std::fabs(low_), 0.5);
    low_ -= margin;
    high_ += margin;
    if (!logarithmic_ && low_ < 0 && *std::min_element(values.begin(), values.end()) >= 0) low_ = 0;
  }

  bool shows(double value) const { return !logarithmic_ || value > 0; }
  double at(double value) const { return from_ + (to_ - from_) * (warp(value) - low_) / (high_ - low_); }

  std::vector<double> ticks() const {
    std::vector<double> all;
    if (logarithmic_) {
      for (const int digits : {1, 3}) {    // decades, and thirds of them where there are few
        if (digits == 3 && all.size() > 3) break;
        all.clear();
        for (double power = std::floor(low_); power <= std::ceil(high_); power += 1)
          for (const double digit : digits == 1 ? std::vector<double>{1} : std::vector<double>{1, 2, 5}) {
            const double t = std::log10(digit) + power;
            if (t >= low_ && t <= high_) all.push_back(std::pow(10.0, t));
          }
      }
      return all;
    }
    const double rough = (high_ - low_) / 5;
    const double power = std::pow(10.0, std::floor(std::log10(rough)));
    double step = power * (rough / power < 1.5 ? 1 : rough / power < 3.5 ? 2 : rough / power < 7.5 ? 5 : 10);
    if (whole_) step = std::max(step, 1.0);
    for (double t = std::ceil(low_ / step) * step; t <= high_; t += step)
      all.push_back(std::fabs(t) < step / 2 ? 0 : t);
    return all;
  }

 private:
  double warp(double value) const { return logarithmic_ ? std::log10(value) : value; }

  bool logarithmic_, whole_;
  double from_, to_, low_ = 0, high_ = 1;
};

std::string open_figure(const std::string& title, double width, double height) {
  return print("<figure><figcaption>%s</figcaption><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n",
               escaped(title).c_str(), width, height, escaped(title).c_str());
}

std::string axes(const axis& x, const axis& y, const scale& across, const scale& up, double width, double height) {
  std::string out;
  for (const double t : up.ticks())
    out += print(
        "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/><text class=\"tick\" x=\"%.1f\" "
        "y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
        left, width - right, up.at(t), up.at(t), left - 8, up.at(t) + 4, number(t).c_str());
  for (const double t : across.ticks())
    out += print(
        "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/><text class=\"tick\" x=\"%.1f\" "
        "y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
        across.at(t), across.at(t), top, height - bottom, across.at(t), height - bottom + 18, number(t).c_str());
  out += print("<text class=\"axis\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
               (left + width - right) / 2, height - 8, escaped(x.title).c_str());
  out += print("<text class=\"axis\" transform=\"translate(14 %.1f) rotate(-90)\" text-anchor=\"middle\">%s</text>\n",
               (top + height - bottom) / 2, escaped(y.title).c_str());
  return out;
}

/// Room for names at the left of a chart.
double room_for(const std::vector<std::string>& names) {
  std::size_t longest = 0;
  for (const std::string& name : names) longest = std::max(longest, name.size());
  return std::max(150.0, 7.0 * static_cast<double>(longest) + 16);
}

std::string legend(const std::vector<std::string>& names, const std::vector<std::size_t>& colors) {
  std::string out = "<div class=\"legend\">";
  for (std::size_t i = 0; i < names.size(); ++i)
    out += print("<span><i class=\"b%zu\"></i>", colors[i] % 8) + escaped(names[i]) + "</span>";
  return out + "</div>";
}

}    // namespace

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string scatter_chart(const std::string& title, const axis& x, const axis& y,
                          const std::vector<chart_point>& points) {
  constexpr double width = 560;
  const double height = 340 + 12.0 * static_cast<double>(points.size() > 10 ? points.size() - 10 : 0);
  std::vector<double> xs, ys;
  for (const chart_point& p : points) {
    xs.push_back(p.x);
    ys.push_back(p.y);
  }
  const scale across(x, xs, left, width - right), up(y, ys, height - bottom, top);
  std::string out = open_figure(title, width, height) + axes(x, y, across, up, width, height);
  // Names go beside their points where they touch no other, the nearest such place first; in a crowd without one a
  // point has its name only as a tooltip.
  struct box {
    double x0, x1, y;
  };
  constexpr double line = 13;
  std::vector<box> taken;
  std::vector<const chart_point*> order;
  for (const chart_point& p : points)
    if (across.shows(p.x) && up.shows(p.y)) {
      order.push_back(&p);
      taken.push_back({across.at(p.x) - 6, across.at(p.x) + 6, up.at(p.y) + 4});
    }
  std::sort(order.begin(), order.end(),
            [&](const chart_point* a, const chart_point* b) { return up.at(a->y) < up.at(b->y); });
  for (const chart_point* p : order) {
    const double px = across.at(p->x), py = up.at(p->y), length = 7.0 * static_cast<double>(p->name.size());
    bool flip = false, free = false;
    box b{};
    for (int i = 0; i < 60 && !free; ++i) {    // right, left, then both a line lower, a line higher, two lower, ...
      flip = i % 2 != 0;
      const int steps = (i / 2 + 1) / 2 * (i / 2 % 2 != 0 ? 1 : -1);
      b = {flip ? px - 10 - length : px + 10, flip ? px - 10 : px + 10 + length, py + 4 + line * steps};
      free = b.x0 > 4 && b.x1 < width - 4 && b.y > top && b.y < height - bottom;
      for (const box& other : taken)
        free = free && !(b.x0 < other.x1 && other.x0 < b.x1 && std::fabs(b.y - other.y) < line - 0.5);
    }
    if (free) taken.push_back(b);
    out += print("<g><title>%s: %s, %s</title>", escaped(p->name).c_str(), number(p->x).c_str(), number(p->y).c_str());
    if (free && std::fabs(b.y - 4 - py) > 4)
      out += print("<line class=\"leader\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", px, py,
                   flip ? b.x1 : b.x0 - 2, b.y - 4);
    if (p->marked) out += print("<circle class=\"ring\" cx=\"%.1f\" cy=\"%.1f\" r=\"9\"/>", px, py);
    out += print("<circle class=\"f%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"5\"/>", p->color % 8, px, py);
    if (free)
      out += print("<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>", flip ? b.x1 : b.x0, b.y,
                   flip ? "end" : "start", escaped(p->name).c_str());
    out += "</g>\n";
  }
  return out + "</svg></figure>\n";
}

std::string line_chart(const std::string& title, const axis& x, const axis& y, const std::vector<chart_line>& lines) {
  constexpr double width = 1140, height = 340;
  std::vector<double> xs{0}, ys;
  std::vector<std::string> names;
  std::vector<std::size_t> colors;
  for (const chart_line& l : lines) {
    xs.push_back(static_cast<double>(std::max<std::size_t>(l.values.size(), 2) - 1));
    ys.insert(ys.end(), l.values.begin(), l.values.end());
    names.push_back(l.name);
    colors.push_back(l.color);
  }
  const scale across(x, xs, left, width - right), up(y, ys, height - bottom, top);
  std::string out = open_figure(title, width, height) + axes(x, y, across, up, width, height);
  for (const chart_line& l : lines) {
    std::string path, dots;
    for (std::size_t i = 0; i < l.values.size(); ++i) {
      if (!up.shows(l.values[i])) continue;
      const double px = across.at(static_cast<double>(i)), py = up.at(l.values[i]);
      path += print("%s%.1f %.1f", path.empty() ? "M" : "L", px, py);
      dots += print("<circle class=\"f%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"><title>%s, %zu: %s</title></circle>",
                    l.color % 8, px, py, escaped(l.name).c_str(), i, number(l.values[i]).c_str());
    }
    out += print("<path class=\"s%zu\" d=\"", l.color % 8) + path + "\"/>" + dots + "\n";
  }
  return out + "</svg>" + legend(names, colors) + "</figure>\n";
}

std::string bar_chart(const std::string& title, const std::string& unit, const std::vector<std::string>& parts,
                      const std::vector<chart_bar>& bars) {
  constexpr double width = 1140, line = 30;
  std::vector<std::string> all;
  for (const chart_bar& b : bars) all.push_back(b.name);
  const double names = room_for(all);
  const double height = 12 + line * static_cast<double>(bars.size());
  double most = 0;
  for (const chart_bar& b : bars) {
    double sum = 0;
    for (const double p : b.parts) sum += p;
    most = std::max(most, sum);
  }
  std::vector<std::size_t> colors;
  for (std::size_t i = 0; i < parts.size(); ++i) colors.push_back(i);
  std::string out = open_figure(title, width, height);
  for (std::size_t i = 0; i < bars.size(); ++i) {
    const double y = 6 + line * static_cast<double>(i);
    out += print("<text class=\"label\" x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%s</text>", names - 10, y + 17,
                 escaped(bars[i].name).c_str());
    double x = names, sum = 0;
    for (std::size_t k = 0; k < bars[i].parts.size(); ++k) {
      const double w = most > 0 ? bars[i].parts[k] / most * (width - names - 110) : 0;
      sum += bars[i].parts[k];
      if (w > 0)
        out += print(
            "<rect class=\"f%zu\" x=\"%.1f\" y=\"%.1f\" width=\"%.2f\" height=\"20\"><title>%s, %s: %s "
            "%s</title></rect>",
            k % 8, x, y + 3, w, escaped(bars[i].name).c_str(), escaped(parts[k]).c_str(),
            number(bars[i].parts[k]).c_str(), unit.c_str());
      x += w;
    }
    out += print("<text class=\"tick\" x=\"%.1f\" y=\"%.1f\">%s %s</text>\n", x + 8, y + 17, number(sum).c_str(),
                 unit.c_str());
  }
  return out + "</svg>" + legend(parts, colors) + "</figure>\n";
}

std::string choice_chart(const std::string& title, const std::vector<std::string>& rows,
                         const std::vector<std::vector<std::size_t>>& cells, const std::vector<std::string>& choices,
                         const std::vector<std::size_t>& colors) {
  constexpr double width = 1140, line = 26;
  const double names = room_for(rows);
  const double height = 28 + line * static_cast<double>(rows.size());
  std::size_t columns = 1;
  for (const auto& row : cells) columns = std::max(columns, row.size());
  const double cell = std::min(34.0, (width - names - 10) / static_cast<double>(columns));
  std::string out = open_figure(title, width, height);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const double y = 4 + line * static_cast<double>(r);
    out += print("<text class=\"label\" x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%s</text>", names - 10, y + 16,
                 escaped(rows[r]).c_str());
    for (std::size_t c = 0; c < cells[r].size(); ++c)
      out += print(
          "<rect class=\"f%zu\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"3\"><title>%s, layer %zu: "
          "%s</title></rect>",
          colors[cells[r][c]] % 8, names + cell * static_cast<double>(c), y, cell - 3, line - 3,
          escaped(rows[r]).c_str(), c, escaped(choices[cells[r][c]]).c_str());
  }
  const std::size_t every = columns > 16 ? 5 : 1;
  for (std::size_t c = 0; c < columns; c += every)
    out += print("<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%zu</text>",
                 names + cell * (static_cast<double>(c) + 0.5) - 1.5, height - 6, c);
  return out + "</svg>" + legend(choices, colors) + "</figure>\n";
}

}    // namespace compare
