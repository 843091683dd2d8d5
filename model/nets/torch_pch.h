// Precompiled once for the libraries below model/ that compute with tensors: torch/torch.h costs 25
// s a source file, ATen alone a third of it.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
