// expected error: per_token is a granularity of activations
#include <qlite/quantize/quantized_matrix.hpp>

#if defined(QLITE_TEST_MISTAKE)
qlite::quantized_matrix<qlite::scheme<qlite::int8, qlite::per_token>> weights;
#else
qlite::quantized_matrix<qlite::scheme<qlite::int8, qlite::per_channel>> weights;
#endif
