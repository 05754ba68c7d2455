"""Words with their letters: an LSTM that reads both ways, and a conditional random field above it.

Lample et al. 2016 ("Neural architectures for named entity recognition"), with the convolution over letters of Ma & Hovy
2016 ("End-to-end sequence labeling via bi-directional LSTM-CNNs-CRF").
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ptapp_core.nn.dropout import Dropout
from ptapp_nlp.data.spelling import CASES
from ptapp_nlp.models.crf import CRF
from ptapp_nlp.models.encoder import Encoder
from ptapp_nlp.models.recurrent import RecurrentEncoder

_LETTER, _FILTERS, _CASE = 25, 50, 10  # widths of a letter (Lample), of a word's letters, and of its case


class Spelling(nn.Module):
    """Letters of words, int64 (N, L, C), 0 where a word has no more, to float (N, L, 50).

    Each filter over three letters is taken where in the word it is greatest; zeros show where a word begins and ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(257, _LETTER, padding_idx=0)
        nn.init.uniform_(self.embedding.weight, -((3 / _LETTER) ** 0.5), (3 / _LETTER) ** 0.5)
        self.embedding.weight.data[0] = 0.0
        self.filters = nn.Conv1d(_LETTER, _FILTERS, 3, padding=1)

    def forward(self, letters: Tensor) -> Tensor:
        """Letters, int64 (N, L, C), to float (N, L, 50)."""
        flat = letters.flatten(0, 1)
        found = self.filters(self.embedding(flat).transpose(1, 2))
        real = (flat != 0)[:, None, :]
        real = real | ~real.any(2, keepdim=True)  # padding between words has no letter
        greatest = found.masked_fill(~real, torch.finfo(found.dtype).min).amax(2)
        return greatest.reshape(letters.shape[0], letters.shape[1], _FILTERS)


class SpelledEncoder(RecurrentEncoder):
    """Words as `data.spelling` has them, int64 (N, L, 26), to states of an LSTM in both directions."""

    def __init__(self, vocab: int, dim: int, *, hidden: int, layers: int, dropout: float, pad: int) -> None:
        super().__init__(
            "lstm", vocab, dim, hidden=hidden, layers=layers, dropout=dropout, pad=pad, beside=_FILTERS + _CASE
        )
        self.spelling, self.case = Spelling(), nn.Embedding(CASES, _CASE, padding_idx=0)

    def forward(self, ids: Tensor) -> Tensor:
        """Words, int64 (N, L, 26), to states, float (N, L, dim)."""
        words, case, letters = ids[:, :, 0], ids[:, :, 1], ids[:, :, 2:]
        return self.read(torch.cat([self.embedding(words), self.case(case), self.spelling(letters)], 2), words)


class SentenceTagger(nn.Module):
    """Words, int64 (N, L, 26), to the likeliest path of tags, or with targets to its loss."""

    def __init__(self, encoder: Encoder, tags: Sequence[str], dropout: float) -> None:
        super().__init__()
        self.pad = encoder.pad
        self.encoder, self.dropout, self.head = encoder, Dropout(dropout), nn.Linear(encoder.dim, len(tags))
        self.crf = CRF(tags)

    def forward(self, ids: Tensor, target: Tensor | None = None) -> Tensor:
        """Words, int64 (N, L, 26), to float (N, L, K): the probability of each tag of the likeliest path, else 0.

        With targets, int64 (N, L), the summed loss of the sentences, a float scalar.
        """
        scores, real = self.head(self.dropout(self.encoder(ids))), ids[:, :, 0] != self.pad
        return self.crf.best(scores, real) if target is None else self.crf(scores, target, real)
