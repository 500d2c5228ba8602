// What qlite::eigen adds: Eigen matrices as views.
#include <qlite/interop/eigen.hpp>

int main() {
  const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> matrix = Eigen::MatrixXf::Random(3, 5);
  const auto view = qlite::view(matrix);
  return view.rows() == 3 && view.cols() == 5 && view.data() == matrix.data() ? 0 : 1;
}
