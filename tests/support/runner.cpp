// Catch2's runner behind one function, so that main.cpp needs nothing of Catch2's.
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include "support/runner.hpp"

int run_tests(int argc, char** argv) { return Catch::Session().run(argc, argv); }
