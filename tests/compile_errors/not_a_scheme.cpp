// expected error: expected a qlite::scheme<Code, Granularity, Zero, Scale>
#include <qlite/quantize/quantized_matrix.hpp>

#if defined(QLITE_TEST_MISTAKE)
qlite::quantized_matrix<qlite::int8> weights;
#else
qlite::quantized_matrix<qlite::scheme<qlite::int8, qlite::per_channel>> weights;
#endif
