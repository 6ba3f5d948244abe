// Position tables for another grid than the checkpoint's (modeling_intern_vit.py, _get_pos_embed;
// TroL's CLIP resize): bicubic, A = -0.75, half-pixel centres, no antialiasing; the class row is
// untouched.
#pragma once

#include <vector>

namespace revenant {

// [1 + to^2, 1 + from^2], row-major.
std::vector<float> position_matrix(int from, int to);

}  // namespace revenant
