"""Methods that read tokens one after the other, whose classes can be ranked for little."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

from gcbench.method import AutoregressiveMethod, Trials

if TYPE_CHECKING:
    import torch

    from gcbench.nets.fast_decoder import FastDecoder
    from gcbench.nets.prefix import Followed
    from gcbench.nets.sequences import Decoder


class SequentialMethod(AutoregressiveMethod):
    """An autoregressive method on RandAR's or LlamaGen's decoder.

    `model` is the network and `fast` its fast path, None on the reference path.
    """

    model: Decoder
    fast: FastDecoder | None

    @abstractmethod
    def read(
        self, latent: torch.Tensor, trials: Trials, trial: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What one trial reads of the images of `latent` [B, ...].

        Returns:
            Raster-order tokens [B, N], and the orders [B, N] of their visits; None: raster.
        """

    @cached_property
    def decoder(self) -> FastDecoder:
        """What reads sequences piece by piece, on the reference path too."""
        from gcbench.nets.fast_decoder import FastDecoder, FastOptions

        return self.fast or FastDecoder(self.model, FastOptions())

    def propose(
        self, latent: torch.Tensor, trials: Trials, classes: torch.Tensor, batch_size: int
    ) -> torch.Tensor:
        """First-order log-likelihoods [B, C] in the first trial; see gcbench.nets.proposal.

        Args:
            batch_size: four times the images, at most, that go through the network at once: what
                the gradient needs is kept.
        """
        import torch

        from gcbench.nets.proposal import first_order_scores

        tokens, orders = self.read(latent, trials, 0)
        candidates = classes.to(latent.device)
        return torch.cat(
            [
                first_order_scores(
                    self.model, tokens[rows], None if orders is None else orders[rows], candidates
                )
                for rows in torch.arange(len(tokens)).split(max(1, batch_size // 4))
            ]
        )

    def follow_best(
        self,
        latent: torch.Tensor,
        trials: Trials,
        trial: int,
        classes: torch.Tensor,
        share: float,
        keep: int,
        batch_size: int,
    ) -> Followed:
        """Scores of the `keep` candidates that look best by a `share` of one trial's sequence.

        Args:
            batch_size: classes that go through the network at once, at most.
        """
        from gcbench.nets.prefix import follow_best
        from gcbench.nets.sequences import sequences

        of = sequences(self.model, *self.read(latent, trials, trial))
        candidates = classes.to(latent.device)
        return follow_best(self.decoder, of, candidates, share, keep, batch_size)
