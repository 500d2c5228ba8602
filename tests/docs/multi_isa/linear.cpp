// README's linear.cpp. CMake compiles it once per instruction set, with LINEAR and BACKEND defined.
#include "snippets/linear.inc"
