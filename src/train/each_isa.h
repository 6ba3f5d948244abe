// Loops that are compiled for each kind of x86 and chosen at start: one build for every machine.
// Under the sanitizers they are not: the choice is made before their runtime is up.
#pragma once

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define EACH_ISA __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define EACH_ISA
#endif
// What they call: else each stays one function, compiled for the baseline.
#define INTO_EACH inline __attribute__((always_inline))
