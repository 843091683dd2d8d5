"""Volumes as MONAI and TorchIO have them; use these as `transform` of SynthVolIterableDataset."""

from __future__ import annotations

from typing import Any

import numpy as np

from synthvol.volume import Volume


def to_monai(volume: Volume, key: str = "image") -> dict[str, Any]:
    """Returns {key: MetaTensor [1, x, y, z] with its RAS affine, "seed": int} (needs monai)."""
    import torch
    from monai.data.meta_tensor import MetaTensor

    image = torch.from_numpy(np.array(volume.array.T, np.float32, order="C")).unsqueeze(0)
    affine = torch.from_numpy(volume.affine_ras)
    return {key: MetaTensor(image, affine=affine, meta={"seed": volume.seed}), "seed": volume.seed}


def to_torchio(volume: Volume, key: str = "image") -> Any:
    """Returns a torchio.Subject with one ScalarImage [1, x, y, z] and its RAS affine (needs torchio)."""
    import torch
    import torchio

    image = torch.from_numpy(np.array(volume.array.T, np.float32, order="C")).unsqueeze(0)
    return torchio.Subject({key: torchio.ScalarImage(tensor=image, affine=volume.affine_ras), "seed": volume.seed})
