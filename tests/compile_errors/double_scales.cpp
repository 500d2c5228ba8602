// expected error: the scales of a scheme are float or float16
#include <qlite/core/scheme.hpp>

#if defined(QLITE_TEST_MISTAKE)
qlite::scheme<qlite::int8, qlite::per_channel, qlite::symmetric, double> scheme;
#else
qlite::scheme<qlite::int8, qlite::per_channel, qlite::symmetric, float> scheme;
#endif
