#pragma once

// Runs every test case of the program; returns 0 if all passed.
int run_tests(int argc, char** argv);

// What a test program returns when this machine cannot run it; ctest then reports it as skipped.
constexpr int skip_code = 77;
