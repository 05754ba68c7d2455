"""A linear layer whose weights are noisy, so that a network explores by itself (Fortunato et al. 2018)."""

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

_FIRST = 0.5  # sigma_0 of the paper, for factorised noise


class NoisyLinear(nn.Linear):
    """y = (W + S * f(e) f(d)^T) x + b + s * f(e), with factorised Gaussian noise (equations 9 to 11 of the paper).

    d and e are standard normal, a number for each input and each output, and f(x) = sign(x) sqrt(|x|). The deviations S
    and s are learned with the means W and b: where noise does not help, they shrink, and the layer explores less.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)  # its own draws are the paper's: within 1 / sqrt(inputs)
        self.weight_deviation = nn.Parameter(torch.full((outputs, inputs), _FIRST / sqrt(inputs)))
        self.bias_deviation = nn.Parameter(torch.full((outputs,), _FIRST / sqrt(inputs)))
        self.noise_size = inputs + outputs

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Float (N, inputs) to float (N, outputs).

        Args:
            noise: d and e side by side, float (N, inputs + outputs) for each row its own, or (1, inputs + outputs) for
                all rows the same; None: the means alone.
        """
        y = super().forward(x)
        if noise is None:
            return y
        of_inputs, of_outputs = (noise.sign() * noise.abs().sqrt()).split([self.in_features, self.out_features], -1)
        # f(e) is constant within a row of the weights, f(d) within a column: so no matrix is needed for each draw
        return y + of_outputs * functional.linear(of_inputs * x, self.weight_deviation, self.bias_deviation)
