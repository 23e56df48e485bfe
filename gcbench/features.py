"""Networks whose features tell how far reconstructions are from their originals, as sets."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

from gcbench.checkpoint import Shipped, fetched, load_into, read_state_dict
from gcbench.errors import GcbenchError

if TYPE_CHECKING:
    import torch

    Extract = Callable[[torch.Tensor], torch.Tensor]


class Features(Protocol):
    """`name` is the network's, `distance` what a Frechet distance of its features is called."""

    @property
    def name(self) -> str: ...

    @property
    def distance(self) -> str: ...

    def weights(self) -> str:
        """sha256 of its weights."""

    def load(self, device: str) -> Extract:
        """A function from uint8 images [B, 3, H, W] to float32 features [B, d].

        Raises:
            GcbenchError: a package or the weights are not on this machine.
        """


class MiniReference:
    """The pooled features before the last layer of the mini suite's reference classifier.

    It knows grey garments of 32 px alone: its distances compare with each other and with nothing
    else, least of all with an FID.
    """

    name = "mini-reference"
    distance = "FD of mini-reference features"
    checkpoint = Shipped("mini-reference")

    def weights(self) -> str:
        return str(self.checkpoint.card()["sha256"])

    def load(self, device: str) -> Extract:
        from gcbench.nets.mini_cnn import MiniCNN

        file, expected = self.checkpoint.locate()
        network = MiniCNN(**self.checkpoint.card()["recipe"]["model"])
        load_into(network, read_state_dict(file, expected), file)
        network.eval().requires_grad_(False).to(device)
        return lambda images: network.features(images.float() / 127.5 - 1)


class Inception:
    """The 2,048 pooled features of FID, by torch-fidelity's port of the original Inception."""

    name = "inception-2015-12-05"
    distance = "rFID"

    def weights(self) -> str:
        return str(fetched(self.name)[1])

    def load(self, device: str) -> Extract:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise GcbenchError(
                "rFID needs the package torch-fidelity, which is not installed",
                hint="pip install 'gcbench[fid]'",
            ) from error
        import torch

        # torch-fidelity would unpickle the file: it is handed the checked tensors instead.
        tensors = BytesIO()
        torch.save(read_state_dict(*fetched(self.name)), tensors)
        tensors.seek(0)
        network = FeatureExtractorInceptionV3(
            self.name, ["2048"], feature_extractor_weights_path=tensors
        ).to(device)
        return lambda images: network(images)[0]
