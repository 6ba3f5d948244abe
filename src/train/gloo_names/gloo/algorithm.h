// Torch's package brings c10d's header of its Gloo group, but not the headers of Gloo that it
// includes. It needs them for names alone: it holds pointers to these types, and the code that uses
// them is in libtorch. Where a libtorch has Gloo's own headers, those are found first.
#pragma once
